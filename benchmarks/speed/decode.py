"""Milliseconds of one processor from file to pixels and to the square, for each folder (a syntax's films)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.table import Table

from benchmarks.hardware import machine
from benchmarks.rates import Turns
from benchmarks.sources import sources_in, thinned
from benchmarks.speed.plain_loop import read_pixels, read_plainly, square_from_grey
from screen.decode import decode
from screen.discover import Source
from screen.film import Unscreened
from screen.model import Model, load_model
from screen.readers import Limits
from screen.shortcuts import FULL, DecodePolicy, Shortcut

EVERY_SHORTCUT = DecodePolicy(frozenset(Shortcut))


@dataclass(slots=True)
class FolderFigures:
    """Milliseconds a film, one value for each film and turn; columns by name: see `_WAYS`."""

    folder: str
    films: int
    unread_by_pydicom: int = 0
    ms: dict[str, Turns] = field(default_factory=dict)


READ_FULL, SQUARE_FULL = "read", "square"
READ_SHORT, SQUARE_SHORT = "read, shortcuts", "square, shortcuts"
PIXELS, PLAIN = "pixel_array", "pydicom to square"
COLUMNS = (READ_FULL, SQUARE_FULL, READ_SHORT, SQUARE_SHORT, PIXELS, PLAIN)


def measure(folders: Sequence[Path], sample: int, repeats: int) -> tuple[list[FolderFigures], dict[str, str]]:
    """Every film in every way, one thread, `repeats` times behind one that warms up."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        model = load_model(None)
        return [_folder(folder, model, sample, repeats) for folder in folders], machine()
    finally:
        cv2.setNumThreads(threads)


def _folder(folder: Path, model: Model, sample: int, repeats: int) -> FolderFigures:
    films = thinned(sources_in([folder]), sample)
    figures = FolderFigures(str(folder), len(films), ms={name: Turns() for name in COLUMNS})
    _film(films[0], model, FolderFigures("", 1, ms={name: Turns() for name in COLUMNS}))
    for _ in range(repeats):
        for source in films:
            _film(source, model, figures)
    return figures


def _film(source: Source, model: Model, figures: FolderFigures) -> None:
    spec = model.card.preprocess
    for policy, names in ((FULL, (READ_FULL, SQUARE_FULL)), (EVERY_SHORTCUT, (READ_SHORT, SQUARE_SHORT))):
        outcome = decode(source, spec, Limits(), policy)
        if isinstance(outcome.result, Unscreened):
            continue
        for name, seconds in zip(names, (outcome.read_seconds, outcome.square_seconds), strict=True):
            figures.ms[name].turns.append(1000 * seconds)
    try:
        figures.ms[PIXELS].turns.append(_milliseconds(lambda: read_pixels(source)))
        figures.ms[PLAIN].turns.append(_milliseconds(lambda: square_from_grey(read_plainly(source), spec)))
    except Exception:  # the libraries' errors are of any type
        figures.unread_by_pydicom += 1


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def report(folders: Sequence[FolderFigures], about: dict[str, str], console: Console) -> None:
    """Print the table: medians."""
    table = Table(title="From file to pixels and to the square: ms a film on one processor, medians")
    table.add_column("folder")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for entry in folders:
        values = [f"{entry.ms[name].median:.1f}" if entry.ms[name].turns else "-" for name in COLUMNS]
        table.add_row(Path(entry.folder).name, *values)
    console.print(table)
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))


def as_json(folders: Sequence[FolderFigures], about: dict[str, str]) -> dict[str, Any]:
    """The figures for `--json`."""
    return {"benchmark": "decode", "folders": [asdict(entry) for entry in folders], "machine": about}
