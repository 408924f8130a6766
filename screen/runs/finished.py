"""A finished run's folder, opened again: its ledger, what is known of the run, and its films."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from screen.decode import DecodePool
from screen.decode.pool import DECODE
from screen.errors import LedgerError, UsageError
from screen.ledger import Expected, Ledger
from screen.machine import usable_cpus
from screen.model import ModelCard, card_from_json
from screen.readers import Limits
from screen.report import RunFacts
from screen.runs.folder import LEDGER_NAME, locked_folder
from screen.shortcuts import policy_from_entries


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """One run that was finished. card: the model's own. limits: of one file."""

    folder: Path
    ledger: Ledger
    facts: RunFacts
    card: ModelCard
    limits: Limits

    def open_pool(self, decode: str = DECODE) -> DecodePool:
        """Processes that read its films as it did. decode: what they call. Close it after use."""
        policy = policy_from_entries(self.card.decode_policies)
        return DecodePool(usable_cpus(), self.card.preprocess, self.limits, policy, decode=decode)


@contextmanager
def finished_run(folder: Path) -> Iterator[FinishedRun]:
    """The run, its folder locked, every row looked at when it is read.

    Raises UsageError (no run's folder, or a part's), LedgerError (unfinished, damaged, another run is at
    work there) and ModelError (a card that is none).
    """
    with locked_folder(folder, create=False), Ledger.open(folder / LEDGER_NAME) as ledger:
        if part := ledger.settings().get("part"):
            raise UsageError(
                f"{folder}: part {part} of a run, which has no reports of its own; "
                "put all parts together: screen report OUT --parts DIR..."
            )
        kept = ledger.meta("facts")
        if kept is None:
            raise LedgerError(f"{folder}: its run is not finished; type the same 'screen run' again")
        try:
            facts = RunFacts.from_json(kept)
            limits = Limits(**facts.limits)  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            raise LedgerError(
                f"{folder}: its ledger is damaged ({error}); start over with --fresh"
            ) from error
        card = card_from_json(facts.card_json)
        ledger.expect(Expected(len(card.findings), card.heatmap_grid, card.weights_digest))
        yield FinishedRun(folder, ledger, facts, card, limits)
