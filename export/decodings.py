"""Films as detectors give them, decoded in full and by every shortcut: what decode certificates compare.

Each film is made once, in a process of its own pool; only squares come back.
"""

import hashlib
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from export.realistic import SYNTAXES, dicom_bytes, film_from_small, uid_from_text
from screen.decode import Decoded, decode
from screen.discover import Source
from screen.errors import ModelError
from screen.film import Film
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
