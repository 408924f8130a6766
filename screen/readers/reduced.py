"""Less than the whole picture from a code stream: the shortcuts `reduced_resolution` and `scaled_jpeg`.

Either gives a picture at 1/2, 1/4, … of the film's resolution for a fraction of the time. Only plain streams
are taken: anything unusual, and anything that a decoder complains of here, is decoded in full, and what the
full way says stands. What lies in the bytes that are skipped is never seen: damage there changes the full
picture and not this one. A stream that was cut short is noticed here as there.
"""

import io
import struct
from dataclasses import dataclass
from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid

from screen.preprocess import memory_errors_from_opencv
from screen.readers.codecs import printed_errors_raised
from screen.readers.header import PixelHeader
from screen.readers.jpeg import strictly_decoded
from screen.readers.limits import Refusal
from screen.readers.streams import BASELINE, jpeg_frame, plain_codestream
from screen.shortcuts import FULL, MARGIN, DecodePolicy, Shortcut

_HTJ2K = frozenset({uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K})
_JPEG_2000 = frozenset({uid.JPEG2000Lossless, uid.JPEG2000})
_OVERSHOOT = 1.5
"""The largest value of a low-pass band of the 5/3 filter, of the range of the picture's values."""
_LONGEST = 1 << 14
"""Pixels a side; OpenCV's geometric transformations count in 16 bits."""


@dataclass(frozen=True, slots=True)
class Aim:
    """How little of a film is enough for a network's input of `size` pixels: the shortcuts of `policy`."""

    size: int = 0
    policy: DecodePolicy = FULL

    def halvings(self, rows: int, columns: int, most: int) -> int:
        """How often, at most `most` times, a film may be halved."""
        count = 0
        while count < most and max(rows, columns) >> (count + 1) >= MARGIN * self.size:
            count += 1
        return count


WHOLE = Aim()
"""No shortcut."""


@dataclass(frozen=True, slots=True)
class Reduced:
    """values: uint8 | uint16 [ceil(H / 2^n), ceil(W / 2^n)], unsigned; its pixels tile the film evenly."""

    values: NDArray[np.uint8] | NDArray[np.uint16]
    shortcut: Shortcut
    decoder: str


def reduced_frame(data: bytes, syntax: str, px: PixelHeader, aim: Aim) -> Reduced | None:
    """A DICOM frame by a shortcut that `aim` permits; None where it has to be decoded in full."""
    if px.signed or not px.photometric.startswith("MONOCHROME"):
        return None
    if syntax in _HTJ2K or syntax in _JPEG_2000:
        return _fewer_levels(data, syntax in _HTJ2K, px, aim)
    return scaled_jpeg(data, aim) if syntax == uid.JPEGBaseline8Bit and px.bits_stored == 8 else None


def _fewer_levels(data: bytes, is_htj2k: bool, px: PixelHeader, aim: Aim) -> Reduced | None:
    stream = plain_codestream(data) if Shortcut.REDUCED_RESOLUTION in aim.policy else None
    if stream is None or stream.signed or not px.bits_stored <= stream.bits <= 16:
        return None
    # OpenJPH's values come in the cells of the full picture, without clipping: overshoot would wrap around.
    if is_htj2k and not (stream.bits > 8 and px.bits_stored <= 14):
        return None
    count = aim.halvings(px.rows, px.columns, stream.levels)
    if not count:
        return None
    values: NDArray[Any]
    try:
        if is_htj2k:
            with printed_errors_raised():
                wrapped = np.asarray(imagecodecs.htj2k_decode(data, skipres=count))
            values = np.maximum(wrapped.view(np.int16), 0).view(np.uint16)
        else:
            values = _jpeg_2000(data, stream.bits, count)
    except MemoryError:
        raise
    except Exception:  # the seam, as in codecs: the full way finds the words for it
        return None
    top = (1 << px.bits_stored) - 1
    if not _is_plain(values, _shape(px.rows, px.columns, count)):
        return None
    if stream.bits > px.bits_stored and int(values.max()) > _OVERSHOOT * top:
        return None  # more bits than the header says: the full way mends it
    # Before anything is interpolated: the one decoder has clipped its overshoot already, the other has not.
    limit = np.array(top, values.dtype)
    values = np.minimum(values, limit)
    # And behind it: cubic interpolation overshoots as well, and the lookup ends where the stored bits do.
    values = np.minimum(_evenly_tiled(values, px.rows, px.columns, count, phase=0.0), limit)
    name = "imagecodecs htj2k" if is_htj2k else "pillow jpeg2k"
    values = values.astype(np.uint8 if px.bits_stored <= 8 else np.uint16, copy=False)
    return Reduced(values, Shortcut.REDUCED_RESOLUTION, f"{name} 1/{1 << count}")


def _jpeg_2000(data: bytes, bits: int, count: int) -> NDArray[np.uint8] | NDArray[np.uint16]:
    with Image.open(io.BytesIO(data), formats=("JPEG2000",)) as image:
        # Pillow rounds the reduced size to the nearest where the code stream rounds up, and then fails.
        height, width = _shape(image.height, image.width, count)
        image._size = width << count, height << count
        image.reduce = count  # type: ignore[assignment,method-assign]
        image.load()
        values = np.asarray(image)
    if bits <= 8:
        return values if bits == 8 else values >> np.uint8(8 - bits)
    # Pillow stretches what it has to 16 bits.
    return values >> np.uint16(16 - bits)


def scaled_jpeg(data: bytes, aim: Aim) -> Reduced | None:
    """A grey 8-bit baseline JPEG at 1/2, 1/4 or 1/8, if `aim` permits it; None where it has to be whole."""
    if Shortcut.SCALED_JPEG not in aim.policy:
        return None
    try:
        frame = jpeg_frame(data)
    except (struct.error, IndexError, Refusal):
        return None
    count = aim.halvings(frame.rows, frame.columns, 3)
    if (frame.process, frame.bits, frame.samples) != (BASELINE, 8, 1) or not count:
        return None
    shape = _shape(frame.rows, frame.columns, count)
    samples, _ = strictly_decoded(data, "GRAY", *shape)
    if samples is None or not _is_plain(samples[..., 0], shape):
        return None
    values = samples[..., 0]
    # Each value is the mean of a box of 2^n pixels a side.
    phase = ((1 << count) - 1) / 2
    values = _evenly_tiled(values, frame.rows, frame.columns, count, phase)
    return Reduced(values, Shortcut.SCALED_JPEG, f"libjpeg-turbo 1/{1 << count}")


def _is_plain(values: NDArray[Any], shape: tuple[int, int]) -> bool:
    """Whether a decoder gave what the header promised, and OpenCV can move it."""
    is_whole = values.shape == shape and values.dtype in (np.uint8, np.uint16)
    return is_whole and max(shape) <= _LONGEST


def _shape(rows: int, columns: int, count: int) -> tuple[int, int]:
    return -(-rows >> count), -(-columns >> count)


def _evenly_tiled(values: NDArray[Any], rows: int, columns: int, count: int, phase: float) -> NDArray[Any]:
    """Move values to the middle of the part of the film that each stands for in the resize that follows.

    phase: where on the film the first value lies, in pixels from the first one; the others follow in steps of
    2^count. Low-pass bands lie on every 2^count-th pixel (T.800 F.3), not between them: left alone, the film
    would shift by half a value, and be stretched where its sides leave a remainder.
    """
    height, width = values.shape
    step = 1 << count
    scales = columns / width, rows / height
    if scales == (step, step) and phase == (step - 1) / 2:
        return values
    x, y = (((scale - 1) / 2 - phase) / step for scale in scales)
    matrix = np.array([[scales[0] / step, 0, x], [0, scales[1] / step, y]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    with memory_errors_from_opencv():
        moved = cv2.warpAffine(values, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return moved.astype(values.dtype, copy=False)
