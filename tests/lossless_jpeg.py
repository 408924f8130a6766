"""A lossless JPEG encoder with restart intervals, which no library here writes."""

import struct

import numpy as np
from numpy.typing import NDArray

# Lengths of the codes of the categories 4, 3, 5, … (T.81, H.1.2.2).
_LENGTHS = (2, 3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_CATEGORIES = (4, 3, 5, 2, 6, 1, 7, 0, 8, 9, 10, 11, 12, 13, 14, 15, 16)


def lossless_jpeg(values: NDArray[np.uint16], bits: int, rows_per_interval: int, predictor: int = 1) -> bytes:
    """uint16 [H, W] with so many bits -> a stream that is restarted every so many rows."""
    height, width = values.shape
    intervals = [
        _entropy_coded(values[top : top + rows_per_interval].astype(np.int64), bits, predictor)
        for top in range(0, height, rows_per_interval)
    ]
    counts = bytes(_LENGTHS.count(length) for length in range(1, 17))
    table = bytes([0]) + counts + bytes(_CATEGORIES)
    return b"".join(
        [
            b"\xff\xd8\xff\xc4" + struct.pack(">H", 2 + len(table)) + table,
            b"\xff\xc3" + struct.pack(">HBHHB3B", 11, bits, height, width, 1, 1, 0x11, 0),
            b"\xff\xdd" + struct.pack(">HH", 4, rows_per_interval * width),
            b"\xff\xda" + struct.pack(">HBBB3B", 8, 1, 1, 0, predictor, 0, 0),
            *(part + bytes([0xFF, 0xD0 + index % 8]) for index, part in enumerate(intervals[:-1])),
            intervals[-1] + b"\xff\xd9",
        ]
    )


def _entropy_coded(values: NDArray[np.int64], bits: int, predictor: int) -> bytes:
    difference = np.empty_like(values)
    difference[0, 0] = values[0, 0] - (1 << (bits - 1))
    difference[0, 1:] = values[0, 1:] - values[0, :-1]
    difference[1:, 0] = values[1:, 0] - values[:-1, 0]
    a, b, c = values[1:, :-1], values[:-1, 1:], values[:-1, :-1]
    predicted = [a, b, c, a + b - c, a + (b - c >> 1), b + (a - c >> 1), (a + b) >> 1][predictor - 1]
    difference[1:, 1:] = values[1:, 1:] - predicted
    flat = difference.reshape(-1)
    category = np.ceil(np.log2(np.abs(flat) + 1)).astype(np.int64)
    code, length = _codes()
    more = np.where(flat < 0, flat + (1 << category) - 1, flat)
    words, sizes = (code[category] << category) | more, length[category] + category
    # Each word's bits, the first one first.
    word = np.repeat(np.arange(len(words)), sizes)
    place = np.arange(len(word)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    stream = (words[word] >> (sizes[word] - 1 - place) & 1).astype(np.uint8)
    filled_up = np.concatenate([stream, np.ones(-len(stream) % 8, np.uint8)])
    return np.packbits(filled_up).tobytes().replace(b"\xff", b"\xff\0")


def _codes() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Canonical codes by category, and their lengths (T.81, C.2)."""
    code, length = np.zeros(17, np.int64), np.zeros(17, np.int64)
    following = previous = 0
    for size, category in zip(_LENGTHS, _CATEGORIES, strict=True):
        following <<= size - previous
        code[category], length[category] = following, size
        following, previous = following + 1, size
    return code, length
