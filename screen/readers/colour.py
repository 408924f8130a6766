"""Colour to grey."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from screen.readers.header import Table


def grey_from_rgb(samples: NDArray[Any]) -> tuple[bool, NDArray[Any]]:
    """uint8 | uint16 [H, W, >= 3], red first -> whether there is any colour, and luminance (BT.601) [H, W].

    Grey that is stored as three equal samples comes back to the bit.
    """
    red, green, blue = samples[..., 0], samples[..., 1], samples[..., 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return False, red
    return True, cv2.cvtColor(np.ascontiguousarray(samples[..., :3]), cv2.COLOR_RGB2GRAY)


def grey_from_ycbcr(samples: NDArray[Any]) -> tuple[bool, NDArray[Any]]:
    """[H, W, 3] with the luminance first -> whether there is any colour, and the luminance."""
    neutral = (int(np.iinfo(samples.dtype).max) + 1) // 2
    return bool((samples[..., 1:] != neutral).any()), samples[..., 0]


def grey_from_palette(
    values: NDArray[Any], palette: tuple[Table, Table, Table]
) -> tuple[bool, NDArray[Any], int]:
    """Indices [H, W] (PS3.3 C.7.9) -> whether there is any colour, luminance [H, W], and its bits."""
    bits = palette[0].bits
    at = values.astype(np.int32)
    inks = [ink.entries[np.clip(at - ink.first, 0, len(ink.entries) - 1)] for ink in palette]
    is_colour, grey = grey_from_rgb(np.dstack(inks).astype(np.uint8 if bits <= 8 else np.uint16))
    return is_colour, grey, bits
