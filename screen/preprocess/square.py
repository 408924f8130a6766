"""From a film's pixels to the network's uint8 square: the only implementation, for training and screening.

lookup → area resize, aspect kept → percentile stretch to 8 bits → CLAHE → black padding to a square.
Before CLAHE a judge looks whether greys are inverted; such a film is made again with the other polarity.

The resize works on 16 bits and the stretch comes after it, so a film costs one pass over its full size,
and a window that leaves the film dark, or none at all, loses nothing. CLAHE sees the film alone: black
padding would fill the border tiles' histograms. Padding, not cropping: see docs/decisions/padding.md.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from screen.film import Pixels
from screen.preprocess.pose import UPRIGHT, Pose, judge_digest, shipped_judge
from screen.shortcuts import MARGIN

MIN_SIDE = 32
"""Pixels; films with a shorter side are `too_small`."""

FLAT = 257
"""One step of 8 bits, in 16: percentiles no farther apart have noise around one grey between them."""

_SPEC_VERSION = 1
_IMPLEMENTATION = 1
"""Part of the digest: raise it when the code below gives other squares for the same spec."""


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """All that defines a square. Stored in checkpoints and model files.

    size: side of the square, pixels.
    low_percentile, high_percentile: of the resized film, mapped to 0 and 255 (0 to 100).
    clahe_clip: OpenCV's clip limit, a multiple of the mean histogram height.
    clahe_tiles: tiles along each side of the film.
    judge: digest of the judge of polarity and orientation; None: nobody judges.
    """

    size: int = 224
    low_percentile: float = 0.5
    high_percentile: float = 99.5
    clahe_clip: float = 2.0
    clahe_tiles: int = 8
    version: int = _SPEC_VERSION
    judge: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no square can be made from.

        Raises ValueError.
        """
        if not 32 <= self.size <= 2048:
            raise ValueError(f"size {self.size} is not within 32 … 2048")
        if not 0 <= self.low_percentile < self.high_percentile <= 100:
            raise ValueError("percentiles must satisfy 0 <= low < high <= 100")
        if not 0 < self.clahe_clip <= 100 or not 1 <= self.clahe_tiles <= 32:
            raise ValueError("CLAHE needs 0 < clip <= 100 and 1 <= tiles <= 32")

    @property
    def foreign(self) -> str:
        """Why this code cannot make such squares; empty if it can. Specs of kept nights may be older."""
        if self.version != _SPEC_VERSION:
            return f"preprocessing version {self.version} is not known to this code ({_SPEC_VERSION})"
        if self.judge is not None and self.judge != judge_digest():
            return f"judge {self.judge[:12]} is not this version's ({judge_digest()[:12]})"
        return ""

    def judged(self) -> "PreprocessSpec":
        """The same with this version's judge: what new models are trained with."""
        return replace(self, judge=judge_digest())

    def digest(self) -> str:
        """SHA-256 (hex) of the spec and of the implementation that this code is."""
        fields = asdict(self)
        # Specs were without a judge before there was one, and keep their digests.
        if self.judge is None:
            del fields["judge"]
        canonical = json.dumps({"implementation": _IMPLEMENTATION, **fields}, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the film lies in the square: all in pixels.

    height, width: of the film as stored. top, left, content_height, content_width: its box in the square.
    """

    height: int
    width: int
    size: int
    top: int
    left: int
    content_height: int
    content_width: int

    @classmethod
    def fit(cls, height: int, width: int, size: int, aspect: tuple[int, int] = (1, 1)) -> "Geometry":
        """The film centred, its longer side filling the square, at least one pixel thin.

        aspect: height and width of the film's pixels, in proportion; the square's are square.
        """
        tall, wide = height * aspect[0], width * aspect[1]
        longer = max(tall, wide)
        # Integer rounding (half up), so that no floating-point unit has a say in it.
        content_height = max(1, (2 * tall * size + longer) // (2 * longer))
        content_width = max(1, (2 * wide * size + longer) // (2 * longer))
        return cls(
            height=height,
            width=width,
            size=size,
            top=(size - content_height) // 2,
            left=(size - content_width) // 2,
            content_height=content_height,
            content_width=content_width,
        )

    @property
    def is_fitted(self) -> bool:
        """Whether the box lies as `fit` puts it, for pixels of some aspect."""
        content = self.content_height, self.content_width
        middle = tuple((self.size - side) // 2 for side in content)
        least = min(self.height, self.width, *content)
        return least >= 1 and max(content) == self.size and (self.top, self.left) == middle


@dataclass(frozen=True, slots=True)
class Square:
    """values: uint8 [S, S], bone bright, after CLAHE, padding 0.

    blank: the film's percentiles coincide: there is nothing on it, and `values` is black.
    stepwise: the film was halved before it was resized.
    pose: what the judge, if there is one, said of the film as it was read; `values` are never inverted.
    """

    values: NDArray[np.uint8]
    geometry: Geometry
    blank: bool
    stepwise: bool = False
    pose: Pose = UPRIGHT


@contextmanager
def memory_errors_from_opencv() -> Iterator[None]:
    """Within it, or as a decorator, a cv2.error for want of memory is a MemoryError; others stay."""
    try:
        yield
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError("OpenCV got no memory") from error
        raise


@memory_errors_from_opencv()
def square_from_pixels(px: Pixels, spec: PreprocessSpec, *, stepwise: bool = False) -> Square:
    """Stored values uint8|uint16 [H, W] and their lookup -> the network's square, uint8 [S, S].

    stepwise: halve large films before the resize (`screen.shortcuts.Shortcut.STEPWISE_RESIZE`). Raises
    ValueError for a foreign spec.
    """
    if spec.foreign:
        raise ValueError(spec.foreign)
    geometry = Geometry.fit(*px.shape, spec.size, px.aspect)
    halvings = _halvings(px.values.shape, spec.size) if stepwise and px.aspect == (1, 1) else 0
    content = _content(px, spec, geometry, halvings)
    pose = UPRIGHT
    if content is not None and spec.judge is not None:
        pose = shipped_judge().pose(content)
        if pose.inverted:
            # From the pixels again: the square is then that of the film with the right tag, to the byte.
            content = _content(px.inverted(), spec, geometry, halvings)
    values = np.zeros((spec.size, spec.size), np.uint8)
    if content is None:
        return Square(values, geometry, blank=True, stepwise=halvings > 0)
    clahe = cv2.createCLAHE(spec.clahe_clip, (spec.clahe_tiles, spec.clahe_tiles))
    box = np.s_[
        geometry.top : geometry.top + geometry.content_height,
        geometry.left : geometry.left + geometry.content_width,
    ]
    values[box] = clahe.apply(content)
    return Square(values, geometry, blank=False, stepwise=halvings > 0, pose=pose)


@memory_errors_from_opencv()
def content_from_pixels(px: Pixels, spec: PreprocessSpec) -> NDArray[np.uint8] | None:
    """The film alone, resized and stretched, uint8 [h, w], as the judge gets it; None if it is blank."""
    return _content(px, spec, Geometry.fit(*px.shape, spec.size, px.aspect), halvings=0)


def _content(px: Pixels, spec: PreprocessSpec, geometry: Geometry, halvings: int) -> NDArray[np.uint8] | None:
    grey = _halved_grey(px, halvings) if halvings else cv2.LUT(px.values, px.lookup)
    shrinks = max(px.values.shape) > spec.size
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    content_size = (geometry.content_width, geometry.content_height)
    small = np.asarray(cv2.resize(grey, content_size, interpolation=interpolation), np.uint16)
    stretch = _stretch_lookup(small, spec)
    return None if stretch is None else stretch[small]


def _halvings(shape: tuple[int, ...], size: int) -> int:
    """How often a film can be halved and still leave the resize enough to choose from."""
    count = 0
    while max(shape) >> (count + 1) >= MARGIN * size and min(shape) >> (count + 1):
        count += 1
    return count


def _halved_grey(px: Pixels, count: int) -> NDArray[np.uint16]:
    """The film's grey at 1 / 2^count of its sides, uint16: means of 2 × 2 pixels, `count` times over.

    Rows and columns that the factor leaves over go, half of them on either side, so that nothing shifts.
    """
    values: NDArray[Any] = px.values
    step = 1 << count
    top, left = (side % step // 2 for side in values.shape)
    height, width = (side // step * step for side in values.shape)
    values = values[top : top + height, left : left + width]
    # Where the mean of two values means what lies between them, only the few that remain are looked up.
    lookup_last = px.is_monotone
    if not lookup_last:
        values = cv2.LUT(values, px.lookup)
    for _ in range(count):
        height, width = height // 2, width // 2
        values = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.LUT(values, px.lookup) if lookup_last else values, np.uint16)


def stretch_ranks(count: int, spec: PreprocessSpec) -> tuple[int, int]:
    """Where the two percentiles stand among `count` values in order, from 0."""
    last = count - 1
    return int(last * spec.low_percentile / 100), last - int(last * (100 - spec.high_percentile) / 100)


def _stretch_lookup(small: NDArray[np.uint16], spec: PreprocessSpec) -> NDArray[np.uint8] | None:
    """uint8 [65536] that maps the two percentiles (nearest rank) to 0 and 255; None if they coincide."""
    ranks = stretch_ranks(small.size, spec)
    ordered = np.partition(small, ranks, axis=None)
    low, high = int(ordered[ranks[0]]), int(ordered[ranks[1]])
    if high - low <= FLAT:
        return None
    span = high - low
    offset = np.clip(np.arange(65536, dtype=np.int64) - low, 0, span)
    return ((offset * 510 + span) // (2 * span)).astype(np.uint8)
