"""Pre-training, each part alone and all together: images a second, two views of a film counted as two.

The loader and the augmentation alone must be far above the network alone, or they are what is waited for.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.hardware import machine
from benchmarks.rates import Turns
from train.data.filmstore import FilmStore, read_ahead
from train.network.compute import Compute
from train.recipes.pretrain import Learner, PretrainSettings

PARTS = ("loader", "augmentation", "network", "all")
_CACHED = 2048
"""Films that the loader chooses from."""

Figures = dict[str, Turns]


def measure(
    settings: PretrainSettings, compute: Compute, side: int, repeats: int, seconds: float
) -> tuple[Figures, dict[str, str]]:
    """Images a second of every part. side: of the cached squares, pixels; what is on them does not matter."""
    about = machine() | {name: str(value) for name, value in compute.described(1).items()}
    if compute.device.type == "cuda":
        about["gpu"] = torch.cuda.get_device_name(compute.device)
    generator = np.random.default_rng(0)
    store = FilmStore(generator.integers(0, 256, (_CACHED, side, side), np.uint8), compute.device)
    learner = Learner(settings, compute)
    learner.network.train()
    draws = torch.Generator(compute.device).manual_seed(0)
    groups = torch.arange(settings.batch_size, device=compute.device)

    def fetch(_: int) -> tuple[Tensor, Tensor]:
        first, second = generator.integers(0, _CACHED, (2, settings.batch_size))
        return store(first), store(second)

    films = fetch(0)
    views = learner.views(*films, draws)

    def steps(count: int) -> None:
        for batch in read_ahead(fetch, range(count)):
            learner.step(learner.views(*batch, draws), groups, 1e-3)

    ways: dict[str, Callable[[int], object]] = {
        "loader": lambda count: [fetch(index) for index in range(count)],
        "augmentation": lambda count: [learner.views(*films, draws) for _ in range(count)],
        "network": lambda count: [learner.step(views, groups, 1e-3) for _ in range(count)],
        "all": steps,
    }
    figures: Figures = {part: Turns() for part in PARTS}
    # The first call compiles, and finds its kernels; the second says how many fill the time.
    counts = {}
    for part in PARTS:
        _seconds(ways[part], 1, compute.device)
        counts[part] = max(1, round(seconds / _seconds(ways[part], 1, compute.device)))
    for _ in range(repeats):
        for part in PARTS:
            images = 2 * settings.batch_size * counts[part]
            figures[part].turns.append(images / _seconds(ways[part], counts[part], compute.device))
    return figures, about


def _seconds(way: Callable[[int], object], count: int, device: torch.device) -> float:
    """Until the device is done."""
    _wait(device)
    started = time.perf_counter()
    way(count)
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def report(figures: Figures, about: dict[str, str], console: Console) -> None:
    """Print the table."""
    table = Table(title="Pre-training, images a second (two views of a film are two)")
    for heading in ("part", "median [extremes]"):
        table.add_column(heading, justify="right")
    for part, turns in figures.items():
        table.add_row(part, turns.shown)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))


def as_json(figures: Figures, about: dict[str, str]) -> dict[str, Any]:
    """The figures for `--json`."""
    turns = {part: values.turns for part, values in figures.items()}
    return {"benchmark": "train", "images_per_second": turns, "machine": about}
