"""Films as the network gets them, read once through the very code that screening uses, kept as uint8.

A cache folder holds, for each state of spec and sources (by digest), `squares.npy` (uint8 [N, S, S], memory-
mapped) and `squares.json` (each square's key, patient and film size), for their owner alone. What the reader
skips or cannot read is dropped and counted.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.discover import Source
from screen.errors import UsageError
from screen.files import private_files, write_whole
from screen.film import Film, Pixels
from screen.preprocess import Geometry, PreprocessSpec, Square, square_from_pixels
from screen.readers import read

_LAYOUT = 3
"""Of the cache: raise it when what is kept changes."""

NOTHING_SQUEEZED: Mapping[str, tuple[int, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Squares:
    """values: uint8 [N, S, S], memory-mapped. keys, patients: N strings. dropped: counts by reason.

    geometry: N, where each film lies in its square.
    """

    values: NDArray[np.uint8]
    keys: tuple[str, ...]
    patients: tuple[str, ...]
    geometry: tuple[Geometry, ...]
    dropped: dict[str, int]
    digest: str
    """SHA-256 (hex) over the preprocessing digest and every pixel: the data's identity in the provenance."""


def cached_squares(
    sources: Iterable[Source],
    spec: PreprocessSpec,
    cache: Path,
    progress: Callable[[int, int], None],
    true_shapes: Mapping[str, tuple[int, int]] = NOTHING_SQUEEZED,
) -> Squares:
    """The sources' squares, in their order; made where `cache` does not hold them yet.

    true_shapes: key -> rows and columns of a film whose picture was squeezed into a square: its own aspect is
    given back to it. Raises UsageError if there is no source, or no film among them.
    """
    listed = list(sources)
    if not listed:
        raise UsageError("no file was found to learn from: check what was given")
    films = [[source.key, source.change_token, *true_shapes.get(source.key, ())] for source in listed]
    state = json.dumps([_LAYOUT, spec.digest(), films])
    folder = cache / hashlib.sha256(state.encode()).hexdigest()[:16]
    index_file, values_file = folder / "squares.json", folder / "squares.npy"
    # The index is written last: without it the squares are not whole.
    if index_file.is_file():
        return _open(values_file, json.loads(index_file.read_text(encoding="utf-8")))
    cache.parent.mkdir(parents=True, exist_ok=True)
    # Pictures of patients, with their names.
    with private_files():
        folder.mkdir(parents=True, exist_ok=True)
        index = _build(listed, spec, values_file, progress, true_shapes)
        if not index["keys"]:
            shutil.rmtree(folder)
            why = dropped_in_words(index["dropped"])
            raise UsageError(f"none of {len(listed):,} files is a film that can be read ({why})")
        write_whole(index_file, json.dumps(index).encode())
    return _open(values_file, index)


def dropped_in_words(dropped: Mapping[str, int]) -> str:
    """`3 listed_twice, 1 not_an_image`: the most frequent first."""
    return ", ".join(f"{count:,} {why}" for why, count in sorted(dropped.items(), key=lambda item: -item[1]))


def _unsqueezed(px: Pixels, true_shape: tuple[int, int] | None) -> Pixels:
    """A square picture as what it is of a film of that shape: a reduced one. Others have their own aspect."""
    height, width = px.values.shape
    return replace(px, stored_shape=true_shape, aspect=(1, 1)) if true_shape and height == width else px


def _open(values_file: Path, index: dict[str, Any]) -> Squares:
    everything = np.load(values_file, mmap_mode="r")
    keys, patients = tuple(index["keys"]), tuple(index["patients"])
    geometry = tuple(Geometry(*fields) for fields in index["geometry"])
    return Squares(everything[: len(keys)], keys, patients, geometry, index["dropped"], index["digest"])


def _build(
    sources: Sequence[Source],
    spec: PreprocessSpec,
    values_file: Path,
    progress: Callable[[int, int], None],
    true_shapes: Mapping[str, tuple[int, int]],
) -> dict[str, Any]:
    shape = (max(1, len(sources)), spec.size, spec.size)
    values = np.lib.format.open_memmap(values_file, mode="w+", dtype=np.uint8, shape=shape)
    keys: list[str] = []
    patients: list[str] = []
    geometry: list[tuple[int, ...]] = []
    dropped: Counter[str] = Counter()
    digest = hashlib.sha256(spec.digest().encode())

    def load(source: Source) -> tuple[str, Square | None]:
        film = read(source)
        if not isinstance(film, Film):
            return film.reason.value, None
        square = square_from_pixels(_unsqueezed(film.pixels, true_shapes.get(source.key)), spec)
        return ("blank", None) if square.blank else (film.identity.patient_id, square)

    # The codecs and OpenCV release the GIL, so threads do.
    with ThreadPoolExecutor() as pool:
        for done, (source, (said, square)) in enumerate(
            zip(sources, pool.map(load, sources), strict=True), 1
        ):
            if square is None:
                dropped[said] += 1
            else:
                values[len(keys)] = square.values
                digest.update(square.values.tobytes())
                keys.append(source.key)
                patients.append(said)
                geometry.append(astuple(square.geometry))
            progress(done, len(sources))
    values.flush()
    return {
        "keys": keys,
        "patients": patients,
        "geometry": geometry,
        "dropped": dict(dropped),
        "digest": digest.hexdigest(),
    }
