"""Films a second, from files to report: `screen run` beside a plain loop over the same films, in one go.

Three figures that are not to be mixed up: the engine alone (squares in memory to outputs), pixels in memory
to scores (one thread makes squares), and files to reports (the command, its start and its reports included).
All parts take turns, so that a machine's moods hit them alike; files are read once before, so that none of
them waits for the disk.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.hardware import machine
from benchmarks.rates import Turns
from benchmarks.sources import films, sources_in, thinned
from benchmarks.speed.plain_loop import PlainLoop
from benchmarks.speed.screen_run import screen_run
from benchmarks.speed.stages import network_rate
from screen.backends import Backend, Batcher, open_backend
from screen.discover import Source
from screen.film import Pixels
from screen.machine import usable_cpus
from screen.model import Model, load_model
from screen.preprocess import square_from_pixels

IN_MEMORY = 32
"""Films whose full pixels are held at once, for the second figure."""

ENGINE_SECONDS = 4.0
"""How long the engine alone runs in each turn, at least."""


@dataclass(slots=True)
class Figures:
    """All that one benchmark measured. peak_pss: bytes, of all processes of `screen run` together."""

    files: int
    films: int
    sample: int
    unread_by_loop: int
    loop: Turns = field(default_factory=Turns)
    pixels_to_scores: Turns = field(default_factory=Turns)
    engine: Turns = field(default_factory=Turns)
    run: Turns = field(default_factory=Turns)
    ratio: Turns = field(default_factory=Turns)
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
    sources = sources_in(inputs)
    chosen = thinned(sources, sample)
    model = load_model(model_file)
    loop = PlainLoop(model.card.preprocess)
    figures = Figures(files=len(sources), films=0, sample=len(chosen), unread_by_loop=0, machine=machine())
    _scored(loop, chosen[:3])
    for turn in range(repeats):
        _screen_run(inputs, model_file, device, figures)
        _loop(loop, chosen, figures)
        figures.ratio.turns.append(figures.run.turns[turn] / figures.loop.turns[turn])
        with open_backend(model, device, figures.batch_size, usable_cpus()) as backend:
            pixels = [film.pixels for film in films(chosen, IN_MEMORY)]
            _pixels_to_scores(backend, model, pixels, figures)
            squares = [square_from_pixels(px, model.card.preprocess).values for px in pixels]
            figures.engine.turns.append(network_rate(backend, squares, ENGINE_SECONDS))
    return figures


def _screen_run(inputs: Sequence[Path], model_file: Path | None, device: str, figures: Figures) -> None:
    options = ["--device", device, *(["--model", str(model_file)] if model_file else [])]
    run = screen_run(inputs, *options)
    figures.films = run.films
    figures.run.turns.append(run.films / run.seconds)
    figures.peak_pss.append(run.peak.pss)
    figures.processes = max(figures.processes, run.peak.processes)
    figures.batch_size, figures.workers = run.summary["batch_size"], run.summary["workers"]
    figures.device = run.summary["device"]


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


def _pixels_to_scores(backend: Backend, model: Model, pixels: Sequence[Pixels], figures: Figures) -> None:
    enough = list(pixels) * (1 + 8 * backend.batch_size // len(pixels))
    started = time.perf_counter()
    with Batcher[None](backend) as batcher:
        for px in enough:
            batcher.add(square_from_pixels(px, model.card.preprocess).values, None)
        batcher.flush()
    figures.pixels_to_scores.turns.append(len(enough) / (time.perf_counter() - started))


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
