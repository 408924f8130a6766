"""The squares of `screen.preprocess` for a batch of equally large films, made where the films are.

The same greys to the bit, from pixels to square, in the arrays of NumPy, CuPy or PyTorch: what a GPU does
is what the tests hold against OpenCV on a CPU. See `train.data.clahe` for what must not be fused.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.preprocess import Geometry, PreprocessSpec
from screen.preprocess.square import FLAT, stretch_ranks
from train.data.clahe import equalise

_LARGEST_EXACT_BLOCK = 256
"""Pixels: 16-bit greys of so many add up to less than 2^24, whatever their order."""


def squares_from_batch(values: Any, lookups: Any, spec: PreprocessSpec, xp: Any) -> tuple[Any, Any]:
    """`square_from_pixels` of N films of one size, without shortcuts.

    values: uint8 | uint16 [N, H, W], stored. lookups: uint16 [N, 256 | 65536], each film's own. Both on one
    device, `xp` their library, in whose eyes that device is the current one. Returns uint8 [N, S, S] and bool
    [N], which films are blank.
    Raises ValueError for films that are to be enlarged along a side, or reduced 16 times and more.
    """
    n, height, width = values.shape
    geometry = Geometry.fit(height, width, spec.size)
    film = xp.arange(n)[:, None]
    entry = _int(values, xp) + film[:, :, None] * lookups.shape[1]
    grey = xp.asarray(lookups, dtype=xp.float32).reshape(-1)[entry]
    small = area_resized(grey, geometry.content_height, geometry.content_width, xp)

    pixels = small.reshape(n, -1)
    # Not `sort`, which is another thing in PyTorch.
    order = xp.argsort(pixels)
    low, high = (pixels[xp.arange(n), order[:, rank]] for rank in stretch_ranks(pixels.shape[1], spec))
    span = xp.where(high - low > FLAT, high - low, 1)[:, None, None]
    offset = xp.minimum(xp.clip(small - low[:, None, None], 0, None), span)
    films = xp.zeros((n, spec.size, spec.size), dtype=xp.uint8)
    top, left = geometry.top, geometry.left
    films[:, top : top + geometry.content_height, left : left + geometry.content_width] = xp.asarray(
        (offset * 510 + span) // (2 * span), dtype=xp.uint8
    )
    blank = high - low <= FLAT
    box = (top, left, geometry.content_height, geometry.content_width)
    boxes = xp.where(blank[:, None], 0, xp.asarray(np.array([box]), dtype=xp.int64))
    clip = xp.full((n,), spec.clahe_clip, dtype=xp.float64)
    return equalise(films, boxes, clip, spec.clahe_tiles, xp), blank


def area_resized(films: Any, height: int, width: int, xp: Any) -> Any:
    """`cv2.resize` with INTER_AREA of float32 [N, H, W], whole numbers 0 … 65535 -> int64 [N, height, width].

    Raises ValueError as above.
    """
    n, from_height, from_width = films.shape
    scales = 1 / (height / from_height), 1 / (width / from_width)
    if min(scales) < 1:
        raise ValueError(f"{from_height} × {from_width} is smaller than {height} × {width}")
    # OpenCV's three ways differ in the order of their sums, and so in the last place.
    if any(scale != int(scale) for scale in scales):
        films = _along(films, *_shares(from_width, width), xp)
        films = _along(films.swapaxes(1, 2), *_shares(from_height, height), xp).swapaxes(1, 2)
        return _int(xp.round(films), xp)
    down, across = map(int, scales)
    if down * across > _LARGEST_EXACT_BLOCK:
        raise ValueError(f"1/{down} × 1/{across} is too small to be exact")
    sums = _int(films, xp).reshape(n, height, down, width, across).sum(axis=(2, 4))
    if (down, across) == (2, 2):
        return (sums + 2) // 4
    return _int(xp.round(xp.asarray(sums, dtype=xp.float32) * float(np.float32(1 / (down * across)))), xp)


def _along(films: Any, sources: NDArray[np.int64], shares: NDArray[np.float32], xp: Any) -> Any:
    """Weighted sums over the last axis, float32, one term after the other as OpenCV adds them."""
    total = 0
    for source, share in zip(sources, shares, strict=True):
        total = total + films[:, :, xp.asarray(source)] * xp.asarray(share)
    return total


def _shares(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which of `source` pixels make up each of `target`, and their shares of it: both [terms, target]."""
    scale = 1 / (target / source)
    terms = math.ceil(scale) + 2
    indices, shares = np.zeros((terms, target), np.int64), np.zeros((terms, target), np.float32)
    for pixel in range(target):
        start = pixel * scale
        end, cell = start + scale, min(scale, source - start)
        last = min(math.floor(end), source - 1)
        first = min(math.ceil(start), last)
        parts = [(index, 1.0) for index in range(first, last)]
        if first - start > 1e-3:
            parts.insert(0, (first - 1, first - start))
        if end - last > 1e-3:
            parts.append((last, min(end - last, 1.0, cell)))
        for term, (index, part) in enumerate(parts):
            indices[term, pixel], shares[term, pixel] = index, part / cell
    return indices, shares


def _int(values: Any, xp: Any) -> Any:
    return xp.asarray(values, dtype=xp.int64)
