"""The one table from stored values to grey, bone bright."""

import numpy as np
from numpy.typing import NDArray

WHITE = 65535


def full_range_lookup(bits: int) -> NDArray[np.uint16]:
    """uint16 [256] or [65536]: 0 black, 2^bits - 1 white, above it white too. For 8 and 16 bits exact."""
    top = (1 << bits) - 1
    values = np.minimum(np.arange(256 if bits <= 8 else 65536, dtype=np.int64), top)
    return ((values * WHITE * 2 + top) // (2 * top)).astype(np.uint16)
