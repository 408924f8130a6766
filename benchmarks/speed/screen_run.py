"""`screen run` as a user starts it: its start, its reports and all its processes are counted."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.memory import PeakMemory

_CHECKOUT = Path(__file__).resolve().parent.parent.parent
"""The code that is measured, whatever else is installed."""


@dataclass(frozen=True, slots=True)
class ScreenRun:
    """One finished run. seconds: from start to exit. summary: its `summary.json`."""

    seconds: float
    films: int
    summary: dict[str, Any]
    peak: PeakMemory


def screen_run(inputs: Sequence[Path], *options: str) -> ScreenRun:
    """Run the command, its folder thrown away. Raises click.ClickException if it fails."""
    return timed_run([sys.executable, "-P", "-m", "screen", "run", *map(str, inputs), *options])


def timed_run(command: Sequence[str], data: bytes = b"") -> ScreenRun:
    """Run `command`, which takes `--out`, with `data` on standard input."""
    with TemporaryDirectory() as folder:
        out, log = Path(folder) / "out", Path(folder) / "log"
        with log.open("wb") as stream:
            started = time.perf_counter()
            process = subprocess.Popen(
                [*command, "--out", str(out)],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                env={**os.environ, "PYTHONPATH": os.fspath(_CHECKOUT)},
            )
            with PeakMemory(process) as peak:
                process.communicate(data)
            seconds = time.perf_counter() - started
        if process.returncode not in {0, 3}:
            raise click.ClickException(
                f"screen run ended with {process.returncode}:\n{log.read_text()[-2000:]}"
            )
        summary = json.loads((out / "summary.json").read_text())
    return ScreenRun(seconds, summary["images_inferred"], summary, peak)
