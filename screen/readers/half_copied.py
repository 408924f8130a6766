"""Whether a film that is stored without compression was copied to its end: what is missing is zeros.

Black borders are zeros, too. But they follow rows, or edges that cross many rows; a copy breaks off anywhere.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

HALF_COPIED = "zeros from the middle of a row to the end: half copied?"

_NEAR = 8
"""Pixels on either side of the break."""
_ABOVE = 5
"""Rows above it."""
_MUCH = 0.25
"""Share of the rows that no collimator and no turned film leaves black below an edge this level."""
_FRAMELESS = 0.75
"""Share of the pixels along either side that are not 0, where a film has no black border."""
_BLOCK = 4096
"""Bytes; copies break off where blocks end."""


def is_half_copied(values: NDArray[Any], offset: int | None = None) -> bool:
    """Whether stored values [H, W] end in zeros from the middle of a row on, where the rows above go on.

    offset: where the first value lies in the file, if they lie there as they are here.
    An edge that is level to within a row looks the same: so either much is missing, or the break is where a
    block ends, or there is no black border left and right.
    """
    height, width = values.shape
    last = height - 1
    while last >= 0 and not values[last].any():
        last -= 1
    if last == height - 1 or last < _ABOVE:
        return False
    at = _end(values[last])
    if not _NEAR <= at <= width - _NEAR or not _goes_on_above(values[: last + 1], at):
        return False
    if height - 1 - last >= height * _MUCH:
        return True
    if (
        offset is not None
        and -(offset + (last * width + at) * values.itemsize) % _BLOCK < 2 * values.itemsize
    ):
        return True
    return all(np.count_nonzero(side) > _FRAMELESS * last for side in (values[:last, 0], values[:last, -1]))


def _end(row: NDArray[Any]) -> int:
    """Behind the last value that is not 0."""
    return len(row) - int(np.argmax(row[::-1] != 0)) if row.any() else 0


def _goes_on_above(values: NDArray[Any], at: int) -> bool:
    """Whether the last row ends at `at` as if cut: as bright as above, where the rows above go on as one."""
    ends = [_end(row) for row in values[-1 - _ABOVE : -1]]
    if max(ends) - min(ends) > (ends[-1] - at - _NEAR) / 4:
        return False
    row, above = values[-1, at - _NEAR : at], values[-3:-1, at - _NEAR : at + _NEAR]
    if not (row.all() and above.all()):
        return False
    here, there = float(np.median(row)), float(np.median(above[:, :_NEAR]))
    return there / 2 <= here <= there * 2
