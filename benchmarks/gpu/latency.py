"""How long a batch is in the network: percentiles by batch size, of the engine and of its peers in turns."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.gpu.engines import timed
from benchmarks.hardware import machine
from screen.model import load_model

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Row:
    """One engine at one batch size. ms: milliseconds that a call takes, at `PERCENTILES`."""

    engine: str
    precision: str
    provider: str
    batch_size: int
    streams: int
    calls: int
    images_per_second: float
    ms: tuple[float, ...]


def measure(
    model_file: Path | None, device: str, batch_sizes: Sequence[int], seconds: float, *, alone: bool
) -> tuple[list[Row], dict[str, str], dict[str, str]]:
    """Every engine at every batch size, for `seconds`, all its streams at work; who is left out, and why."""
    model = load_model(model_file)
    rows: list[Row] = []
    missing: dict[str, str] = {}
    about = machine()
    for size in batch_sizes:
        for found in timed(model, device, size, seconds, missing, alone=alone):
            engine = found.engine
            ms = 1000 * np.percentile(np.concatenate(found.seconds), PERCENTILES)
            row = Row(
                engine=found.name,
                precision=engine.precision,
                provider=engine.provider,
                batch_size=size,
                streams=engine.streams,
                calls=sum(map(len, found.seconds)),
                images_per_second=found.images_per_second(size),
                ms=tuple(map(float, ms)),
            )
            rows.append(row)
    return rows, missing, about


def report(rows: Sequence[Row], missing: dict[str, str], about: dict[str, str], console: Console) -> None:
    """Print the table."""
    table = Table(title="A batch's time in the network, ms, all streams at work")
    for heading in ("engine", "precision"):
        table.add_column(heading)
    for heading in (
        "batch",
        "streams",
        "calls",
        *(f"p{percentile}" for percentile in PERCENTILES),
        "images/s",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        counts = (str(row.batch_size), str(row.streams), str(row.calls))
        ms = (f"{value:.3g}" for value in row.ms)
        table.add_row(row.engine, row.precision, *counts, *ms, f"{row.images_per_second:.0f}")
    console.print(table)
    for name, why in missing.items():
        console.print(f"{name}: left out ({why})", markup=False)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))


def as_json(rows: Sequence[Row], missing: dict[str, str], about: dict[str, str]) -> dict[str, Any]:
    """The figures for `--json`."""
    return {
        "benchmark": "latency",
        "percentiles": PERCENTILES,
        "rows": [asdict(row) for row in rows],
        "missing": missing,
        "machine": about,
    }
