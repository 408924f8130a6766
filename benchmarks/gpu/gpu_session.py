"""All that is to be measured on a GPU, in one command of under ten minutes.

Each step is a command of its own with a time limit; one that fails or takes too long is written down, and the
next one goes on. One folder holds what they printed, their JSON and plots, and `session.json`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.gpu.engines import torch_device
from benchmarks.hardware import machine

_CHECKOUT = Path(__file__).resolve().parent.parent.parent
_EXAMPLES = _CHECKOUT / "examples" / "films"
_SYNTAXES = ("explicit", "jpeg-lossless", "jpeg-2000", "htj2k")
_GPU_DECODERS = 2


@dataclass(frozen=True, slots=True)
class Step:
    """command: arguments of `python -m`. seconds: that it may take."""

    name: str
    command: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """exit_code: None if the time was up."""

    name: str
    command: tuple[str, ...]
    seconds: float
    exit_code: int | None


def steps(out: Path, films: Path, devices: Sequence[str], model: Path | None, *, quick: bool) -> list[Step]:
    """What runs, in order of its worth. films: a folder for made films; quick: little of everything."""
    of_model = ("--model", str(model)) if model else ()
    batches = (1, 4) if quick else (1, 8, 32, 128, 256)
    sizes = tuple(word for batch in batches for word in ("--batch-size", str(batch)))
    seconds, alone = ("0.2", ("--alone",)) if quick else ("2", ())
    made = ("--count", "2", "--size", "320") if quick else ("--count", "12")
    folders = tuple(str(films / name) for name in _SYNTAXES)

    def bench(name: str, *words: str, limit: float = 150, plot: bool = False) -> Step:
        files = ("--json", str(out / f"{name}.json"), *(("--plot", str(out / f"{name}.png")) if plot else ()))
        return Step(name, ("benchmarks", *words, *files), limit)

    found = [
        Step("doctor", ("screen", "doctor", *of_model), 60),
        bench("films", "films", str(films), *made, *(w for name in _SYNTAXES for w in ("--syntax", name))),
    ]
    for device in devices:
        name, on = device.replace(":", "-").replace(",", "-"), ("--device", device, *of_model)
        found += [
            bench(f"parity-{name}", "parity", str(_EXAMPLES), *folders, *on, *sizes),
            bench(f"latency-{name}", "latency", *on, *alone, *sizes, "--seconds", seconds, plot=True),
            bench(
                f"throughput-{name}",
                "throughput", *folders, *on, *alone, *sizes, "--seconds", seconds, "--repeats", "1",
                limit=240, plot=True,
            ),
        ]  # fmt: skip
        if torch_device(device) != "cpu":
            run = ("screen", "run", *folders, *on, "--gpu-decoders", str(_GPU_DECODERS), "--timings")
            found.append(Step(f"run-gpu-decoders-{name}", (*run, "--out", str(out / f"run-{name}")), 60))
    if any(torch_device(device) != "cpu" for device in devices):
        found.append(bench("gpu-frames", "gpu-frames", *folders[1:]))
    return found


def session(
    out: Path, devices: Sequence[str], model: Path | None, minutes: float, *, quick: bool
) -> list[Done]:
    """Run the steps until `minutes` are over; `out/session.json` is there after each of them."""
    out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * minutes
    done: list[Done] = []
    with TemporaryDirectory() as films:
        for step in steps(out, Path(films), devices, model, quick=quick):
            done.append(_run(step, out / f"{step.name}.log", deadline - time.monotonic()))
            (out / "session.json").write_text(json.dumps(as_json(done), indent=2) + "\n")
    return done


def _run(step: Step, log: Path, left: float) -> Done:
    started = time.monotonic()
    if left <= 0:
        return Done(step.name, step.command, 0.0, None)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", *step.command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            # Tables as wide as they need.
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(_CHECKOUT), *_inherited()]),
                "COLUMNS": "160",
            },
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(min(step.seconds, left))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # Whatever it started, too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Done(step.name, step.command, time.monotonic() - started, code)


def _inherited() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def report(done: Sequence[Done], console: Console) -> None:
    """Print how each step ended."""
    table = Table(title="Steps")
    for heading in ("step", "s", "exit code"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for step in done:
        code = "time was up" if step.exit_code is None else str(step.exit_code)
        table.add_row(step.name, f"{step.seconds:.0f}", code)
    console.print(table)


def as_json(done: Sequence[Done]) -> dict[str, Any]:
    """What `session.json` says."""
    return {"benchmark": "gpu", "steps": [asdict(step) for step in done], "machine": machine()}
