"""Is this week like the weeks before? Films of many nights by week and device, each week held against chance.

A week of a device is held against the same device's earlier films; a device that has few, against all earlier
films. So a new device is told once, and from then on is measured by itself.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason, Status, Warn
from screen.decide import Decision, Verdict, decision_from, verdicts_alone
from screen.decide.rates import wilson
from screen.errors import LedgerError, ModelError, UsageError
from screen.evaluation.chance import counts_by_quantile, more_by_chance, other_by_chance, psi_by_chance
from screen.evaluation.feedback import Feedback, read_feedback
from screen.ledger import Expected, Ledger
from screen.model import ModelCard, card_from_json
from screen.report import RunFacts
from screen.text import safe_text

FALSE_ALARMS = 0.05
"""Of so many reports on weeks that are all alike, one alarm or more is chance's at most."""
ENOUGH = 50
"""Films: fewer are nothing to hold others against."""
_TESTS = 5
"""Of each week and device: scores, distance, flagged, failed, unlike_chest."""


class Device(NamedTuple):
    """Where films come from, as their tags say it."""

    institution_name: str
    manufacturer: str
    manufacturer_model_name: str


@dataclass(slots=True)
class Films:
    """Films of one device in one week, or of many.

    probabilities, distances: of screened films, primary finding and percentile. flagged: of them.
    failed: files. unlike_chest: films that the gate doubted or turned away. agree, disagree: of readers, with
    flagged studies.
    """

    probabilities: "array[float]" = field(default_factory=lambda: array("d"))
    distances: "array[float]" = field(default_factory=lambda: array("d"))
    flagged: int = 0
    failed: int = 0
    unlike_chest: int = 0
    agree: int = 0
    disagree: int = 0

    @property
    def films(self) -> int:
        """Screened ones."""
        return len(self.probabilities)

    def add(self, other: "Films") -> None:
        """Count its films too."""
        self.probabilities.extend(other.probabilities)
        self.distances.extend(other.distances)
        self.flagged += other.flagged
        self.failed += other.failed
        self.unlike_chest += other.unlike_chest


@dataclass(frozen=True, slots=True)
class Watched:
    """One line of the table. psi, chance: None without enough earlier films. alarms: what is no chance."""

    week: str
    device: Device
    films: Films
    psi: float | None = None
    chance: float | None = None
    alarms: tuple[str, ...] = ()

    @property
    def flagged_interval(self) -> tuple[float, float]:
        """95 %, of the share of films."""
        return wilson(self.films.flagged, self.films.films)

    def percentiles(self, *which: float) -> list[float | None]:
        """Of the probability, as the card calibrates it."""
        return _percentiles(self.films.probabilities, which)

    @property
    def distance(self) -> float | None:
        """Median distance from normal, a percentile itself."""
        return _percentiles(self.films.distances, (50,))[0]


@dataclass(frozen=True, slots=True)
class Drift:
    """Everything that the report says. lines: by week, then device. ledgers: how many were read.

    other_weights, unmatched: verdicts left out, of another model and on studies that are in no ledger.
    """

    decision: Decision
    lines: Sequence[Watched]
    ledgers: int
    other_weights: int
    unmatched: int

    @property
    def alarms(self) -> list[Watched]:
        """Lines with one."""
        return [line for line in self.lines if line.alarms]


def watch(ledgers: Sequence[Path], reference: Sequence[Path], feedback: Sequence[Path]) -> Drift:
    """Read all nights and hold each week against what came before it.

    All are decided as the last night was, so that another threshold is no drift. reference: nights before all
    others, not reported themselves. Raises UsageError for what is no finished run's ledger, for nights of
    different models, and for feedback that is none.
    """
    decision = _decision(ledgers[-1])
    said = read_feedback(feedback, decision.card.weights_digest)
    reader = _Reader(decision, said)
    for path in reference:
        reader.read(path)
    before = _by_device(reader.take())
    for path in ledgers:
        reader.read(path)
    weeks = reader.take()
    return Drift(
        decision=decision,
        lines=held_against_chance(weeks, before),
        ledgers=len(ledgers) + len(reference),
        other_weights=said.other_weights,
        unmatched=len(said.verdicts.keys() - reader.judged),
    )


Weeks = dict[tuple[str, Device], Films]
"""By week and device."""


class _Reader:
    """Takes films out of ledgers: each once, however many nights have met it."""

    def __init__(self, decision: Decision, feedback: Feedback) -> None:
        self._decision = decision
        self._feedback = feedback
        self._weeks: Weeks = {}
        self._seen: set[bytes] = set()
        self.judged: set[tuple[str, str]] = set()

    def read(self, path: Path) -> None:
        with _opened(path) as (ledger, facts, card):
            if card.weights_digest != self._decision.card.weights_digest:
                raise UsageError(f"{path}: screened by another model; watch one model at a time")
            ledger.expect(Expected(len(card.findings), card.heatmap_grid, card.weights_digest))
            for verdict in verdicts_alone(ledger.listed_rows(), self._decision):
                self._add(verdict, facts.started)

    def take(self) -> Weeks:
        """What was read since the last time."""
        weeks, self._weeks = self._weeks, {}
        return weeks

    def _add(self, verdict: Verdict, night: str) -> None:
        unlike = Reason.UNLIKE_CHEST is verdict.reason or Warn.UNLIKE_CHEST in verdict.warnings
        if verdict.status is Status.SKIPPED and not unlike:
            return
        identity = verdict.row.identity
        film = (identity.sop_instance_uid, identity.study_instance_uid, identity.patient_id)
        key = (*film, verdict.row.pixel_digest or verdict.file, verdict.status)
        digest = hashlib.blake2b("\0".join(key).encode("utf-8", "surrogatepass"), digest_size=12).digest()
        if digest in self._seen:
            return
        self._seen.add(digest)
        device = Device(identity.institution_name, identity.manufacturer, identity.manufacturer_model_name)
        week = _week(identity.acquisition_date) or _week(identity.study_date) or _week(night)
        films = self._weeks.setdefault((week, device), Films())
        films.unlike_chest += unlike
        films.failed += verdict.status is Status.FAILED
        if verdict.primary is not None:
            films.probabilities.append(verdict.primary.probability)
            films.distances.append(verdict.normal_distance or 0.0)
            films.flagged += verdict.flagged
        if verdict.flagged:
            self._judge(verdict, films)

    def _judge(self, verdict: Verdict, films: Films) -> None:
        """What a reader said of the study, at its first film that is flagged for that."""
        study = safe_text(verdict.row.identity.study_instance_uid)
        for score in verdict.scores:
            case = (study, safe_text(score.finding))
            said = self._feedback.verdicts.get(case)
            if said is None or case in self.judged or not (score.flagged and score.flagging):
                continue
            self.judged.add(case)
            films.agree += said == "agree"
            films.disagree += said == "disagree"


def held_against_chance(weeks: Weeks, before: dict[Device, Films]) -> list[Watched]:
    """Every week and device. Each of K tests alarms by chance in `FALSE_ALARMS` / K (Bonferroni).

    before: films of earlier nights; those of the weeks are added to it.
    """
    least = FALSE_ALARMS / (_TESTS * max(1, len(weeks)))
    everything = Films()
    for films in before.values():
        everything.add(films)
    lines: list[Watched] = []
    for week in sorted({week for week, _ in weeks}):
        now = sorted((device, films) for (at, device), films in weeks.items() if at == week)
        for device, films in now:
            own = before.get(device)
            earlier = own if own is not None and own.films >= ENOUGH else everything
            lines.append(_line(week, device, films, earlier, least))
        # Only then: neighbours of one week are not held against each other.
        for device, films in now:
            before.setdefault(device, Films()).add(films)
            everything.add(films)
    return lines


def _line(week: str, device: Device, films: Films, earlier: Films, least: float) -> Watched:
    if earlier.films < ENOUGH:
        return Watched(week, device, films)
    met, earlier_met = films.films + films.failed, earlier.films + earlier.failed
    by_chance = {
        "failed": more_by_chance(films.failed, met, earlier.failed, earlier_met),
        "unlike_chest": more_by_chance(
            films.unlike_chest,
            films.films + films.unlike_chest,
            earlier.unlike_chest,
            earlier.films + earlier.unlike_chest,
        ),
    }
    seen = chance = None
    if films.films:
        numbers = (films.flagged, films.films, earlier.flagged, earlier.films)
        by_chance["flagged"] = other_by_chance(*numbers)
        counts = counts_by_quantile(_array(earlier.probabilities), _array(films.probabilities))
        seen, chance, by_chance["scores"] = psi_by_chance(*counts, least)
        # Preprocessing takes most of a device's greys out of the scores; the distance still knows them.
        counts = counts_by_quantile(_array(earlier.distances), _array(films.distances))
        _, _, by_chance["distance"] = psi_by_chance(*counts, least)
    alarms = tuple(name for name in sorted(by_chance) if by_chance[name] <= least)
    return Watched(week, device, films, seen, chance, alarms)


def _by_device(weeks: Weeks) -> dict[Device, Films]:
    found: dict[Device, Films] = {}
    for (_, device), films in weeks.items():
        found.setdefault(device, Films()).add(films)
    return found


def _decision(path: Path) -> Decision:
    """As the night's own reports were decided; the model's own where there are none."""
    with _opened(path) as (ledger, _, card):
        kept = ledger.decision()
        return decision_from(card, None, None, None) if kept is None else Decision.from_json(kept[0])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Ledger, RunFacts, ModelCard]]:
    """A finished run's ledger, read-only. Raises UsageError for any trouble with it, within as well."""
    try:
        with Ledger.open_readonly(path) as ledger:
            kept = ledger.meta("facts")
            if kept is None:
                raise UsageError(f"{path}: its run is not finished; leave it out, or finish it")
            facts = RunFacts.from_json(kept)
            yield ledger, facts, card_from_json(facts.card_json)
    except (LedgerError, ModelError) as error:
        raise UsageError(f"{path}: {str(error).removeprefix(f'{path}: ').partition('; ')[0]}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path}: damaged: what it says of its run makes no sense") from error


def _week(text: str) -> str:
    """`2026-W48` of DICOM's YYYYMMDD, or of ISO 8601; empty for what is no date."""
    digits = text[:10].replace("-", "")[:8]
    try:
        year, week, _ = date.fromisoformat(digits).isocalendar()
    except ValueError:
        return ""
    return f"{year}-W{week:02}"


def _array(values: "array[float]") -> NDArray[np.float64]:
    return np.frombuffer(values, np.float64) if values else np.empty(0)


def _percentiles(values: "array[float]", which: Iterable[float]) -> list[float | None]:
    wanted = list(which)
    return [float(x) for x in np.percentile(_array(values), wanted)] if values else [None] * len(wanted)
