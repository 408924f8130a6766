"""Films a second, from files to report: `screen run` beside a plain loop over the same films, in one go.

Three figures that are not to be mixed up: the engine alone (squares in memory to outputs), pixels in memory
to scores (one thread makes squares), and files to reports (the command, its start and its reports included).
All parts take turns, so that a machine's moods hit them alike; files are read once before, so that none of
them waits for the disk.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.memory import PeakMemory
from benchmarks.plain_loop import PlainLoop
from screen.backends import open_backend
from screen.backends.base import Backend
from screen.batching import Batcher
from screen.cpus import usable_cpus
from screen.discover import Source, discover
from screen.film import Film, Pixels
from screen.modelfile import Model, load_model
from screen.preprocess import square_from_pixels
from screen.readers import read

IN_MEMORY = 32
"""Films whose full pixels are held at once, for the second figure."""

ENGINE_SECONDS = 4.0
"""How long the engine alone runs in each turn, at least."""


@dataclass(slots=True)
class Rate:
    """Films a second, one value for each turn."""

    turns: list[float] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """Median and extremes."""
        return f"{median(self.turns):.1f} [{min(self.turns):.1f}, {max(self.turns):.1f}]"


@dataclass(slots=True)
class Figures:
    """All that one benchmark measured. peak_pss: bytes, of all processes of `screen run` together."""

    files: int
    films: int
    sample: int
    unread_by_loop: int
    loop: Rate = field(default_factory=Rate)
    pixels_to_scores: Rate = field(default_factory=Rate)
    engine: Rate = field(default_factory=Rate)
    run: Rate = field(default_factory=Rate)
    ratio: Rate = field(default_factory=Rate)
    peak_pss: list[int] = field(default_factory=list)
    processes: int = 0
    batch_size: int = 0
    workers: int = 0
    device: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)


def measure(
    inputs: Sequence[Path], sample: int, repeats: int, model_file: Path | None, device: str
) -> Figures:
    """Take turns. Raises click.ClickException if a part fails, ScreenError as `screen` does."""
    sources = list(discover(inputs, None))
    _warm_page_cache(sources)
    chosen = sources[:: max(1, len(sources) // sample)][:sample]
    model = load_model(model_file)
    loop = PlainLoop(model.card.preprocess)
    figures = Figures(files=len(sources), films=0, sample=len(chosen), unread_by_loop=0, machine=machine())
    _scored(loop, chosen[:3])
    for turn in range(repeats):
        _screen_run(inputs, model_file, device, figures)
        _loop(loop, chosen, figures)
        figures.ratio.turns.append(figures.run.turns[turn] / figures.loop.turns[turn])
        with open_backend(model, device, figures.batch_size, usable_cpus()) as backend:
            pixels = [film.pixels for film in _films(chosen)]
            _pixels_to_scores(backend, model, pixels, figures)
            _engine(backend, [square_from_pixels(px, model.card.preprocess).values for px in pixels], figures)
    return figures


def _warm_page_cache(sources: Sequence[Source]) -> None:
    for source in sources:
        with suppress(OSError), source.open() as stream:
            while stream.read(1 << 20):
                pass


def _screen_run(inputs: Sequence[Path], model_file: Path | None, device: str, figures: Figures) -> None:
    """One run as a user starts it, its folder thrown away."""
    with TemporaryDirectory() as folder:
        out, log = Path(folder) / "out", Path(folder) / "log"
        command = [
            sys.executable,
            "-m",
            "screen",
            "run",
            *map(str, inputs),
            "--out",
            str(out),
            "--device",
            device,
        ]
        if model_file is not None:
            command += ["--model", str(model_file)]
        started = time.perf_counter()
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stdout=stream, stderr=stream)
            with PeakMemory(process) as peak:
                code = process.wait()
        seconds = time.perf_counter() - started
        if code not in {0, 3}:
            raise click.ClickException(f"screen run ended with {code}:\n{log.read_text()[-2000:]}")
        summary = json.loads((out / "summary.json").read_text())
    figures.films = summary["images_inferred"]
    figures.run.turns.append(figures.films / seconds)
    figures.peak_pss.append(peak.pss)
    figures.processes = max(figures.processes, peak.processes)
    figures.batch_size, figures.workers = summary["batch_size"], summary["workers"]
    figures.device = summary["device"]


def _loop(loop: PlainLoop, chosen: Sequence[Source], figures: Figures) -> None:
    started = time.perf_counter()
    scored = _scored(loop, chosen)
    figures.loop.turns.append(scored / (time.perf_counter() - started))
    figures.unread_by_loop = len(chosen) - scored


def _scored(loop: PlainLoop, chosen: Sequence[Source]) -> int:
    """How many films the loop has a score for."""
    scored = sum(loop.score(source) is not None for source in chosen)
    if not scored:
        raise click.ClickException("the plain loop could read none of the sample")
    return scored


def _films(chosen: Sequence[Source]) -> Iterator[Film]:
    found = 0
    for source in chosen:
        film = read(source)
        if isinstance(film, Film):
            yield film
            found += 1
            if found == IN_MEMORY:
                return


def _pixels_to_scores(backend: Backend, model: Model, pixels: Sequence[Pixels], figures: Figures) -> None:
    enough = list(pixels) * (1 + 8 * backend.batch_size // len(pixels))
    started = time.perf_counter()
    with Batcher[None](backend) as batcher:
        for px in enough:
            batcher.add(square_from_pixels(px, model.card.preprocess).values, None)
        batcher.flush()
    figures.pixels_to_scores.turns.append(len(enough) / (time.perf_counter() - started))


def _engine(backend: Backend, squares: Sequence[NDArray[np.uint8]], figures: Figures) -> None:
    done = 0
    started = time.perf_counter()
    with Batcher[None](backend) as batcher:
        while time.perf_counter() - started < ENGINE_SECONDS:
            for _ in range(backend.batch_size):
                batcher.add(squares[done % len(squares)], None)
                done += 1
        batcher.flush()
    figures.engine.turns.append(done / (time.perf_counter() - started))


def report(figures: Figures, console: Console) -> None:
    """Print the table and what it was measured on."""
    table = Table(title="Films a second: median and, in brackets, least and most of the turns")
    table.add_column("figure")
    table.add_column("films/s", justify="right")
    precision = f"{figures.device.get('provider', '')}, {figures.device.get('precision', '')}"
    for name, rate in (
        (f"engine only, batch {figures.batch_size} ({precision})", figures.engine),
        (f"pixels in memory to scores ({IN_MEMORY} films at most)", figures.pixels_to_scores),
        (f"files to report: screen run ({figures.films} films of {figures.files} files)", figures.run),
        (f"files to scores: plain loop, eager torch, batch 1 ({figures.sample} files)", figures.loop),
        ("screen run / plain loop (ratio)", figures.ratio),
    ):
        table.add_row(name, rate.shown)
    console.print(table)
    peak = max(figures.peak_pss) / 1e9
    console.print(f"peak PSS of screen run: {peak:.2f} GB in {figures.processes} processes")
    if figures.unread_by_loop:
        console.print(f"files of the sample that the plain loop could not read: {figures.unread_by_loop}")
    console.print(", ".join(f"{name} {value}" for name, value in figures.machine.items()))


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures for `--json`."""
    return {"benchmark": "pipeline", **asdict(figures)}
