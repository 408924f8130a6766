"""Whether a film that is stored without compression was copied to its end: what is missing is zeros.

Black borders are zeros, too. But they follow rows, or edges that cross many rows. One that is level to within
a row or two looks like a copy that broke off: a film is refused only if a block of the file ends there.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason, Warn
from screen.readers.limits import Refusal

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


def check_copied(values: NDArray[Any], breaks_off: Callable[[int], bool]) -> list[Warn]:
    """What is to be said of stored values [H, W]: `perhaps_damaged` if they end as if cut.

    Then much has to be missing, or there is no black border left and right. breaks_off: whether a copy can
    have broken off at a pixel, counted row by row from 0.
    Raises Refusal: `corrupt_pixels`, if they end as if cut at such a pixel.
    """
    height, width = values.shape
    last = height - 1
    while last >= 0 and not values[last].any():
        last -= 1
    if last == height - 1 or last < _ABOVE:
        return []
    at = _end(values[last])
    if not _NEAR <= at <= width - _NEAR or not _goes_on_above(values[: last + 1], at):
        return []
    if breaks_off(last * width + at):
        raise Refusal(Reason.CORRUPT_PIXELS, "zeros from the middle of a row to the end: half copied")
    sides = values[:last, 0], values[:last, -1]
    is_frameless = all(np.count_nonzero(side) > _FRAMELESS * last for side in sides)
    return [Warn.PERHAPS_DAMAGED] if height - 1 - last >= height * _MUCH or is_frameless else []


def ends_block(place: int, size: int) -> bool:
    """Whether a block of the file ends here, or within two pixels of `size` bytes: they may be black."""
    return -place % _BLOCK < 2 * size


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
