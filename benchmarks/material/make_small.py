"""A million films in minutes: small, each with pixels and UIDs of its own, so that none is a duplicate.

One file is written by pydicom; all others are its bytes with the UIDs and the pixels replaced.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.material.make_films import small_films
from export.realistic import dicom_bytes
from screen.machine import usable_cpus

SIDE = 64
PER_FOLDER = 1000
MOST = 1_000_000
_SOURCES = 100
"""Real films at most."""
_NOISE = 8

# Digits that stand in the one file where another film has its number; the file has them nowhere else.
_PLACE = "7310249586" * 3
_UID = "2.25.{kind}{number:030}"


def make(out: Path, folder: Path, count: int) -> None:
    """Write films 0 … `count` - 1 that are not there yet, a thousand to a folder; see `paths`.

    folder: real films to start from.
    """
    bases = np.stack(
        [
            cv2.resize(film, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.int16) * 15 + 100
            for film in small_films(folder, _SOURCES)
        ]
    )
    write = partial(_write_folder, out, bases, count)
    with ProcessPoolExecutor(usable_cpus(), get_context("spawn")) as pool:
        for _ in pool.map(write, range(0, count, PER_FOLDER)):
            pass


def paths(out: Path, count: int) -> list[Path]:
    """What holds films 0 … `count` - 1 and no other: whole folders, and files of the last one."""
    whole = [_folder(out, first) for first in range(0, count - count % PER_FOLDER, PER_FOLDER)]
    return whole + [_path(out, number) for number in range(count - count % PER_FOLDER, count)]


def _folder(out: Path, number: int) -> Path:
    return out / f"{number // PER_FOLDER:04}"


def _path(out: Path, number: int) -> Path:
    return _folder(out, number) / f"{number:07}.dcm"


def _write_folder(out: Path, bases: NDArray[np.int16], count: int, first: int) -> None:
    _folder(out, first).mkdir(parents=True, exist_ok=True)
    with os.scandir(_folder(out, first)) as entries:
        there = {entry.name: entry.stat().st_size for entry in entries}
    for number, data in film_bytes(bases, range(first, min(first + PER_FOLDER, count))):
        path = _path(out, number)
        # A stop may have cut a file short.
        if there.get(path.name) != len(data):
            path.write_bytes(data)


def film_bytes(bases: NDArray[np.int16], numbers: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Each number and its file; another number is another film, in its UIDs and its pixels."""
    template = dicom_bytes(
        np.zeros((SIDE, SIDE), np.uint16),
        "1.2.840.10008.1.2.1",
        sop_instance_uid=_UID.format(kind=1, number=int(_PLACE)),
        study_instance_uid=_UID.format(kind=2, number=int(_PLACE)),
    )
    header = template[: -2 * SIDE * SIDE].split(_PLACE.encode())
    # Every film has a stretch of noise of its own.
    noise = np.random.default_rng(0).normal(0, _NOISE, MOST + SIDE * SIDE).astype(np.int8)
    for number in numbers:
        grain = noise[number : number + SIDE * SIDE].reshape(SIDE, SIDE)
        values = (bases[number % len(bases)] + grain).astype("<u2")
        yield number, f"{number:030}".encode().join(header) + values.tobytes()
