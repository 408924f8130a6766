"""JPEG streams decoded so that damage is noticed: libjpeg goes on over a hole and only warns of it.

Up to 8 bits a strict decoder raises what libjpeg warns of; for the rest see `screen.readers.deep_jpeg`.
"""

from typing import Any

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from screen.codes import Reason, Warn
from screen.readers.deep_jpeg import can_be_judged, judged_samples
from screen.readers.jpeg_markers import (
    END_OF_IMAGE,
    LOSSLESS,
    PROGRESSIVE,
    START_OF_SCAN,
    Jpeg,
    jpeg_from_stream,
)
from screen.readers.limits import Refusal
from screen.readers.streams import ZEROS

_APPLICATIONS = frozenset({*range(0xE0, 0xF0), 0xFE}) - {0xEE}
"""Applications' segments and comments, which no pixel depends on; Adobe's tells the colours."""


def samples_from_jpeg(data: bytes, colourspace: str | None = None) -> tuple[NDArray[Any], list[Warn]]:
    """uint8 | uint16 [H, W] or [H, W, samples], and what was wrong with the stream and cost no pixel.

    Three components come as RGB. colourspace: what the stream holds, where it doesn't say so itself.
    Raises Refusal, `corrupt_header` or `corrupt_pixels`, and whatever the decoder raises.
    """
    try:
        jpeg, warnings = jpeg_from_stream(data), list[Warn]()
    except Refusal:
        # Some writers leave the end marker out; whether anything else is missing shows below.
        data += END_OF_IMAGE
        jpeg, warnings = jpeg_from_stream(data), [Warn.STREAM_REPAIRED]
    if jpeg.frame.process == PROGRESSIVE:
        _check_scans(data, jpeg)
    if jpeg.frame.bits > 8:
        return _samples_beyond(data, jpeg, colourspace, warnings)
    layout = {1: "GRAY", 3: "RGB", 4: "CMYK"}.get(jpeg.frame.samples, "GRAY")
    samples, complaint = strictly_decoded(data, layout)
    if samples is None:
        samples, complaint = strictly_decoded(_tidied(data, jpeg), layout)
        warnings = [Warn.STREAM_REPAIRED]
    if samples is None:
        if _is_damage(complaint):
            raise Refusal(Reason.CORRUPT_PIXELS, complaint)
        return _samples_beyond(data, jpeg, colourspace, warnings)
    if colourspace is not None or jpeg.frame.process > LOSSLESS:
        # The strict decoder can't be told what the stream holds, but has judged it all the same. Only of
        # arithmetic codes it does not complain.
        samples = np.asarray(_decoded(data, colourspace))
    if jpeg.frame.process > LOSSLESS:
        warnings.append(Warn.PERHAPS_DAMAGED)
    return samples[..., 0] if samples.shape[2:] == (1,) else samples, warnings


def _samples_beyond(
    data: bytes, jpeg: Jpeg, colourspace: str | None, warnings: list[Warn]
) -> tuple[NDArray[Any], list[Warn]]:
    """What the strict decoder does not take."""
    if can_be_judged(jpeg):
        return judged_samples(data, jpeg), warnings
    return _decoded(data, colourspace), [*warnings, Warn.PERHAPS_DAMAGED]


def _decoded(data: bytes, colourspace: str | None) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpeg8_decode(data, colorspace=colourspace, outcolorspace=colourspace))


def strictly_decoded(
    data: bytes, layout: str, rows: int = 0, columns: int = 0
) -> tuple[NDArray[Any] | None, str]:
    """uint8 [H, W, samples], or None and the first thing that the decoder complains of.

    rows, columns: the least that are wanted, for a picture at 1/2, 1/4 or 1/8; 0 for all.
    """
    try:
        return np.asarray(
            simplejpeg.decode_jpeg(data, layout, min_height=rows, min_width=columns, strict=True)
        ), ""
    except MemoryError:
        raise
    except Exception as error:  # the seam: whatever a native decoder throws is the file's fault
        return None, str(error)[:200]


def _is_damage(complaint: str) -> bool:
    """Whether libjpeg warned of lost pixels; others are no warnings, or of a header that breaks a rule."""
    return complaint.startswith(("Corrupt JPEG data", "Premature end"))


def _tidied(data: bytes, jpeg: Jpeg) -> bytes:
    """The stream without what no pixel depends on: segments of applications, zeros that fill a word up."""
    first, last = jpeg.scans[0][0], jpeg.scans[-1][1]
    kept = [data[at:end] for marker, at, end in jpeg.segments if end <= first and marker not in _APPLICATIONS]
    pixels = data[first:last]
    short = pixels.rstrip(b"\0")
    if len(pixels) - len(short) <= _PADDING and not short.endswith(b"\xff"):
        pixels = short
    return b"".join([data[:2], *kept, pixels, data[last:]])


_PADDING = 4
"""Zero bytes before the end marker; more are a hole."""


def _check_scans(data: bytes, jpeg: Jpeg) -> None:
    """Refuse a progressive JPEG whose last scans are missing, or that has zeros in its AC coefficients.

    Such scans count empty blocks (T.81 G.1.2); others may hold a zero bit for each block of a black border.
    """
    exact: set[tuple[int, int]] = set()
    headers = [(at, end) for marker, at, end in jpeg.segments if marker == START_OF_SCAN]
    for (at, start), (_, end) in zip(headers, jpeg.scans, strict=True):
        # Components and their tables, then first and last coefficient, and precision (B.2.3).
        components = data[at + 5 : start - 3 : 2]
        first, last, precision = data[start - 3 : start]
        if first > 0 and data.find(ZEROS, start, end) >= 0:
            raise Refusal(Reason.CORRUPT_PIXELS, "a part of the JPEG is zeros")
        if precision & 0x0F == 0:
            exact |= {(component, place) for component in components for place in range(first, last + 1)}
    if len(exact) < 64 * jpeg.frame.samples:
        raise Refusal(Reason.CORRUPT_PIXELS, "the last scans of the progressive JPEG are missing")
