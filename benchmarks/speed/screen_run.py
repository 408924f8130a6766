"""`screen run` as a user starts it: its start, its reports and all its processes are counted."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import click

from benchmarks.memory import PeakMemory

_CHECKOUT = Path(__file__).resolve().parent.parent.parent
"""The code that is measured, whatever else is installed."""


@dataclass(frozen=True, slots=True)
class ScreenRun:
    """One finished run. seconds: from start to exit; cpu_seconds: of all processes. summary: as it says."""

    seconds: float
    cpu_seconds: float
    films: int
    summary: dict[str, Any]
    peak: PeakMemory


def screen_run(inputs: Sequence[Path], *options: str) -> ScreenRun:
    """Run the command, its folder thrown away. Raises click.ClickException if it fails."""
    return timed_run([sys.executable, "-P", "-m", "screen", "run", *map(str, inputs), *options])


def timed_run(command: Sequence[str], data: bytes = b"") -> ScreenRun:
    """Run `command`, which takes `--out`, with `data` on standard input, its folder thrown away."""
    with TemporaryDirectory() as folder:
        return timed_into(Path(folder) / "out", [*command, "--out", str(Path(folder) / "out")], data)


def timed_into(out: Path, command: Sequence[str], data: bytes = b"") -> ScreenRun:
    """Run `command`, which writes into `out`, with `data` on standard input. Raises click.ClickException."""
    with TemporaryFile() as log:
        started, used = time.perf_counter(), _cpu_seconds()
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": os.fspath(_CHECKOUT)},
        )
        with PeakMemory(process) as peak:
            process.communicate(data)
        seconds, cpu_seconds = time.perf_counter() - started, _cpu_seconds() - used
        if process.returncode not in {0, 3}:
            log.seek(0)
            said = log.read()[-2000:].decode("utf-8", "replace")
            raise click.ClickException(f"screen ended with {process.returncode}:\n{said}")
    summary = json.loads((out / "summary.json").read_text())
    return ScreenRun(seconds, cpu_seconds, summary["images_inferred"], summary, peak)


def _cpu_seconds() -> float:
    """Of all processes that we started and that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
