"""`screen monitor` on real films: is a new device told once, and how often does chance raise an alarm?

Real films are screened as two makers' devices give them. Weeks are then drawn from what was screened, so that
a report costs no network.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.material.devices import NEW, OLD, write_films
from benchmarks.material.make_films import small_films
from screen.codes import Reason, Status, Warn
from screen.decide import Decision, Verdict, verdicts_alone
from screen.evaluation.drift import FALSE_ALARMS, Device, Films, Weeks, held_against_chance
from screen.ledger import Ledger
from screen.runs import RunSettings, run
from screen.runs.folder import LEDGER_NAME
from screen.runs.progress import JsonLines

WEEKS, CHANGE = 12, 8
"""Weeks of a report; in which of them, from 1, the new device takes the old one's place."""
FIRST, SECOND = 80, 40
"""Films a week: of the device that is replaced, and of another one that stays."""
_OLD, _SECOND, _NEW = Device("H1", OLD, "one"), Device("H1", OLD, "two"), Device("H1", NEW, "new")


def screen_films(folder: Path, films: int, work: Path, model: Path | None = None) -> dict[str, Path]:
    """By maker, the ledger of a run over so many real films as that maker's device gives them.

    folder: real films. work: where films and runs are made.
    """
    small = small_films(folder, films)
    ledgers = {}
    for maker in (OLD, NEW):
        made = write_films(work / maker, small, films, maker)
        out = work / f"{maker}-screened"
        run(RunSettings(inputs=(made,), out=out, model=model, device="cpu", heatmaps=0), JsonLines())
        ledgers[maker] = out / LEDGER_NAME
    return ledgers


def verdicts_of(ledger: Path) -> list[Verdict]:
    """Of all its films, as its own run decided."""
    with Ledger.open_readonly(ledger) as opened:
        kept = opened.decision()
        if kept is None:
            raise ValueError(f"{ledger}: its run is not finished")
        return list(verdicts_alone(opened.listed_rows(), Decision.from_json(kept[0])))


def drawn(pool: Sequence[Verdict], number: int, rng: np.random.Generator) -> Films:
    """So many of these, one at a time."""
    films = Films()
    for at in rng.integers(len(pool), size=number):
        verdict = pool[at]
        films.failed += verdict.status is Status.FAILED
        films.unlike_chest += Warn.UNLIKE_CHEST in verdict.warnings or verdict.reason is Reason.UNLIKE_CHEST
        if verdict.primary is not None:
            films.probabilities.append(verdict.primary.probability)
            films.distances.append(verdict.normal_distance or 0.0)
            films.flagged += verdict.flagged
    return films


def alarms(old: Sequence[Verdict], new: Sequence[Verdict] | None, seed: int) -> list[tuple[int, str]]:
    """(week, what differs) of each alarm in a report on twelve weeks. new: None if no device is replaced."""
    rng = np.random.default_rng(seed)
    weeks: Weeks = {}
    for week in range(1, WEEKS + 1):
        name = f"2026-W{week:02}"
        if new is None or week < CHANGE:
            weeks[name, _OLD] = drawn(old, FIRST, rng)
        else:
            weeks[name, _NEW] = drawn(new, FIRST, rng)
        weeks[name, _SECOND] = drawn(old, SECOND, rng)
    lines = held_against_chance(weeks, {})
    return [(int(line.week[-2:]), ";".join(line.alarms)) for line in lines if line.alarms]


def measure(folder: Path, films: int, reports: int) -> dict[str, Any]:
    """Screen the films, and simulate so many reports with a new device and without one."""
    with tempfile.TemporaryDirectory() as work:
        ledgers = screen_films(folder, films, Path(work))
        old, new = (verdicts_of(ledgers[maker]) for maker in (OLD, NEW))
    changed = [alarms(old, new, seed) for seed in range(reports)]
    same = [alarms(old, None, seed) for seed in range(reports)]
    return {
        "benchmark": "drift",
        "films": films,
        "reports": reports,
        "flagged": {maker: sum(v.flagged for v in of) / len(of) for maker, of in ((OLD, old), (NEW, new))},
        "told_in_its_week": sum(any(week == CHANGE for week, _ in found) for found in changed),
        "told_once": sum([week for week, _ in found] == [CHANGE] for found in changed),
        "false_alarms": sum(bool(found) for found in same),
        "stated": FALSE_ALARMS,
    }


def report(figures: dict[str, Any], console: Console) -> None:
    """Print what `measure` found."""
    reports = figures["reports"]
    shares = ", ".join(f"{maker} {share:.1%}" for maker, share in figures["flagged"].items())
    console.print(f"{figures['films']} real films, as two devices give them; flagged: {shares}")
    console.print(f"{reports} reports on {WEEKS} weeks, {FIRST} and {SECOND} films a week")
    console.print(f"a new device in week {CHANGE} is told in that week: {figures['told_in_its_week']}")
    console.print(f"… and nothing else is: {figures['told_once']}")
    console.print(
        f"an alarm without one: {figures['false_alarms']} (stated: {figures['stated']:.0%} at most)"
    )
