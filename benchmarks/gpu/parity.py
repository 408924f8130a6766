"""The network on a device against ONNX Runtime on the CPU: scores, verdicts, batch sizes, identical rows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.gpu.engines import open_for_device
from benchmarks.hardware import machine
from benchmarks.sources import films, sources_in
from screen.backends.agreement import Scores, agreement
from screen.model import Agreement, load_model
from screen.preprocess import square_from_pixels


@dataclass(slots=True)
class Figures:
    """agreement: by batch size. place_matters: batch sizes in which one film had several results."""

    device: dict[str, Any]
    weights_digest: str
    agreement: dict[int, Agreement]
    place_matters: list[int]
    machine: dict[str, str]


def measure(
    folders: Sequence[Path], model_file: Path | None, device: str, batch_sizes: Sequence[int], sample: int
) -> Figures:
    """Films of `folders` through both. Raises as `screen run` does, also for NaN and infinity."""
    model = load_model(model_file)
    squares = np.stack(
        [
            square_from_pixels(film.pixels, model.card.preprocess).values
            for film in films(sources_in(folders), sample)
        ]
    )

    def scores(where: str, batch_size: int) -> Scores:
        logits, gates = [], []
        with open_for_device(model, where, batch_size) as backend:
            figures.device = asdict(backend.device)
            for first in range(0, len(squares), batch_size):
                rows = np.arange(first, first + batch_size) % len(squares)
                found = backend.infer(np.ascontiguousarray(squares[rows, None]))
                valid = min(batch_size, len(squares) - first)
                logits.append(found.logits[:valid])
                gates.append(found.gate[:valid])
            same = backend.infer(np.repeat(squares[:1, None], batch_size, axis=0))
        if (same.logits != same.logits[:1]).any() or (same.gate != same.gate[:1]).any():
            figures.place_matters.append(batch_size)
        return Scores(np.concatenate(logits), np.concatenate(gates))

    figures = Figures({}, model.card.weights_digest, {}, [], machine())
    reference = scores("cpu", 1)
    for batch_size in batch_sizes:
        figures.agreement[batch_size] = agreement(model.card, reference, scores(device, batch_size))
    return figures


def report(figures: Figures, console: Console) -> None:
    """Print what matters: the worst over all batch sizes."""
    worst = max(entry.max_probability_difference for entry in figures.agreement.values())
    flips = max(sum(entry.flips.values()) for entry in figures.agreement.values())
    count = next(iter(figures.agreement.values())).films
    console.print(
        f"{count} films, batch sizes {', '.join(map(str, figures.agreement))}: max |Δp| {worst:.2g}, "
    )
    console.print(
        f"verdicts that flip: {flips}; batch sizes in which a film's place matters: {figures.place_matters}"
    )
    console.print(", ".join(f"{name} {value}" for name, value in (figures.device | figures.machine).items()))


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures for `--json`."""
    return {"benchmark": "parity", **asdict(figures)}
