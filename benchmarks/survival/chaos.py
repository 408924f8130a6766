"""`screen run`, killed at random moments and started again: its reports are those of a run left alone."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console

from benchmarks.hardware import machine
from benchmarks.memory import family

COMMAND = (sys.executable, "-m", "screen")
_TABLES = ("results.csv", "flagged.csv")
_COMPLETE = (0, 3)
_STOPPED = (143, -signal.SIGTERM)  # before its handler is there, a signal ends the process by itself
_MOST_STOPS = 4
"""Before a run is left alone, so that every round comes to an end."""
_LOOK = 0.002
_PATIENCE = 300.0


class Moment(StrEnum):
    """When a run is stopped."""

    REPORTS = "reports"
    ANY = "any"
    START = "start"


@dataclass(slots=True)
class Figures:
    """kills, terms: runs ended by SIGKILL and by SIGTERM; moments: how many of them when.

    rounds: runs that were stopped at least once and then completed; reused: those that had work kept.
    broken: everything that must not be.
    """

    machine: dict[str, str]
    files: int
    seconds_alone: float
    kills: int = 0
    terms: int = 0
    rounds: int = 0
    reused: int = 0
    moments: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)


def chaos(
    inputs: Path,
    kills: int,
    seed: int,
    work: Path,
    options: Sequence[str] = (),
    command: Sequence[str] = COMMAND,
) -> Figures:
    """Stop runs over `inputs` `kills` times and compare each completed one's tables with a run left alone.

    options: more of `screen run`'s. work: a folder for the runs' folders. command: what stands before `run`.
    """
    alone = work / "alone"
    started = time.monotonic()
    code = _start(command, inputs, alone, options).wait(_PATIENCE)
    if code not in _COMPLETE:
        raise RuntimeError(f"the run that was left alone ended with {code}")
    tables = {name: (alone / name).read_bytes() for name in _TABLES}
    figures = Figures(machine(), _rows(tables["results.csv"]), time.monotonic() - started)
    rng, moments = Random(seed), cycle(Moment)
    while figures.kills < kills:
        out = work / f"round-{figures.rounds}"
        _round(_Run(command, inputs, out, options, tables, figures, moments), rng)
        if not any(out.name in line for line in figures.broken):
            shutil.rmtree(out)
    return figures


@dataclass(slots=True)
class _Run:
    command: Sequence[str]
    inputs: Path
    out: Path
    options: Sequence[str]
    tables: dict[str, bytes]
    figures: Figures
    moments: Iterator[Moment]

    def start(self) -> "subprocess.Popen[bytes]":
        return _start(self.command, self.inputs, self.out, self.options)

    def broke(self, what: str) -> None:
        self.figures.broken.append(f"{self.out.name}: {what}")


def _start(
    command: Sequence[str], inputs: Path, out: Path, options: Sequence[str]
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*command, "run", str(inputs), "--out", str(out), "--device", "cpu", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _round(run: _Run, rng: Random) -> None:
    """Stops, then the same command to its end."""
    stops, wanted = 0, rng.randint(1, _MOST_STOPS)
    while stops < wanted and _stopped(run, rng):
        stops += 1
        _check_what_is_left(run)
    process = run.start()
    code = process.wait(_PATIENCE)
    if code not in _COMPLETE:
        run.broke(f"the run that resumed ended with {code}")
        return
    for name, content in run.tables.items():
        if (run.out / name).read_bytes() != content:
            run.broke(f"{name} differs from that of the run left alone")
    if stops:
        run.figures.rounds += 1
        summary = json.loads((run.out / "summary.json").read_text())
        run.figures.reused += summary["images_reused"] > 0


def _stopped(run: _Run, rng: Random) -> bool:
    """Start the command and stop it at some moment; False if it was quicker."""
    moment = next(run.moments)
    number = signal.SIGTERM if rng.random() < 0.2 else signal.SIGKILL
    with_workers = rng.random() < 0.5
    # A run that was killed when all was written; they stand until the next one has a new result.
    had_reports = any(run.out.glob("*.csv"))
    process = run.start()
    try:
        _wait_for(moment, process, run, rng)
        processes = [int(folder.name) for folder in family(process.pid)]
        for pid in processes if with_workers and number is signal.SIGKILL else [process.pid]:
            _kill(pid, number)
        code = process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        run.broke(f"did not end after {signal.Signals(number).name}")
        process.kill()
        process.wait()
        return False
    if code in _COMPLETE:
        return False
    if code not in (_STOPPED if number is signal.SIGTERM else (-signal.SIGKILL,)):
        run.broke(f"ended with {code} after {signal.Signals(number).name}")
    if code == _STOPPED[0] and any(run.out.glob("*.csv")) and not had_reports:
        run.broke("reports after SIGTERM")
    if code == _STOPPED[0] and any(run.out.glob("ledger.sqlite-*")):
        run.broke("the ledger was not closed after SIGTERM")
    _check_workers_are_gone(processes[1:], run)
    run.figures.kills += number is signal.SIGKILL
    run.figures.terms += number is signal.SIGTERM
    run.figures.moments[str(moment)] = run.figures.moments.get(str(moment), 0) + 1
    return True


def _wait_for(moment: Moment, process: "subprocess.Popen[bytes]", run: _Run, rng: Random) -> None:
    seconds = run.figures.seconds_alone
    if moment is Moment.START:
        time.sleep(rng.random() * min(1.5, seconds / 2))
    elif moment is Moment.ANY:
        time.sleep(rng.random() * seconds)
    else:
        while process.poll() is None and not any(run.out.glob(".reports-*")):
            time.sleep(_LOOK)
        time.sleep(rng.random() ** 2 * 0.3)


def _check_what_is_left(run: _Run) -> None:
    """A report is whole or not there, and where the summary is, all are."""
    for name, content in run.tables.items():
        path = run.out / name
        if path.exists() and path.read_bytes() != content:
            run.broke(f"half a {name} after a stop")
        if (run.out / "summary.json").exists() and not path.exists():
            run.broke(f"a summary without {name} after a stop")


def _check_workers_are_gone(pids: Sequence[int], run: _Run) -> None:
    """Those whose parent was killed see its end of their pipe close."""
    deadline = time.monotonic() + 20
    while any(_is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            run.broke("workers outlived the run")
            return
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        # A zombie is dead: nobody has asked for its exit code yet.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _rows(results: bytes) -> int:
    """How many files there are. Raises RuntimeError if one has two rows."""
    files = [row["file"] for row in csv.DictReader(io.StringIO(results.decode()))]
    if len(set(files)) != len(files):
        raise RuntimeError("a file has two rows")
    return len(files)


def report(figures: Figures, console: Console) -> None:
    """For people."""
    moments = ", ".join(f"{number} at {name}" for name, number in sorted(figures.moments.items()))
    console.print(
        f"{figures.files} files, {figures.seconds_alone:.1f} s if left alone\n"
        f"{figures.kills} times SIGKILL, {figures.terms} times SIGTERM ({moments})\n"
        f"{figures.rounds} runs resumed to their end, {figures.reused} of them with films reused, "
        f"{len(figures.broken)} things that must not be"
    )
    for line in figures.broken:
        console.print(f"BROKEN {line}", markup=False)


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures for `--json`."""
    return {"benchmark": "chaos", **asdict(figures)}
