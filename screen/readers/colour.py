"""Colour to grey."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def grey_from_rgb(samples: NDArray[Any]) -> tuple[bool, NDArray[Any]]:
    """uint8 | uint16 [H, W, >= 3], red first -> whether there is any colour, and luminance (BT.601) [H, W].

    Grey that is stored as three equal samples comes back to the bit.
    """
    red, green, blue = samples[..., 0], samples[..., 1], samples[..., 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return False, red
    return True, cv2.cvtColor(np.ascontiguousarray(samples[..., :3]), cv2.COLOR_RGB2GRAY)
