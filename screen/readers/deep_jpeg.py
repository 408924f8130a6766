"""JPEG that no strict decoder takes, judged by rows that it has not: of more than 8 bits, lossless or not.

libjpeg goes on where data end, and says nothing that reaches us. So it is asked for more rows than there are.
What it makes of those shows whether the data ended where the picture does.
"""

import struct
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason
from screen.readers.jpeg_markers import (
    END_OF_IMAGE,
    HUFFMAN_TABLES,
    LOSSLESS,
    PROGRESSIVE,
    RESTART_INTERVAL,
    Jpeg,
    jpeg_from_stream,
)
from screen.readers.limits import Refusal
from screen.readers.streams import frame_header

_DCT = frozenset({0xC0, 0xC1, PROGRESSIVE})
_BLOCK = 8
_MOST_INTERVALS = 512
"""More are not judged one by one: they are so short that a hole swallows a marker, which is missed."""
_ENDED = "the JPEG's data end before or behind its last pixel"


def can_be_judged(jpeg: Jpeg) -> bool:
    """Whether `judged_samples` knows what libjpeg does with a stream of this make."""
    return jpeg.frame.samples == 1 and (jpeg.frame.process == LOSSLESS or jpeg.frame.process in _DCT)


def judged_samples(data: bytes, jpeg: Jpeg) -> NDArray[Any]:
    """uint8 | uint16 [H, W] of a grey stream. Raises Refusal if its data are not those of the picture."""
    frame = jpeg.frame
    is_lossless = frame.process == LOSSLESS
    unit = 1 if is_lossless else _BLOCK
    units = -(-frame.rows // unit) * -(-frame.columns // unit)
    if jpeg.interval and frame.process != PROGRESSIVE and len(jpeg.restarts) < -(-units // jpeg.interval) - 1:
        raise Refusal(Reason.CORRUPT_PIXELS, "a restart marker of the JPEG is missing")
    if not is_lossless or not jpeg.restarts:
        samples = _judged(data, jpeg, is_lossless)
    elif len(jpeg.restarts) > _MOST_INTERVALS or jpeg.interval % frame.columns:
        samples = np.asarray(imagecodecs.jpeg8_decode(data))
    else:
        streams = _interval_streams(data, jpeg)
        samples = np.vstack([_judged(stream, jpeg_from_stream(stream), True) for stream in streams])
    return samples


def _interval_streams(data: bytes, jpeg: Jpeg) -> list[bytes]:
    """Each restart interval of a lossless stream as a picture of its own: it begins like one (T.81 H.1.1)."""
    rows, height = jpeg.frame.rows, jpeg.interval // jpeg.frame.columns
    start, end = jpeg.scans[0]
    header = bytearray(data[:2])
    for marker, first, last in jpeg.segments:
        if marker == RESTART_INTERVAL or first >= start:
            continue
        if frame_header(marker, data[first + 4 : last]):
            size = len(header) + 5
        header += data[first:last]
    # A last marker may stand behind the last interval.
    starts = [start, *(place + 2 for place in jpeg.restarts)][: -(-rows // height)]
    ends = [*jpeg.restarts, end][: len(starts)]
    streams = []
    for top, first, last in zip(range(0, rows, height), starts, ends, strict=True):
        struct.pack_into(">H", header, size, min(height, rows - top))
        streams.append(bytes(header) + data[first:last] + END_OF_IMAGE)
    return streams


def _judged(data: bytes, jpeg: Jpeg, is_lossless: bool) -> NDArray[Any]:
    frame = jpeg.frame
    coded = frame.rows if is_lossless else -(-frame.rows // _BLOCK) * _BLOCK
    asked = coded + (2 if is_lossless else 2 * _BLOCK)
    if asked > 0xFFFF:
        return np.asarray(imagecodecs.jpeg8_decode(data))
    taller = bytearray(data)
    (header,) = (at for marker, at, end in jpeg.segments if frame_header(marker, data[at + 4 : end]))
    struct.pack_into(">H", taller, header + 5, asked)
    samples = np.asarray(imagecodecs.jpeg8_decode(taller))
    if samples.shape != (asked, frame.columns):
        return samples[: frame.rows]
    is_whole = _is_whole_lossless(samples, data, jpeg) if is_lossless else _is_whole_dct(samples, jpeg)
    if is_whole is None:
        start, end = jpeg.scans[-1]
        end = start + len(data[start:end].rstrip(b"\xff"))
        taller[end:end] = _MORE
        again = np.asarray(imagecodecs.jpeg8_decode(taller))
        is_whole = np.array_equal(again[: frame.rows], samples[: frame.rows])
    if not is_whole:
        raise Refusal(Reason.CORRUPT_PIXELS, _ENDED)
    return samples[: frame.rows]


_MORE = b"\xa5" * 64
"""Data for what stands behind the picture: they change it only if its own had ended before."""


def _is_whole_dct(samples: NDArray[Any], jpeg: Jpeg) -> bool | None:
    """Whether the first block behind the picture is the first that libjpeg had no data for.

    It decodes that one from bits that it makes up, and leaves all later ones grey. None: perhaps, if the
    first is as grey as they.
    """
    coded = -(-jpeg.frame.rows // _BLOCK) * _BLOCK
    behind = samples[coded : coded + _BLOCK] == 1 << (jpeg.frame.bits - 1)
    if not behind[:, _BLOCK:].all():
        return False
    return None if behind[:, :_BLOCK].all() else True


_PADDING_SYMBOLS = 8
"""More than the bits that fill the last byte can be taken for."""


def _is_whole_lossless(samples: NDArray[Any], data: bytes, jpeg: Jpeg) -> bool | None:
    """Whether the first row behind the picture is the first that libjpeg had no data for.

    It decodes the rest of such a row from bits that are zero, all with the code that is zeros, and leaves all
    later rows grey. None: perhaps, if that first row is as grey as they.
    """
    rows = jpeg.frame.rows
    predictor, transform = _prediction(data, jpeg)
    grey = 1 << (jpeg.frame.bits - 1)
    made_up = _zeros_decoded(data, jpeg)
    last, behind, grey_row = samples[rows - 1 : rows + 2].astype(np.int64)
    if (behind == grey).all():
        return None
    is_made_up = _residuals(behind, last, predictor)[_PADDING_SYMBOLS:] == made_up
    # With a point transform the upper bits of what was made up are lost.
    return bool((is_made_up.all() or transform) and (grey_row == grey).all())


def _prediction(data: bytes, jpeg: Jpeg) -> tuple[int, int]:
    """The predictor, 1 … 7, and the point transform of the only scan (T.81, table B.3 and H.1.2)."""
    start, _ = jpeg.scans[0]
    return data[start - 3], data[start - 1] & 0x0F


def _zeros_decoded(data: bytes, jpeg: Jpeg) -> int:
    """The difference that zero bits stand for, modulo 2^16: zeros are the first code (T.81 C.2, H.1.2.2)."""
    start, _ = jpeg.scans[0]
    wanted = data[start - 4] >> 4
    category = 0
    for start, end in ((at + 4, end) for marker, at, end in jpeg.segments if marker == HUFFMAN_TABLES):
        table = start
        while table + 17 <= end:
            if data[table] == wanted:
                category = data[table + 17]
            table += 17 + sum(data[table + 1 : table + 17])
    return -((1 << category) - 1) & 0xFFFF if category < 16 else 1 << 15


def _residuals(row: NDArray[np.int64], above: NDArray[np.int64], predictor: int) -> NDArray[np.int64]:
    """A row's values but the first, less what is predicted of them, modulo 2^16 (T.81, table H.1)."""
    a, b, c = row[:-1], above[1:], above[:-1]
    predicted = {
        1: a,
        2: b,
        3: c,
        4: a + b - c,
        5: a + ((b - c) >> 1),
        6: b + ((a - c) >> 1),
        7: (a + b) >> 1,
    }[predictor]
    return np.asarray((row[1:] - predicted) & 0xFFFF)
