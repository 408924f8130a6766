"""CLAHE of a batch of films, equal to OpenCV's to the bit, in the arrays of whichever library holds them.

Written with what NumPy, CuPy and PyTorch have in common, so that a GPU runs what the tests run on a CPU.
Products and sums are operations of their own: a compiler that fuses them (torch.compile, a CUDA kernel
without --fmad=false) gives other greys.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GREYS = 256


def equalise(films: Any, boxes: Any, clip: Any, tiles: int, xp: Any) -> Any:
    """`cv2.createCLAHE(clip, (tiles, tiles))` of every film's own box; whatever lies around it becomes black.

    films: uint8 [N, S, S]. boxes: int64 [N, 4], top, left, height, width, within the square; height and width
    0: no film, all black. clip: float64 [N], above 0. All on one device, `xp` their library, in whose eyes
    that device is the current one (`with films.device:` for PyTorch and CuPy). Returns uint8 [N, S, S].
    """
    n, size, _ = films.shape
    top, left, height, width = (boxes[:, k : k + 1] for k in range(4))
    # OpenCV's rule: if one side leaves a remainder both are extended, a side that leaves none by a whole tile
    # count.
    extends = (height % tiles > 0) | (width % tiles > 0)
    rows = _Axis.over(top, height, extends, size, tiles, xp)
    columns = _Axis.over(left, width, extends, size, tiles, xp)
    film = xp.arange(n)[:, None, None]
    pixels = films.reshape(-1)

    place = (film * size + rows.source[:, :, None]) * size + columns.source[:, None, :]
    tile = (film * tiles + rows.tile[:, :, None]) * tiles + columns.tile[:, None, :]
    counted = rows.counted[:, :, None] & columns.counted[:, None, :]
    bins = n * tiles * tiles * _GREYS
    bin_of = xp.where(counted, tile * _GREYS + pixels[place], bins)
    counts = xp.bincount(bin_of.reshape(-1), minlength=bins + 1)[:bins].reshape(n, tiles * tiles, _GREYS)
    lookup = _lookups(counts, (rows.side * columns.side)[:, :, None], clip[:, None, None], xp).reshape(-1)

    def looked_up(row_tile: Any, column_tile: Any) -> Any:
        tile = (film * tiles + row_tile[:, :, None]) * tiles + column_tile[:, None, :]
        return lookup[tile * _GREYS + films]

    right, below = columns.share[:, None, :], rows.share[:, :, None]
    upper = (
        looked_up(rows.before, columns.before) * (1 - right) + looked_up(rows.before, columns.after) * right
    )
    lower = looked_up(rows.after, columns.before) * (1 - right) + looked_up(rows.after, columns.after) * right
    inside = rows.inside[:, :, None] & columns.inside[:, None, :]
    return xp.asarray(xp.where(inside, xp.round(upper * (1 - below) + lower * below), 0), dtype=xp.uint8)


@dataclass(frozen=True, slots=True)
class _Axis:
    """One direction of all films.

    side: int64 [N, 1] of a tile. source, tile: int64 [N, S + T], over the film with its extension, where
    `counted`: the pixel of the square that is mirrored there, and the tile that counts it. before, after:
    int64 [N, S], over the square, where `inside`: the tiles whose centres lie on either side of a pixel.
    share: float32 [N, S] that the latter has in it.
    """

    side: Any
    source: Any
    tile: Any
    counted: Any
    before: Any
    after: Any
    share: Any
    inside: Any

    @classmethod
    def over(cls, start: Any, length: Any, extends: Any, size: int, tiles: int, xp: Any) -> "_Axis":
        extended = length + xp.where(extends, tiles - length % tiles, 0)
        side = xp.clip(extended // tiles, 1, None)
        at = xp.arange(size + tiles)[None, :]
        # BORDER_REFLECT_101, to and fro as often as a film thinner than its extension needs it.
        period = xp.clip(2 * length - 2, 1, None)
        source = start + xp.where(at % period < length, at % period, period - at % period)
        counted = at < extended
        tile = xp.where(counted, at // side, 0)

        at = xp.arange(size)[None, :] - start
        centre = _float(at, xp) * _quotient(1, side, xp) - 0.5
        before = xp.floor(centre)
        whole = xp.asarray(before, dtype=xp.int64)
        return cls(
            side=side,
            source=xp.where(counted, source, 0),
            tile=tile,
            counted=counted,
            before=xp.clip(whole, 0, tiles - 1),
            after=xp.clip(whole + 1, 0, tiles - 1),
            share=centre - before,
            inside=(at >= 0) & (at < length),
        )


def _lookups(counts: Any, area: Any, clip: Any, xp: Any) -> Any:
    """Histograms int64 [N, T · T, 256] -> float32 of the same shape, whole numbers 0 … 255.

    area: int64 [N, 1, 1], pixels of a tile. clip: float64 [N, 1, 1].
    """
    limit = xp.clip(xp.asarray(clip * area / _GREYS, dtype=xp.int64), 1, None)
    excess = xp.clip(counts - limit, 0, None)
    clipped = xp.sum(excess, axis=-1, keepdims=True)
    left_over = clipped % _GREYS
    # What every grey cannot have a part of goes to greys at equal steps from the darkest.
    step = _GREYS // xp.clip(left_over, 1, None)
    grey = xp.arange(_GREYS)
    extra = (grey % step == 0) & (grey // step < left_over)
    counts = counts - excess + clipped // _GREYS + extra
    return xp.round(_float(xp.cumsum(counts, axis=-1), xp) * _quotient(_GREYS - 1, area, xp))


def _float(values: Any, xp: Any) -> Any:
    return xp.asarray(values, dtype=xp.float32)


def _quotient(number: int, values: Any, xp: Any) -> Any:
    """float32. PyTorch multiplies plain numbers by the reciprocal: not the same in the last place."""
    return xp.full_like(_float(values, xp), number) / _float(values, xp)


_TILES = 8


def equalised(squares: Tensor, clip: NDArray[np.float64]) -> Tensor:
    """uint8 [N, S, S], each film by its own clip limit [N] -> the same shape, a new tensor."""
    # OpenCV is many times as fast on a processor.
    return _by_opencv(squares, clip) if squares.device.type == "cpu" else on_device(squares, clip)


def on_device(squares: Tensor, clip: NDArray[np.float64]) -> Tensor:
    """`equalised` in tensor operations alone."""
    n, size, _ = squares.shape
    with squares.device:
        boxes = torch.tensor([[0, 0, size, size]]).expand(n, 4)
        result: Tensor = equalise(squares, boxes, torch.asarray(clip), _TILES, torch)
    return result


def _by_opencv(squares: Tensor, clip: NDArray[np.float64]) -> Tensor:
    films = [
        cv2.createCLAHE(float(c), (_TILES, _TILES)).apply(s)
        for c, s in zip(clip, squares.numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(films)) if films else squares.clone()
