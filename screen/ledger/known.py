"""Earlier nights' ledgers: they lend their results, such films are not sent through the network again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from screen.codes import Reason
from screen.errors import LedgerError, UsageError
from screen.ledger.foreign import Expected
from screen.ledger.objects import DicomObject
from screen.ledger.rows import Inference, Row
from screen.ledger.store import Ledger

_T = TypeVar("_T")

BINDING = ("weights_digest", "decode_policy", "identifiers")
"""Settings under which an earlier result is this run's as well."""


@dataclass(frozen=True, slots=True)
class KnownFilm:
    """What an earlier night made of a film.

    same_identity: it was filed under the same patient and study. listed: and a finished report has listed
    its case as flagged. objects: and the DICOM results that were made of its case. decided: and how and when
    it was decided, as `Ledger.decided` has it.
    """

    inference: Inference
    same_identity: bool
    listed: bool = False
    objects: tuple[DicomObject, ...] = ()
    decided: str = ""


class Known:
    """The ledgers given with `--known`, read-only; the one given first has the first word.

    ignored: screened rows in ledgers of other weights, another decode policy or other identifiers;
    ignored_ledgers: how many these are.
    """

    def __init__(
        self, paths: Sequence[Path], settings: dict[str, str], expected: Expected, own: Path
    ) -> None:
        """expected: what this run's model makes of films. Raises UsageError for what cannot be used."""
        self.ignored = self.ignored_ledgers = 0
        self._ledgers: list[tuple[Ledger, str]] = []
        self._of_any_weights: list[Ledger] = []
        with ExitStack() as stack:
            for path in paths:
                with _refused_by_name(path):
                    if own.exists() and path.exists() and path.samefile(own):
                        raise UsageError(f"--known {path}: that is this run's own ledger")
                    ledger = stack.enter_context(Ledger.open_readonly(path))
                    theirs = ledger.settings()
                    if theirs.get("identifiers") == settings["identifiers"]:
                        self._of_any_weights.append(ledger)
                    if all(theirs.get(name) == settings[name] for name in BINDING):
                        ledger.check_results(expected)
                        self._ledgers.append((ledger, ledger.decided))
                    else:
                        self.ignored += ledger.count_screened()
                        self.ignored_ledgers += 1
            self._stack = stack.pop_all()

    def find(self, row: Row) -> KnownFilm | None:
        """What earlier nights made of the same film: filed alike if there is one, else filed otherwise."""
        whose = (row.identity.patient_id, row.identity.study_instance_uid)
        found: Inference | None = None
        listed = False
        objects: list[DicomObject] = []
        decided = ""
        for ledger, decided_there in self._ledgers:
            with _refused_by_name(ledger.path):
                alike = ledger.same_film(row, of=whose)
                if alike is not None:
                    found = found or alike.inference
                    listed |= ledger.was_listed(alike)
                    objects += ledger.objects_of(whose[1], whose[0])
                    decided = decided or _first_decided(alike.decided_before, decided_there)
        if found is not None:
            return KnownFilm(found, True, listed, tuple(objects), decided)
        for ledger, _ in self._ledgers:
            with _refused_by_name(ledger.path):
                other = ledger.same_film(row)
                if other is not None and other.inference is not None:
                    return KnownFilm(other.inference, same_identity=False)
        return None

    def each(self, look: Callable[[Ledger], _T]) -> list[_T]:
        """What `look` makes of every ledger that lends results. Raises UsageError for one that is damaged."""
        found = []
        for ledger, _ in self._ledgers:
            with _refused_by_name(ledger.path):
                found.append(look(ledger))
        return found

    def has_failed(self, file: str, change_token: str, reason: Reason | None) -> bool:
        """Whether the same file failed for the same reason in an earlier night, whatever the model."""
        for ledger in self._of_any_weights:
            with _refused_by_name(ledger.path):
                if ledger.has_failed(file, change_token, reason):
                    return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _first_decided(before: str, there: str) -> str:
    """What was decided before a night stands there, if that night has decided alike."""
    return before if before.partition(" ")[0] == there.partition(" ")[0] else there


@contextmanager
def _refused_by_name(path: Path) -> Iterator[None]:
    """Within, what is wrong with a ledger of `--known` is wrong usage. Raises UsageError."""
    try:
        yield
    except (LedgerError, OSError) as error:
        # Advice is for a run's own ledger.
        what = str(error).partition("; ")[0] if isinstance(error, LedgerError) else str(error.strerror)
        what = what.removeprefix(f"{path}: ")
        raise UsageError(f"--known {path}: {what}; run without it, or give a whole one") from error
