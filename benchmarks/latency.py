"""How long a batch is in the network: percentiles by batch size, all of the backend's streams at work."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.model import durations
from screen.backends import open_backend
from screen.cpus import usable_cpus
from screen.modelfile import load_model

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Row:
    """One batch size. ms: milliseconds that a call takes, at `PERCENTILES`."""

    batch_size: int
    streams: int
    calls: int
    ms: tuple[float, ...]


def measure(
    model_file: Path | None, device: str, batch_sizes: Sequence[int], seconds: float
) -> tuple[list[Row], dict[str, str]]:
    """A backend for each batch size, as `screen run` opens it, called for `seconds`."""
    model = load_model(model_file)
    side = model.card.input_size
    rows = []
    about = machine()
    for size in batch_sizes:
        images = np.random.default_rng(0).integers(0, 256, (size, 1, side, side), np.uint8)
        with open_backend(model, device, size, usable_cpus()) as backend:
            times = np.concatenate(durations(backend.infer, images, backend.streams, seconds))
            about |= {"provider": backend.device.provider, "precision": backend.device.precision}
        ms = tuple(float(value) for value in 1000 * np.percentile(times, PERCENTILES))
        rows.append(Row(size, backend.streams, len(times), ms))
    return rows, about


def report(rows: Sequence[Row], about: dict[str, str], console: Console) -> None:
    """Print the table."""
    table = Table(title="A batch's time in the network, ms, all streams at work")
    for heading in ("batch", "streams", "calls", *(f"p{percentile}" for percentile in PERCENTILES)):
        table.add_column(heading, justify="right")
    for row in rows:
        counts = (row.batch_size, row.streams, row.calls)
        table.add_row(*map(str, counts), *(f"{value:.1f}" for value in row.ms))
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))


def as_json(rows: Sequence[Row], about: dict[str, str]) -> dict[str, Any]:
    """The figures for `--json`."""
    return {
        "benchmark": "latency",
        "percentiles": PERCENTILES,
        "rows": [asdict(row) for row in rows],
        "machine": about,
    }
