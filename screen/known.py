"""Earlier nights' results: films that were screened before are not sent through the network again."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from screen.errors import UsageError
from screen.ledger import Ledger
from screen.rows import Inference

BINDING = ("weights_digest", "decode_policy", "identifiers")
"""Settings under which an earlier result is this run's as well."""


class Known:
    """The ledgers given with `--known`, read-only.

    ignored: screened rows in ledgers of other weights, another decode policy or other identifiers.
    """

    def __init__(self, paths: Sequence[Path], settings: dict[str, str], own: Path) -> None:
        """Raises LedgerError for what is no ledger, UsageError for the run's own."""
        self.ignored = 0
        self._ledgers: list[Ledger] = []
        with ExitStack() as stack:
            for path in paths:
                if path.exists() and own.exists() and path.samefile(own):
                    raise UsageError(f"--known {path}: that is this run's own ledger")
                ledger = stack.enter_context(Ledger.open_readonly(path))
                theirs = ledger.settings()
                if all(theirs.get(name) == settings[name] for name in BINDING):
                    self._ledgers.append(ledger)
                else:
                    self.ignored += ledger.count_screened()
            self._stack = stack.pop_all()

    def find(self, sop_instance_uid: str, pixel_digest: str) -> Inference | None:
        """What an earlier night made of the same film; the ledger given first has the first word."""
        for ledger in self._ledgers:
            row = ledger.same_content(sop_instance_uid, pixel_digest)
            if row is not None:
                return row.inference
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
