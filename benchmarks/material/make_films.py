"""Realistic films of full size, the same ones under every transfer syntax, from small real ones."""

import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from export.realistic import LONGER_SIDE, SYNTAXES, dicom_bytes, eight_bits, film_from_small, uid_from_text
from screen.discover import Source, discover
from screen.film import Film
from screen.machine import usable_cpus
from screen.readers import read

PNG = "png"
PNG_SIDE = 1024
"""Pixels, both sides: as NIH published ChestX-ray14."""
NAMES = (*SYNTAXES, PNG)
_DETECTOR = (3056, 2544)
"""Rows and columns of a common one."""
_SOURCES = 1000
"""Real films that are held in memory."""


def make(
    out: Path, folder: Path, count: int, names: Sequence[str], longer_side: int = LONGER_SIDE
) -> dict[str, Any]:
    """Write out/NAME/film-00000.dcm … for each of `names`; returns what they hold, for `--json`.

    folder: real films, taken from everywhere in it (a patient's lie together); where there are fewer than
    `count`, they come again with other noise. Raises click.ClickException if it holds no film.
    """
    small = small_films(folder, min(count, _SOURCES))
    for name in names:
        (out / name).mkdir(parents=True, exist_ok=True)
    write = partial(_write, out, tuple(names), longer_side)
    sizes: Counter[str] = Counter()
    pixels = 0
    # The codecs use one processor each.
    with ProcessPoolExecutor(usable_cpus(), get_context("spawn")) as pool:
        films = (small[index % len(small)] for index in range(count))
        for written, film_pixels in pool.map(write, range(count), films):
            sizes.update(written)
            pixels += film_pixels
    return {
        "benchmark": "films",
        "films": count,
        "sources": len(small),
        "pixels": pixels,
        "bytes": dict(sizes),
    }


def small_films(folder: Path, count: int) -> list[NDArray[np.uint8]]:
    """Up to `count` films of a folder as grey uint8 [h, w], bone bright, shuffled, always the same ones."""
    sources = list(discover([folder], None))
    random.Random(0).shuffle(sources)
    found: list[NDArray[np.uint8]] = []
    for source in sources:
        if len(found) == count:
            break
        small = _grey(source)
        if small is not None:
            found.append(small)
    if not found:
        raise click.ClickException(f"{folder}: no film to start from")
    return found


def _grey(source: Source) -> NDArray[np.uint8] | None:
    film = read(source)
    if not isinstance(film, Film):
        return None
    grey = np.asarray(cv2.LUT(film.pixels.values, film.pixels.lookup), np.uint16)
    return _unsqueezed(np.asarray(grey >> 8, np.uint8))


def _unsqueezed(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A detector's shape for what is exactly square: collections squeeze films, NIH's to 1024 × 1024."""
    height, width = grey.shape
    if height != width:
        return grey
    narrow = round(width * _DETECTOR[1] / _DETECTOR[0])
    return np.asarray(cv2.resize(grey, (narrow, height), interpolation=cv2.INTER_AREA), np.uint8)


def _write(
    out: Path, names: tuple[str, ...], longer_side: int, index: int, small: NDArray[np.uint8]
) -> tuple[dict[str, int], int]:
    """One film in all syntaxes -> bytes of each, and its pixels."""
    values = film_from_small(small, index, longer_side)
    sizes = {}
    for name in names:
        if name == PNG:
            data = _png(values)
        else:
            uid = uid_from_text(f"{name} {index}")
            data = dicom_bytes(values, SYNTAXES[name], sop_instance_uid=uid, patient_id=f"BENCH-{index}")
        (out / name / f"film-{index:05}.{PNG if name == PNG else 'dcm'}").write_bytes(data)
        sizes[name] = len(data)
    return sizes, values.size


def _png(values: NDArray[np.uint16]) -> bytes:
    square = cv2.resize(values, (PNG_SIDE, PNG_SIDE), interpolation=cv2.INTER_AREA)
    return bytes(imagecodecs.png_encode(eight_bits(np.asarray(square, np.uint16))))


def report(figures: dict[str, Any], console: Console) -> None:
    """Print how well the films compress."""
    table = Table(title=f"{figures['films']} films made from {figures['sources']} real ones")
    for heading in ("syntax", "MB a film", "16-bit pixels : file"):
        table.add_column(heading, justify="left" if heading == "syntax" else "right")
    for name, size in figures["bytes"].items():
        pixels = figures["films"] * PNG_SIDE**2 if name == PNG else figures["pixels"]
        table.add_row(name, f"{size / figures['films'] / 1e6:.2f}", f"{2 * pixels / size:.2f}")
    console.print(table)
