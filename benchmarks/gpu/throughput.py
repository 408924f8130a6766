"""Images a second on a device, three figures that are not to be mixed up, beside what the device allows.

Engine only: squares in memory to outputs. Pixels in memory to scores: 8-bit films of 1024 × 1024 in host
memory, their squares made by OpenCV on every processor, or on the device. Files to report: the whole command,
beside a plain loop, over INPUTS.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.gpu.array_squares import squares_from_batch
from benchmarks.gpu.ceilings import GpuLimits, flop_per_image, gpu_limits
from benchmarks.gpu.engines import OURS, timed, torch_device
from benchmarks.hardware import machine
from benchmarks.rates import Turns
from benchmarks.sources import sources_in, thinned
from benchmarks.speed.peers import PLAIN_LOOP, PlainLoopPeer, PluginLoopPeer
from benchmarks.speed.screen_run import screen_run
from screen.backends import Backend, Batcher, open_backend
from screen.film import Pixels
from screen.machine import usable_cpus
from screen.model import Model, load_model
from screen.preprocess import PreprocessSpec, square_from_pixels
from screen.readers.lookup import full_range_lookup

SIDE = 1024
CHUNK = 32
"""Films whose squares are made at once on the device."""
ENGINE, PIXELS, FILES = "engine only", "pixels to scores", "files to report"


@dataclass(slots=True)
class Row:
    """figure: one of three. limits: images a second that the device's data allow, by what sets them."""

    figure: str
    way: str
    batch_size: int
    rate: Turns = field(default_factory=Turns)
    limits: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Figures:
    """All rows, what was left out and why, the GPU (None on a CPU) and the machine."""

    rows: dict[tuple[str, str, int], Row] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    gpu: GpuLimits | None = None
    flop_per_image: float = 0.0
    input_size: int = 0
    machine: dict[str, str] = field(default_factory=dict)

    def add(self, figure: str, way: str, batch_size: int, rate: float, side: int = 0) -> None:
        """One turn's value. side: of what crosses the bus for an image, bytes a row; 0: no limit is known."""
        row = self.rows.setdefault((figure, way, batch_size), Row(figure, way, batch_size))
        row.rate.turns.append(rate)
        if self.gpu is not None and side:
            row.limits = self.gpu.image_limits(side, self.flop_per_image)


def measure(
    model_file: Path | None,
    device: str,
    batch_sizes: Sequence[int],
    inputs: Sequence[Path],
    turns: int,
    seconds: float,
    *,
    alone: bool,
) -> Figures:
    """Everything in every turn. inputs: files for the third figure; none: it is left out.

    Raises ScreenError as `screen` does, click.ClickException if `screen run` fails, AssertionError if squares
    from the device differ from OpenCV's.
    """
    model = load_model(model_file)
    size = model.card.input_size
    figures = Figures(flop_per_image=flop_per_image(size), input_size=size, machine=machine())
    where = torch_device(device)
    if where != "cpu":
        figures.gpu = gpu_limits(int(where.partition(":")[2]))
    for _ in range(turns):
        for batch_size in batch_sizes:
            for found in timed(model, device, batch_size, seconds, figures.missing, alone=alone):
                way = f"{found.name}, {found.engine.precision}"
                figures.add(ENGINE, way, batch_size, found.images_per_second(batch_size), size)
        _pixels(model, device, max(batch_sizes), seconds, figures)
        if inputs:
            _files(model, inputs, model_file, device, figures)
    return figures


@dataclass(frozen=True, slots=True)
class Arrays:
    """xp: the library, whose current device is this one within `device`. put, get: to the device and back."""

    name: str
    xp: Any
    put: Callable[[NDArray[Any]], Any]
    get: Callable[[Any], NDArray[Any]]
    device: Callable[[], AbstractContextManager[Any]]


def arrays_on(device: str) -> tuple[list[Arrays], dict[str, str]]:
    """All libraries that have the device: NumPy and PyTorch, or CuPy and PyTorch; why another is left out."""
    where = torch_device(device)
    on_torch = Arrays(
        "PyTorch",
        torch,
        lambda array: torch.from_numpy(array).to(where),
        lambda tensor: np.asarray(tensor.cpu()),
        lambda: torch.device(where),
    )
    if where == "cpu":
        return [Arrays("NumPy", np, np.asarray, np.asarray, nullcontext), on_torch], {}
    try:
        import cupy
    except ImportError as error:
        return [on_torch], {"CuPy": str(error)}
    index = int(where.partition(":")[2])
    on_cupy = Arrays("CuPy", cupy, cupy.asarray, cupy.asnumpy, lambda: cupy.cuda.Device(index))
    return [on_cupy, on_torch], {}


def films_in_memory(count: int) -> NDArray[np.uint8]:
    """uint8 [count, 1024, 1024]: smooth, with grain, no two alike."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, 12, 12), dtype=np.uint8)
    smooth = [cv2.resize(film, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for film in coarse]
    return np.stack(smooth) // 2 + generator.integers(0, 128, (SIDE, SIDE), dtype=np.uint8)


def _pixels(model: Model, device: str, batch_size: int, seconds: float, figures: Figures) -> None:
    films = films_in_memory(CHUNK)
    spec = model.card.preprocess
    lookup = full_range_lookup(8)
    libraries, missing = arrays_on(device)
    figures.missing |= missing
    with open_backend(model, device, batch_size, usable_cpus()) as backend, ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(usable_cpus()))

        def on_host() -> Iterator[NDArray[np.uint8]]:
            pixels = [Pixels(film, lookup) for film in films]
            yield from threads.map(lambda px: square_from_pixels(px, spec).values, pixels)

        ways: dict[str, Callable[[], Iterator[NDArray[np.uint8]]]] = {"squares by OpenCV": on_host}
        expected = np.stack(list(on_host()))
        for library in libraries:
            made = _on_device(library, films, np.tile(lookup, (len(films), 1)), spec)
            if not np.array_equal(np.stack(list(made())), expected):
                raise AssertionError(f"squares by {library.name} are not OpenCV's")
            ways[f"squares by {library.name}"] = made
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        for name, made in ways.items():
            figures.add(PIXELS, name, batch_size, _scored(backend, made, seconds), SIDE)
        cv2.setNumThreads(before)


def _on_device(
    library: Arrays, films: NDArray[np.uint8], lookups: NDArray[np.uint16], spec: PreprocessSpec
) -> Callable[[], Iterator[NDArray[np.uint8]]]:
    def made() -> Iterator[NDArray[np.uint8]]:
        with library.device():
            squares, _ = squares_from_batch(library.put(films), library.put(lookups), spec, library.xp)
        yield from library.get(squares)

    return made


def _scored(backend: Backend, made: Callable[[], Iterator[NDArray[np.uint8]]], seconds: float) -> float:
    """Films a second through the network, the last batch waited for."""
    films = 0
    started = time.perf_counter()
    with Batcher[None](backend) as batcher:
        while not films or time.perf_counter() - started < seconds:
            for square in made():
                batcher.add(square, None)
                films += 1
        batcher.flush()
    return films / (time.perf_counter() - started)


def _files(
    model: Model, inputs: Sequence[Path], model_file: Path | None, device: str, figures: Figures
) -> None:
    options = ["--device", device, *(["--model", str(model_file)] if model_file else [])]
    run = screen_run(inputs, *options)
    figures.add(FILES, OURS, run.summary["batch_size"], run.films / run.seconds)
    sources = thinned(sources_in(inputs), 24)
    loop = PlainLoopPeer(model.card.preprocess)
    figures.add(FILES, PLAIN_LOOP, 1, loop.rate(sources)[0])
    if PluginLoopPeer.name in figures.missing:
        return
    try:
        figures.add(FILES, PluginLoopPeer.name, 1, PluginLoopPeer(model.card.preprocess).rate(sources)[0])
    except (ImportError, RuntimeError) as error:
        figures.missing[PluginLoopPeer.name] = f"{type(error).__name__}: {error}"[:300]


def report(figures: Figures, console: Console) -> None:
    """Print the table."""
    table = Table(title="Images a second: median and, in brackets, extremes")
    for heading in ("figure", "way"):
        table.add_column(heading)
    for heading in ("batch", "images/s", "of FLOP limit", "of bus limit"):
        table.add_column(heading, justify="right")
    for row in figures.rows.values():
        shares = [
            f"{row.rate.median / row.limits[name]:.1%}" if row.limits.get(name) else "-"
            for name in ("flop", "bus")
        ]
        table.add_row(row.figure, row.way, str(row.batch_size), row.rate.shown, *shares)
    console.print(table)
    for name, why in figures.missing.items():
        console.print(f"{name}: left out ({why})", markup=False)
    console.print(", ".join(f"{name} {value}" for name, value in figures.machine.items()))


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures for `--json`."""
    return {
        "benchmark": "throughput",
        "rows": [asdict(row) for row in figures.rows.values()],
        "missing": figures.missing,
        "gpu": asdict(figures.gpu) if figures.gpu else None,
        "flop_per_image": figures.flop_per_image,
        "input_size": figures.input_size,
        "machine": figures.machine,
    }
