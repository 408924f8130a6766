"""Films as detectors give them, decoded in full and by every shortcut: what decode certificates compare.

Each film is made once, in a process of its own pool; only squares come back, and are kept: a model and its
twin are measured on the same ones.
"""

import hashlib
import json
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from export.realistic import SYNTAXES, dicom_bytes, film_from_small, uid_from_text
from screen.decode import Decoded, decode
from screen.discover import Source
from screen.errors import ModelError
from screen.files import private_files, write_whole
from screen.film import Film
from screen.machine import library_versions
from screen.preprocess import PreprocessSpec
from screen.readers import Limits, read
from screen.shortcuts import FULL, DecodePolicy, Shortcut

JPEG2000_EVERY = 100
"""Of so many films one becomes JPEG 2000, too (slow): no other square than HTJ2K's may come of it."""
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  a private folder is made in it
_ROOM = 1 << 30


@dataclass(frozen=True, slots=True)
class Variant:
    """One way from one encoding to the square."""

    syntax: str
    policy: DecodePolicy

    @property
    def reference(self) -> "Variant":
        """Decoded in full. HTJ2K is lossless here: its own full square would be the uncompressed film's."""
        return Variant("jpeg" if self.syntax == "jpeg" else "explicit", FULL)


_OWN = {
    Shortcut.REDUCED_RESOLUTION: "htj2k",
    Shortcut.SCALED_JPEG: "jpeg",
    Shortcut.STEPWISE_RESIZE: "explicit",
}


def variants_of(shortcuts: Sequence[Shortcut]) -> list[Variant]:
    """Every shortcut alone; and with the stepwise resize those that leave it something to do."""
    alone = [Variant(_OWN[shortcut], DecodePolicy(frozenset({shortcut}))) for shortcut in shortcuts]
    if Shortcut.STEPWISE_RESIZE not in shortcuts:
        return alone
    both = [
        Variant(_OWN[shortcut], DecodePolicy(frozenset({shortcut, Shortcut.STEPWISE_RESIZE})))
        for shortcut in shortcuts
        if shortcut is not Shortcut.STEPWISE_RESIZE
    ]
    return alone + both


@dataclass(frozen=True, slots=True)
class Decodings:
    """One film's squares, uint8 [S, S] each. taken: what its decoder really left out."""

    squares: dict[Variant, NDArray[np.uint8]]
    taken: dict[Variant, DecodePolicy]
    size: tuple[int, int]
    jpeg2000: bool


@dataclass(frozen=True, slots=True)
class _Order:
    source: Source
    spec: PreprocessSpec
    variants: tuple[Variant, ...]
    longer_side: int
    with_jpeg2000: bool


def decodings(
    sources: Sequence[Source],
    spec: PreprocessSpec,
    variants: Sequence[Variant],
    longer_side: int,
    workers: int,
) -> Iterator[Decodings]:
    """All variants and their references of every film, in the order of `sources`, bounded in flight.

    Noise is seeded by the film's name: the same films give the same squares.
    Raises ModelError if a film cannot be read or an encoding of it gives what it must not.
    """
    wanted = tuple(dict.fromkeys([*(v.reference for v in variants), *variants]))
    reduced = any(Shortcut.REDUCED_RESOLUTION in v.policy for v in variants)
    # Spawned: a fork would take the runtime's threads' locks along.
    with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
        waiting: deque[Future[Decodings]] = deque()
        for index, source in enumerate(sources):
            with_jpeg2000 = reduced and index % JPEG2000_EVERY == 0
            waiting.append(pool.submit(_decoded, _Order(source, spec, wanted, longer_side, with_jpeg2000)))
            if len(waiting) > 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@dataclass(frozen=True, slots=True)
class DecodedFilms:
    """N films' squares: those that differ, uint8 [M, S, S], memory-mapped.

    places: of every variant and reference, N indices into `squares`. not_taken: films, by variant, whose
    decoder left out less than it might have. jpeg2000_films: how many were JPEG 2000, too.
    """

    squares: NDArray[np.uint8]
    places: dict[Variant, list[int]]
    not_taken: dict[Variant, int]
    jpeg2000_films: int


def decoded_films(
    sources: Sequence[Source],
    spec: PreprocessSpec,
    variants: Sequence[Variant],
    longer_side: int,
    workers: int,
    cache: Path,
    progress: Callable[[int, int], None],
) -> DecodedFilms:
    """`decodings` of all films, made where `cache` does not hold them yet.

    progress: films done, films in all.
    """
    wanted = list(dict.fromkeys([*(v.reference for v in variants), *variants]))
    state = json.dumps(
        [
            library_versions(("numpy", "opencv-python-headless", "imagecodecs")),
            spec.digest(),
            longer_side,
            [[variant.syntax, str(variant.policy)] for variant in wanted],
            [[source.key, source.change_token] for source in sources],
        ]
    )
    folder = cache / f"decodings-{hashlib.sha256(state.encode()).hexdigest()[:16]}"
    values_file, index_file = folder / "squares.u8", folder / "index.json"
    # The index is written last: without it the squares are not whole.
    if not index_file.is_file():
        # Pictures of patients.
        with private_files():
            folder.mkdir(parents=True, exist_ok=True)
            made = decodings(sources, spec, variants, longer_side, workers)
            index = _kept(made, wanted, values_file, lambda done: progress(done, len(sources)))
            write_whole(index_file, json.dumps(index).encode())
    index = json.loads(index_file.read_text(encoding="utf-8"))
    return DecodedFilms(
        np.memmap(values_file, np.uint8, "r").reshape(-1, spec.size, spec.size),
        dict(zip(wanted, index["places"], strict=True)),
        dict(zip(wanted, index["not_taken"], strict=True)),
        index["jpeg2000_films"],
    )


def _kept(
    made: Iterator[Decodings], wanted: Sequence[Variant], values_file: Path, progress: Callable[[int], None]
) -> dict[str, Any]:
    """Every different square once, one behind the other; where each variant's are."""
    places: list[list[int]] = [[] for _ in wanted]
    not_taken = [0] * len(wanted)
    count = jpeg2000_films = 0
    with values_file.open("wb") as stream:
        for done, film in enumerate(made, 1):
            place: dict[bytes, int] = {}
            for number, variant in enumerate(wanted):
                square = film.squares[variant].tobytes()
                if square not in place:
                    place[square] = count
                    count += 1
                    stream.write(square)
                places[number].append(place[square])
                not_taken[number] += film.taken[variant] != variant.policy
            jpeg2000_films += film.jpeg2000
            progress(done)
    return {"places": places, "not_taken": not_taken, "jpeg2000_films": jpeg2000_films}


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _decoded(order: _Order) -> Decodings:
    small = read(order.source)
    if not isinstance(small, Film):
        raise ModelError(f"{order.source.key}: {small.reason} {small.detail}")
    grey = (np.asarray(cv2.LUT(small.pixels.values, small.pixels.lookup), np.uint16) >> 8).astype(np.uint8)
    name = Path(order.source.key).name
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    film = film_from_small(grey, seed, order.longer_side)
    squares: dict[Variant, NDArray[np.uint8]] = {}
    taken: dict[Variant, DecodePolicy] = {}
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        files: dict[str, Source] = {}

        def square(variant: Variant) -> Decoded:
            if variant.syntax not in files:
                path = Path(folder) / f"{variant.syntax}.dcm"
                uid = uid_from_text(f"{name} {variant.syntax}")
                path.write_bytes(dicom_bytes(film, SYNTAXES[variant.syntax], sop_instance_uid=uid))
                status = path.stat()
                files[variant.syntax] = Source(path, path.name, status.st_size, status.st_mtime_ns)
            result = decode(files[variant.syntax], order.spec, Limits(), variant.policy).result
            if not isinstance(result, Decoded):
                raise ModelError(f"{order.source.key} as {variant.syntax}: {result.reason} {result.detail}")
            return result

        for variant in order.variants:
            decoded = square(variant)
            squares[variant], taken[variant] = decoded.square, decoded.policy
            if variant.syntax == "htj2k" and order.with_jpeg2000:
                same = square(Variant("jpeg-2000", variant.policy))
                if not np.array_equal(same.square, decoded.square):
                    raise ModelError(
                        f"{order.source.key}: JPEG 2000 by {variant.policy} is not HTJ2K's square"
                    )
    return Decodings(squares, taken, (film.shape[0], film.shape[1]), order.with_jpeg2000)


def _memory() -> Path | None:
    """Where files never reach a disk, if there is room."""
    try:
        return _SHARED_MEMORY if shutil.disk_usage(_SHARED_MEMORY).free > _ROOM else None
    except OSError:
        return None
