"""What a file costs by the number of files, and whether memory stays flat: `screen run` without a network.

Small films and no network leave what every file costs whatever is on it: discovery, the header, the way
through the processes, the ledger, the reports.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.hardware import machine
from benchmarks.material import make_small
from benchmarks.speed.screen_run import timed_run


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


@dataclass(slots=True)
class Figures:
    """Runs, fewest files first."""

    runs: list[Scale] = field(default_factory=list)
    machine: dict[str, str] = field(default_factory=dict)


def measure(folder: Path, films: Path, counts: Sequence[int]) -> Figures:
    """Make what is missing in `folder` from the real films in `films`, then run over each count of them.

    Raises click.ClickException if a run fails or leaves a file out.
    """
    make_small.make(folder, films, max(counts))
    figures = Figures(machine=machine())
    for count in sorted(set(counts)):
        inputs = b"\0".join(os.fsencode(path) for path in make_small.paths(folder, count)) + b"\0"
        run = timed_run([sys.executable, "-P", "-m", "benchmarks.speed.null_run"], inputs)
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


def report(figures: Figures, console: Console) -> None:
    """Print the table."""
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
    console.print(", ".join(f"{name} {value}" for name, value in figures.machine.items()))


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures for `--json`."""
    runs = [{**asdict(run), "ms_per_file": run.ms_per_file} for run in figures.runs]
    return {"benchmark": "scale", "runs": runs, "machine": figures.machine}
