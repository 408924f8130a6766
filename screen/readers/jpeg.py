"""JPEG streams decoded so that damage is noticed: libjpeg goes on over a hole and only warns of it.

Up to 8 bits a strict decoder raises what libjpeg warns of. Beyond that no decoder does, so it is asked for
more rows than there are: what it makes of those shows whether the data ended where the picture does.
"""

import re
import struct
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from screen.codes import Reason
from screen.readers.limits import Refusal
from screen.readers.streams import ZEROS, JpegFrame, frame_header

_PROGRESSIVE, _LOSSLESS = 0xC2, 0xC3
_DCT = frozenset({0xC0, 0xC1, _PROGRESSIVE})
_RESTARTS = frozenset(range(0xD0, 0xD8))
_START_OF_SCAN, _END_OF_IMAGE, _HUFFMAN_TABLES = 0xDA, 0xD9, 0xC4
# Tables, intervals, lines, comments and applications' own may stand between scans, nothing else (T.81 B.2.4).
_BETWEEN_SCANS = frozenset({0xC4, 0xCC, 0xDA, 0xD9, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})
_APPLICATIONS = frozenset({*range(0xE0, 0xF0), 0xFE}) - {0xEE}
"""Applications' segments and comments, which no pixel depends on; Adobe's tells the colours."""
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_BLOCK = 8


@dataclass(frozen=True, slots=True)
class Jpeg:
    """Where the parts of a stream lie.

    segments: marker, first byte and end of each but the scans' data. scans: first byte and end of
    entropy-coded data.
    """

    frame: JpegFrame
    segments: tuple[tuple[int, int, int], ...]
    scans: tuple[tuple[int, int], ...]


def jpeg_from_stream(data: bytes) -> Jpeg:
    """Follow the markers from the first to the end marker.

    Raises Refusal, `corrupt_header` or `corrupt_pixels`: no end, no picture, or what no encoder writes.
    """
    try:
        return _followed(data)
    except (struct.error, IndexError) as error:
        raise Refusal(Reason.CORRUPT_PIXELS, "the JPEG ends before its end marker") from error


def _followed(data: bytes) -> Jpeg:
    frame: JpegFrame | None = None
    segments: list[tuple[int, int, int]] = []
    scans: list[tuple[int, int]] = []
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        if data[at] != 0xFF:
            raise Refusal(Reason.CORRUPT_HEADER, "no JPEG marker where one has to be")
        marker = data[at + 1]
        if scans and marker not in _BETWEEN_SCANS:
            raise Refusal(Reason.CORRUPT_PIXELS, f"marker {marker:02X} within the JPEG's pixels")
        if marker == _END_OF_IMAGE:
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + max(length, 2)
        segments.append((marker, at, end))
        frame = frame or frame_header(marker, data[at + 4 : end])
        at = end
        if marker == _START_OF_SCAN:
            at = _end_of_scan(data, end)
            scans.append((end, at))
    if frame is None or not scans:
        raise Refusal(Reason.CORRUPT_PIXELS, "the JPEG ends before its first scan")
    return Jpeg(frame, tuple(segments), tuple(scans))


def _end_of_scan(data: bytes, start: int) -> int:
    """The place of the marker that ends a scan. Raises IndexError if none does, Refusal."""
    expected = 0
    for found in _MARKER.finditer(data, start):
        marker = data[found.start() + 1]
        if marker not in _RESTARTS:
            return found.start()
        if marker & 7 != expected:
            raise Refusal(Reason.CORRUPT_PIXELS, "a restart marker of the JPEG is missing")
        expected = (expected + 1) & 7
    raise IndexError("no marker behind the scan")


def samples_from_jpeg(data: bytes, colourspace: str | None = None) -> tuple[NDArray[Any], bool]:
    """uint8 | uint16 [H, W] or [H, W, samples], and whether the stream breaks a rule that costs no pixel.

    Three components come as RGB. colourspace: what the stream holds, where it doesn't say so itself.
    Raises Refusal, `corrupt_header` or `corrupt_pixels`, and whatever the decoder raises.
    """
    jpeg = jpeg_from_stream(data)
    if _has_hole(data, jpeg):
        raise Refusal(Reason.CORRUPT_PIXELS, "a part of the JPEG is zeros")
    if jpeg.frame.bits > 8:
        return _samples_beyond(data, jpeg, colourspace), False
    layout = {1: "GRAY", 3: "RGB", 4: "CMYK"}.get(jpeg.frame.samples, "GRAY")
    samples, complaint = strictly_decoded(data, layout)
    is_repaired = False
    if samples is None:
        samples, complaint = strictly_decoded(_tidied(data, jpeg), layout)
        is_repaired = True
    if samples is None:
        if _is_damage(complaint):
            raise Refusal(Reason.CORRUPT_PIXELS, complaint)
        samples = _samples_beyond(data, jpeg, colourspace)
    elif colourspace is not None:
        # The strict decoder can't be told what the stream holds; it has judged the stream all the same.
        samples = _samples_beyond(data, jpeg, colourspace)
    return samples[..., 0] if samples.shape[2:] == (1,) else samples, is_repaired


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


def _has_hole(data: bytes, jpeg: Jpeg) -> bool:
    """Whether zeros stand in a progressive JPEG's AC coefficients: a scan's end hides how much is missing.

    Such scans count empty blocks (T.81 G.1.2); others may hold a zero bit for each block of a black border.
    """
    # The last three bytes of a scan's header: first and last coefficient, precision (B.2.3).
    scans = (scan for scan in jpeg.scans if data[scan[0] - 3] > 0)
    return jpeg.frame.process == _PROGRESSIVE and any(data.find(ZEROS, *scan) >= 0 for scan in scans)


# ── more rows than there are ─────────────────────────────────────────────────────────────────────────────


def _samples_beyond(data: bytes, jpeg: Jpeg, colourspace: str | None) -> NDArray[Any]:
    """Decode rows that the picture has not, and look at what libjpeg makes of them. Raises Refusal."""
    frame = jpeg.frame
    is_lossless = frame.process == _LOSSLESS
    coded = frame.rows if is_lossless else -(-frame.rows // _BLOCK) * _BLOCK
    asked = coded + (2 if is_lossless else 2 * _BLOCK)
    if frame.samples > 1 or asked > 0xFFFF or not (is_lossless or frame.process in _DCT):
        return np.asarray(imagecodecs.jpeg8_decode(data, colorspace=colourspace, outcolorspace=colourspace))
    taller = bytearray(data)
    (header,) = (
        at for marker, at, _ in jpeg.segments if frame_header(marker, data[at + 4 : at + 10]) == frame
    )
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
        raise Refusal(Reason.CORRUPT_PIXELS, "the JPEG's data end before or behind its last pixel")
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
    if transform:
        return True
    grey = 1 << (jpeg.frame.bits - 1)
    made_up = _zeros_decoded(data, jpeg)
    last, behind, grey_row = samples[rows - 1 : rows + 2].astype(np.int64)
    if (behind == grey).all():
        return None
    is_made_up = _residuals(behind, last, predictor)[_PADDING_SYMBOLS:] == made_up
    return bool(is_made_up.all() and (grey_row == grey).all())


def _prediction(data: bytes, jpeg: Jpeg) -> tuple[int, int]:
    """The predictor, 1 … 7, and the point transform of the only scan (T.81, table B.3 and H.1.2)."""
    start, _ = jpeg.scans[0]
    return data[start - 3], data[start - 1] & 0x0F


def _zeros_decoded(data: bytes, jpeg: Jpeg) -> int:
    """The difference that zero bits stand for, modulo 2^16: zeros are the first code (T.81 C.2, H.1.2.2)."""
    start, _ = jpeg.scans[0]
    wanted = data[start - 4] >> 4
    category = 0
    for start, end in ((at + 4, end) for marker, at, end in jpeg.segments if marker == _HUFFMAN_TABLES):
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
