"""nvImageCodec beside the decoders of `screen run`: every lossless frame by both, ms and equality."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.hardware import machine
from benchmarks.rates import Turns
from benchmarks.sources import films, sources_in, thinned
from screen.decode.on_gpu import NvImageCodec
from screen.readers.accelerator import Accelerator, Decoded, FrameCodec
from screen.readers.codecs import accelerated
from screen.readers.header import PixelHeader


@dataclass(slots=True)
class FolderFigures:
    """frames: lossless and grey. equal: those with every value alike. declined: not taken."""

    folder: str
    frames: int = 0
    equal: int = 0
    declined: int = 0
    cpu_ms: Turns = field(default_factory=Turns)
    gpu_ms: Turns = field(default_factory=Turns)


class _Both(Accelerator):
    """Decodes everything both ways and keeps count."""

    def __init__(self, codec: FrameCodec, figures: FolderFigures) -> None:
        super().__init__(codec)
        self._both, self._figures = codec, figures

    def decode(self, data: bytes, syntax: str, px: PixelHeader, by_cpu: Callable[[], Decoded]) -> Decoded:
        if not self.takes(syntax, px):
            return by_cpu()
        started = time.perf_counter()
        decoded = by_cpu()
        between = time.perf_counter()
        samples = self._both.decode(data)
        self._figures.frames += 1
        self._figures.cpu_ms.turns.append(1000 * (between - started))
        self._figures.gpu_ms.turns.append(1000 * (time.perf_counter() - between))
        if samples is None:
            self._figures.declined += 1
        else:
            self._figures.equal += _alike(samples, decoded[0])
        return decoded


def _alike(samples: NDArray[Any], expected: NDArray[Any]) -> bool:
    return samples.dtype == expected.dtype and np.array_equal(samples.reshape(samples.shape[:2]), expected)


def measure(
    folders: Sequence[Path], sample: int, repeats: int, codec: FrameCodec | None = None
) -> tuple[list[FolderFigures], dict[str, str]]:
    """codec: nvImageCodec unless it is given. Raises ImportError, RuntimeError without it or a GPU."""
    codec = codec or NvImageCodec()
    found = []
    for folder in folders:
        figures = FolderFigures(str(folder))
        chosen = thinned(sources_in([folder]), sample)
        # The first film warms both up.
        for into, sources in ((FolderFigures(""), chosen[:1]), (figures, chosen * repeats)):
            with accelerated(_Both(codec, into)):
                for _ in films(sources, len(sources)):
                    pass
        found.append(figures)
    return found, machine()


def report(folders: Sequence[FolderFigures], about: dict[str, str], console: Console) -> None:
    """Print the table."""
    table = Table(title="Lossless frames, one at a time: ms, median and extremes")
    table.add_column("folder")
    for heading in ("frames", "equal", "declined", "CPU", "nvImageCodec"):
        table.add_column(heading, justify="right")
    for entry in folders:
        counts = map(str, (entry.frames, entry.equal, entry.declined))
        ms = (turns.shown if turns.turns else "-" for turns in (entry.cpu_ms, entry.gpu_ms))
        table.add_row(Path(entry.folder).name, *counts, *ms)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))


def as_json(folders: Sequence[FolderFigures], about: dict[str, str]) -> dict[str, Any]:
    """The figures for `--json`."""
    return {"benchmark": "gpu-frames", "folders": [asdict(entry) for entry in folders], "machine": about}
