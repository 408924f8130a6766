"""Parts put together: their ledgers' rows, in the order in which INPUT listed the files, as one run's ledger.

    ledgers of the parts ── by place, then file ─→ OUT/ledger.sqlite ─→ reports as of any run

Duplicates, cases and ranks are decided from rows when reports are written, so that nothing here needs to know
of them. Memory holds a row of each part at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import merge
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from screen.codes import Warn
from screen.decide import Decision
from screen.errors import LedgerError, UsageError
from screen.ledger import Expected, Ledger, ListedFile
from screen.model import ModelCard, card_from_json
from screen.readers import Limits
from screen.report import RunFacts
from screen.runs.finished import FinishedRun
from screen.runs.folder import LEDGER_NAME, hold_to, locked_folder, remove_all_reports
from screen.runs.nights import in_order
from screen.runs.part import Part
from screen.runs.stopping import Stop

_OF_ALL = frozenset({"known_ignored", "known_ledgers_ignored", "folders_passed_over"})
"""Counts that are the same in every part; others are added up."""
_N = TypeVar("_N", int, float)


@dataclass(frozen=True, slots=True)
class _Finished:
    """A part that is complete. settings: without the part. decision: as JSON."""

    folder: Path
    part: Part
    ledger: Ledger
    settings: dict[str, str]
    facts: RunFacts
    decision: str


@contextmanager
def merged_run(
    out: Path, folders: Sequence[Path], decide: Callable[[ModelCard], Decision] | None, stop: Stop
) -> Iterator[tuple[FinishedRun, Decision]]:
    """The run in `out` that all these parts are, and what its reports are to be decided by.

    decide: None for the decision of the parts. Everything that can refuse does so before `out` is changed,
    and `out` is changed at once or not at all; its reports are then gone.
    Raises UsageError (no parts, not all of them, of different runs), LedgerError (an unfinished or damaged
    one) and StoppedError.
    """
    with ExitStack() as stack:
        parts = _checked([_opened(folder, out, stack) for folder in folders])
        first = parts[0]
        try:
            facts = _facts_of_all([part.facts for part in parts])
            limits = Limits(**facts.limits)  # type: ignore[arg-type]
            card = card_from_json(facts.card_json)
            decision = Decision.from_json(first.decision) if decide is None else decide(card)
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerError(f"{first.folder}: its ledger is damaged ({error})") from error
        expected = Expected(len(card.findings), card.heatmap_grid, card.weights_digest)
        for part in parts:
            part.ledger.expect(expected)
        stack.enter_context(locked_folder(out, create=True))
        ledger = stack.enter_context(Ledger.open(out / LEDGER_NAME))
        hold_to(ledger.settings(), first.settings, out)
        _fill(ledger, parts, stop)
        ledger.set_settings(first.settings)
        ledger.set_meta("facts", facts.to_json())
        remove_all_reports(out)
        ledger.forget_reports()
        ledger.commit()
        ledger.expect(expected)
        yield FinishedRun(out, ledger, facts, card, limits), decision


def _opened(folder: Path, out: Path, stack: ExitStack) -> _Finished:
    """Raises UsageError if it is no part's folder, and LedgerError if its run is not finished."""
    path = folder / LEDGER_NAME
    if not path.is_file():
        raise UsageError(f"{folder}: no folder of a part (no {LEDGER_NAME} in it); run that part first")
    if out.exists() and out.samefile(folder):
        raise UsageError(f"{folder}: a part; the reports of all parts need a folder of their own")
    ledger = stack.enter_context(Ledger.open_readonly(path))
    settings = ledger.settings()
    unfinished = f"{folder}: this part is not finished; type its 'screen run' again, then this"
    if not settings:
        raise LedgerError(unfinished)
    if "part" not in settings:
        raise UsageError(f"{folder}: no part of a run: it was screened without --part")
    part = Part.from_text(settings.pop("part"))
    facts, decided = ledger.meta("facts"), ledger.decision()
    if facts is None or decided is None:
        raise LedgerError(unfinished)
    try:
        return _Finished(folder, part, ledger, settings, RunFacts.from_json(facts), decided[0])
    except (ValueError, TypeError) as error:
        raise LedgerError(f"{folder}: its ledger is damaged ({error})") from error


def _checked(parts: Sequence[_Finished]) -> list[_Finished]:
    """In the order of their numbers. Raises UsageError unless they are all parts of one run, each once."""
    parts = sorted(parts, key=attrgetter("part.number"))
    first, of = parts[0], parts[0].part.of
    for one, other in pairwise(parts):
        if one.part.of != other.part.of:
            raise UsageError(
                f"{one.folder} is part {one.part}, {other.folder} is part {other.part}: not of one run"
            )
        if one.part == other.part:
            raise UsageError(f"{one.folder} and {other.folder} are both part {one.part}: give one of them")
    missing = sorted(set(range(1, of + 1)) - {part.part.number for part in parts})
    if missing:
        named = ", ".join(f"{number}/{of}" for number in missing[:10])
        raise UsageError(f"{len(missing)} of {of} parts are missing ({named}): give the folders of all")
    for part in parts[1:]:
        differing = sorted(_differing(_identity(first), _identity(part)))
        if differing:
            raise UsageError(
                f"{part.folder}: differs from {first.folder} in {', '.join(differing)}: not of one run; "
                "run one of them again with the other's options and --fresh"
            )
    return parts


def _identity(part: _Finished) -> dict[str, object]:
    """What all parts of a run have in common, by the names that people know."""
    facts = part.facts
    common = {"model card": facts.card_json, "INPUT": facts.inputs, "heatmaps": facts.heatmaps}
    return part.settings | common | {"decision": part.decision}


def _differing(one: dict[str, object], other: dict[str, object]) -> Iterator[str]:
    for name in one.keys() | other.keys():
        if one.get(name) != other.get(name):
            yield name


def _fill(ledger: Ledger, parts: Sequence[_Finished], stop: Stop) -> None:
    """List and keep everything; not committed. Raises UsageError for a file that stands in two parts."""
    ledger.clear_listing()
    in_order = merge(*map(_listed, parts), key=_place)
    for position, (listed, part) in enumerate(in_order):
        stop.check()
        row = listed.row
        if not ledger.take(position, listed):
            raise UsageError(f"{part.folder}: {row.file} is in another part, too: not of one run")
        if Warn.KNOWN in row.warnings:
            identity = row.identity
            ledger.put_earlier_objects(
                part.ledger.objects_of(identity.study_instance_uid, identity.patient_id)
            )


def _listed(part: _Finished) -> Iterator[tuple[ListedFile, _Finished]]:
    return ((listed, part) for listed in part.ledger.listed_files())


def _place(entry: tuple[ListedFile, _Finished]) -> tuple[int, str]:
    listed, _ = entry
    return listed.place, listed.row.file


def _facts_of_all(parts: Sequence[RunFacts]) -> RunFacts:
    """One run's: from the first start to the last end; times and counts added up.

    Raises TypeError or ValueError if they are none.
    """
    first = parts[0]
    counts = _sum(part.counts for part in parts)
    counts |= {name: max(part.counts.get(name, 0) for part in parts) for name in _OF_ALL & counts.keys()}
    counts["parts_listed_otherwise"] = sum(part.listing != first.listing for part in parts)
    return replace(
        first,
        device=_joined([part.device for part in parts]),
        versions=_joined([part.versions for part in parts]),
        started=min((part.started for part in parts), key=datetime.fromisoformat),
        finished=max((part.finished for part in parts), key=datetime.fromisoformat),
        seconds=sum(part.seconds for part in parts),
        stage_seconds=_sum(part.stage_seconds for part in parts),
        images_inferred=sum(part.images_inferred for part in parts),
        images_reused=sum(part.images_reused for part in parts),
        workers=sum(part.workers for part in parts),
        preprocess_drift=any(part.preprocess_drift for part in parts),
        counts=counts,
        part="",
        listing="",
        parts=len(parts),
        nights=in_order(night for part in parts for night in part.nights),
    )


def _sum(figures: Iterable[dict[str, _N]]) -> dict[str, _N]:
    """By name."""
    total: dict[str, _N] = {}
    for each in figures:
        for name, value in each.items():
            total[name] = total[name] + value if name in total else value
    return total


def _joined(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By name; where parts differ, all that they say."""
    found: dict[str, dict[Any, None]] = {}
    for each in facts:
        for name, value in each.items():
            found.setdefault(name, {})[value] = None
    return {
        name: next(iter(values)) if len(values) == 1 else ", ".join(map(str, values))
        for name, values in found.items()
    }
