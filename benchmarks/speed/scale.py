"""What a file costs by the number of files, and whether memory stays flat: `screen run` without a network.

Small films and no network leave what every file costs whatever is on it: discovery, the header, the way
through the processes, the ledger, the reports.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.hardware import machine
from benchmarks.material import make_small
from benchmarks.speed.screen_run import timed_into, timed_run

_NULL_RUN = (sys.executable, "-P", "-m", "benchmarks.speed.null_run")


@dataclass(frozen=True, slots=True)
class Scale:
    """One run. peak_pss: bytes, all processes; peak_rss: bytes, the largest process."""

    files: int
    seconds: float
    peak_pss: int
    peak_rss: int
    processes: int
    stage_seconds: dict[str, float]

    @property
    def ms_per_file(self) -> float:
        """Start and reports included."""
        return 1000 * self.seconds / self.files


@dataclass(frozen=True, slots=True)
class InParts:
    """One run's films in parts, one after the other on this machine, and these put together.

    Seconds are the processors': other programs do not lengthen them. one_seconds: of one run over all.
    parts_seconds: of all parts. merge_seconds: of `screen report --parts`. report_seconds: of `screen report`
    over the same rows. merge_pss: bytes, all processes of the merge. None of them draws a picture.
    """

    files: int
    parts: int
    one_seconds: float
    parts_seconds: float
    merge_seconds: float
    report_seconds: float
    merge_pss: int

    @property
    def parts_ratio(self) -> float:
        """What parts cost of one run, whose reports are left out on its side: parts have none."""
        return self.parts_seconds / (self.one_seconds - self.report_seconds)

    @property
    def merge_us_per_row(self) -> float:
        """Beside what the reports of any run cost."""
        return 1e6 * (self.merge_seconds - self.report_seconds) / self.files


@dataclass(slots=True)
class Figures:
    """Runs, fewest files first."""

    runs: list[Scale] = field(default_factory=list)
    in_parts: list[InParts] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)


def measure(folder: Path, films: Path, counts: Sequence[int], parts: int) -> Figures:
    """Make what is missing in `folder` from the real films in `films`, then run over each count of them.

    parts: how many to do the same in; 0 for none. Raises click.ClickException if a run fails or leaves a file
    out.
    """
    make_small.make(folder, films, max(counts))
    figures = Figures(machine=machine())
    for count in sorted(set(counts)):
        inputs = b"\0".join(os.fsencode(path) for path in make_small.paths(folder, count)) + b"\0"
        if parts:
            figures.in_parts.append(_in_parts(inputs, count, parts))
            continue
        run = timed_run(_NULL_RUN, inputs)
        if run.films != count:
            raise click.ClickException(f"{run.films} of {count} films were screened")
        figures.runs.append(
            Scale(
                count,
                run.seconds,
                run.peak.pss,
                run.peak.rss,
                run.peak.processes,
                run.summary["stage_seconds"],
            )
        )
    return figures


def _in_parts(inputs: bytes, count: int, parts: int) -> InParts:
    """Raises click.ClickException if the tables are not the same."""
    nothing_flagged = ("--threshold", "1")
    with TemporaryDirectory() as folder:
        one, whole = Path(folder) / "one", Path(folder) / "whole"
        alone = timed_into(one, [*_NULL_RUN, "--out", str(one), *nothing_flagged], inputs)
        seconds, folders = 0.0, []
        for number in range(1, parts + 1):
            part = Path(folder) / f"part-{number}"
            command = [*_NULL_RUN, "--out", str(part), "--part", f"{number}/{parts}"]
            seconds += timed_into(part, [*command, *nothing_flagged], inputs).cpu_seconds
            folders.append(str(part))
        written = [sys.executable, "-P", "-m", "screen", "report", str(whole), *nothing_flagged]
        merged = timed_into(whole, [*written, "--parts", *folders])
        for name in ("results.csv", "flagged.csv"):
            if (one / name).read_bytes() != (whole / name).read_bytes():
                raise click.ClickException(f"{name}: not the same in parts as in one run")
        again = timed_into(whole, written)
        return InParts(
            count,
            parts,
            alone.cpu_seconds,
            seconds,
            merged.cpu_seconds,
            again.cpu_seconds,
            merged.peak.pss,
        )


def report(figures: Figures, console: Console) -> None:
    """Print the tables."""
    if figures.runs:
        _report_runs(figures, console)
    if figures.in_parts:
        _report_parts(figures, console)
    console.print(", ".join(f"{name} {value}" for name, value in figures.machine.items()))


def _report_parts(figures: Figures, console: Console) -> None:
    table = Table(title="the same in parts, and put together: processor seconds")
    headings = ("files", "parts", "one run, s", "parts, s", "parts / one run", "merge and reports, s",
                "reports, s", "merge, µs a row", "PSS of merge, MB")  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right")
    for each in figures.in_parts:
        table.add_row(
            f"{each.files:,}",
            str(each.parts),
            f"{each.one_seconds:.1f}",
            f"{each.parts_seconds:.1f}",
            f"{each.parts_ratio:.3f}",
            f"{each.merge_seconds:.1f}",
            f"{each.report_seconds:.1f}",
            f"{each.merge_us_per_row:.0f}",
            f"{each.merge_pss / 1e6:.0f}",
        )
    console.print(table)


def _report_runs(figures: Figures, console: Console) -> None:
    table = Table(title="screen run with no network over small films: start and reports included")
    for heading in (
        "files",
        "seconds",
        "ms a file",
        "ms a further",
        "PSS of all, MB",
        "largest, MB",
    ):
        table.add_column(heading, justify="right")
    for fewer, run in zip([None, *figures.runs], figures.runs, strict=False):
        further = fewer and 1000 * (run.seconds - fewer.seconds) / (run.files - fewer.files)
        table.add_row(
            f"{run.files:,}",
            f"{run.seconds:.1f}",
            f"{run.ms_per_file:.2f}",
            "" if further is None else f"{further:.2f}",
            f"{run.peak_pss / 1e6:.0f}",
            f"{run.peak_rss / 1e6:.0f}",
        )
    console.print(table)


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures for `--json`."""
    runs = [{**asdict(run), "ms_per_file": run.ms_per_file} for run in figures.runs]
    in_parts = [
        {**asdict(each), "parts_ratio": each.parts_ratio, "merge_us_per_row": each.merge_us_per_row}
        for each in figures.in_parts
    ]
    return {"benchmark": "scale", "runs": runs, "in_parts": in_parts, "machine": figures.machine}
