"""Milliseconds from pixels in memory to the square, and how OpenCV's parts share them, on one processor.

The parts are timed where `screen.preprocess` calls them, so that the figures are those of its own code.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
from rich.console import Console
from rich.table import Table

from benchmarks.hardware import machine
from benchmarks.rates import Turns
from benchmarks.sources import films, sources_in, thinned
from screen.model import load_model
from screen.preprocess import square

WHOLE, REST = "whole", "stretch and the rest"
PARTS = {"LUT": "lookup", "resize": "resize", "apply": "CLAHE"}
"""OpenCV's functions, and what they do for the square."""
COLUMNS = (WHOLE, *PARTS.values(), REST)


@dataclass(slots=True)
class FolderFigures:
    """Milliseconds a film by column, one value for each film and turn. shape: height × width of the first."""

    folder: str
    films: int
    shape: str
    ms: dict[str, Turns] = field(default_factory=lambda: {name: Turns() for name in COLUMNS})


class _Clock:
    """Stands in for the module `cv2`, and for the objects it makes, and adds up what `PARTS` take."""

    def __init__(self, wrapped: Any, spent: dict[str, float]) -> None:
        self._wrapped = wrapped
        self._spent = spent

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        if name == "createCLAHE":
            return lambda *args: _Clock(found(*args), self._spent)
        return self._timed(name, found) if name in PARTS else found

    def _timed(self, name: str, function: Any) -> Any:
        def timed(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                self._spent[PARTS[name]] += time.perf_counter() - started

        return timed


@contextmanager
def _parts_timed() -> Iterator[dict[str, float]]:
    spent = dict.fromkeys(PARTS.values(), 0.0)
    with mock.patch.object(square, "cv2", _Clock(cv2, spent)):
        yield spent


def measure(folders: Sequence[Path], sample: int, repeats: int) -> tuple[list[FolderFigures], dict[str, str]]:
    """Films of each folder, held in memory one at a time, `repeats` times behind one that warms up."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return [_folder(folder, sample, repeats) for folder in folders], machine()
    finally:
        cv2.setNumThreads(threads)


def _folder(folder: Path, sample: int, repeats: int) -> FolderFigures:
    spec = load_model(None).card.preprocess
    figures = FolderFigures(str(folder), 0, "")
    for film in films(thinned(sources_in([folder]), sample), sample):
        figures.films += 1
        figures.shape = figures.shape or " × ".join(map(str, film.pixels.values.shape))
        square.square_from_pixels(film.pixels, spec)
        for _ in range(repeats):
            with _parts_timed() as spent:
                started = time.perf_counter()
                square.square_from_pixels(film.pixels, spec)
                whole = time.perf_counter() - started
            for name, seconds in {WHOLE: whole, **spent, REST: whole - sum(spent.values())}.items():
                figures.ms[name].turns.append(1000 * seconds)
    return figures


def report(folders: Sequence[FolderFigures], about: dict[str, str], console: Console) -> None:
    """Print the table: medians."""
    table = Table(title="From pixels to the square: ms a film on one processor, medians")
    for heading in ("folder", "pixels", *COLUMNS):
        table.add_column(heading, justify="left" if heading == "folder" else "right")
    for entry in folders:
        values = [f"{entry.ms[name].median:.2f}" for name in COLUMNS]
        table.add_row(Path(entry.folder).name, entry.shape, *values)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))


def as_json(folders: Sequence[FolderFigures], about: dict[str, str]) -> dict[str, Any]:
    """The figures for `--json`."""
    return {"benchmark": "preprocess", "folders": [asdict(entry) for entry in folders], "machine": about}
