"""The nights given with `--known`, in figures: read from ledgers that anybody may have written."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, replace
from datetime import datetime
from itertools import chain

from screen.decide import Decision, verdicts_alone
from screen.errors import LedgerError, UsageError
from screen.ledger import Known, Ledger
from screen.ledger.objects import is_digest, is_time
from screen.report import RunFacts
from screen.report.nights import NewFiles, Night, digest_of
from screen.runs.part import Part

MOST = 100
"""Nights that are kept, the latest."""
_MOST_FILES = 10**12


def nights_before(known: Known, decision: Decision, check_stop: Callable[[], None]) -> tuple[Night, ...]:
    """Every finished night that lends results, decided as tonight, and those that it was beside itself.

    So a night that knows only the last one is beside all before. check_stop: raises when nobody waits any
    more. Raises UsageError naming a ledger that is damaged.
    """
    decided = digest_of(decision)

    def nights(ledger: Ledger) -> tuple[Sequence[Night], Night | None]:
        kept = ledger.meta("facts")
        if kept is None:
            return (), None
        try:
            facts = RunFacts.from_json(kept)
            own = Night(facts.started, 0, 0, 0, decided, ledger.settings().get("part", ""))
            before = facts.nights[-MOST:]
            for night in (*before, own):
                _check(night)
        except (ValueError, TypeError, KeyError, RecursionError, UsageError) as error:
            raise LedgerError(f"{ledger.path}: damaged: what it says of its run makes no sense") from error
        new = NewFiles()
        for verdict in verdicts_alone(ledger.listed_rows(), decision):
            check_stop()
            new.add(verdict)
        return before, replace(own, films=new.films, flagged=new.flagged, failed=new.failed)

    found = known.each(nights)
    return in_order(chain(*(before for before, _ in found), (own for _, own in found if own)))


def in_order(nights: Iterable[Night]) -> tuple[Night, ...]:
    """The latest, by the time at which they began. One that comes again takes the earlier one's place."""
    by_name = {(night.started, night.part): night for night in nights}
    return tuple(sorted(by_name.values(), key=lambda n: (datetime.fromisoformat(n.started), astuple(n))))[
        -MOST:
    ]


def _check(night: Night) -> None:
    """Raises ValueError or TypeError, and UsageError for a part that is none."""
    figures = (night.films, night.flagged, night.failed)
    if set(map(type, figures)) != {int} or not 0 <= night.flagged <= night.films or night.failed < 0:
        raise ValueError("no figures of a night")
    if not is_time(night.started) or not is_digest(night.decision) or max(figures) > _MOST_FILES:
        raise ValueError("no night")
    if night.part:
        Part.from_text(night.part)
