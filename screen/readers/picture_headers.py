"""What a picture's header says before anything is decoded: size, samples, orientation, inks.

Small bounded parsers, because the decoders only tell after they have allocated. They never loop without
advancing and never trust an offset. A header that cannot be followed raises Refusal(corrupt_header).
"""

import struct
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason
from screen.readers.limits import Refusal
from screen.readers.signature import Kind
from screen.readers.streams import ZEROS, JpegFrame, frame_header, segments
from screen.readers.tiff import TiffTags, tiff_directories

_ORIENTATION_TAG, _EXTRA_TAG, _RESOLUTION_TAGS = 274, 338, (282, 283)


class Extra(Enum):
    """What a sample behind grey or RGB is (TIFF's ExtraSamples; PNG and WebP have alpha alone)."""

    UNKNOWN = 0
    MULTIPLIED = 1
    """Alpha, and the others are multiplied with it: they lie on black already."""
    ALPHA = 2


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """One picture (or the first page that is not a smaller copy of another).

    samples: channels per pixel, alpha included; 1 for palette pictures. bits: per sample.
    orientation: EXIF 1 … 8. inverted: 0 is white (TIFF WhiteIsZero). inks: CMYK;
    adobe_inks: stored inverted.
    planar: samples lie in planes. palette: uint16 [n, 3], of TIFF files; PNG's is the decoder's affair.
    several: there are other pages of full size, or this one is a smaller copy. page: which one it is, from 0.
    is_grey: one sample of grey, whatever stands behind it.
    density: horizontal and vertical pixels per length, in proportion; 0: nobody says.
    has_hole: there are zeros as damage leaves them.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    orientation: int = 1
    inverted: bool = False
    inks: bool = False
    adobe_inks: bool = False
    planar: bool = False
    palette: NDArray[np.uint16] | None = None
    several: bool = False
    page: int = 0
    is_grey: bool = False
    extra: Extra = Extra.ALPHA
    density: tuple[int, int] = (0, 0)
    has_hole: bool = False


def picture_header(data: bytes, kind: Kind) -> PictureHeader:
    """Raises Refusal: `corrupt_header`, or `unsupported_pixels` where the format allows more than we read."""
    parse = {
        Kind.JPEG: _jpeg_header,
        Kind.PNG: _png_header,
        Kind.TIFF: _tiff_header,
        Kind.WEBP: _webp_header,
    }[kind]
    try:
        return parse(data)
    except (struct.error, IndexError, KeyError) as error:
        raise Refusal(
            Reason.CORRUPT_HEADER, f"the {kind.name} header ends early or contradicts itself"
        ) from error


def _jpeg_header(data: bytes) -> PictureHeader:
    frame: JpegFrame | None = None
    orientation, adobe, density = 1, False, (0, 0)
    for marker, payload in segments(data):
        frame = frame_header(marker, payload) or frame
        if marker == 0xE1 and payload.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(payload[6:])
        elif marker == 0xEE and payload.startswith(b"Adobe"):
            adobe = True
        elif marker == 0xE0 and payload.startswith(b"JFIF\0"):
            density = struct.unpack_from(">HH", payload, 8)
    if frame is None:
        raise Refusal(Reason.CORRUPT_HEADER, "no JPEG frame header before the first scan")
    # Adobe's applications store CMYK inverted and leave this segment; nobody else's do either.
    return PictureHeader(
        frame.rows,
        frame.columns,
        frame.samples,
        frame.bits,
        orientation=orientation,
        inks=frame.samples == 4,
        adobe_inks=adobe,
        density=density,
    )


_PNG_SAMPLES = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}


def _png_header(data: bytes) -> PictureHeader:
    columns, rows, bits, colour_type = struct.unpack_from(">IIBB", data, 16)
    orientation, several, density = 1, False, (0, 0)
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"eXIf":
            orientation = _exif_orientation(data[at + 8 : at + 8 + length])
        elif name == b"acTL":
            several = struct.unpack_from(">I", data, at + 8)[0] > 1
        elif name == b"pHYs":
            density = struct.unpack_from(">II", data, at + 8)
        elif name == b"IDAT":
            break
        at += 12 + length
    # What the decoder makes of it: fewer than 8 bits and palettes are widened, a palette possibly with alpha.
    return PictureHeader(
        rows,
        columns,
        _PNG_SAMPLES[colour_type],
        max(bits, 8),
        orientation=orientation,
        several=several,
        density=density,
    )


def _webp_header(data: bytes) -> PictureHeader:
    orientation, several, has_hole = 1, False, False
    size: tuple[int, int] | None = None
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        body = at + 8
        if name == b"VP8X":
            size = _uint24(data, body + 7) + 1, _uint24(data, body + 4) + 1
            several = bool(data[body] & 0x02)
        elif name == b"VP8L" and size is None:
            (packed,) = struct.unpack_from("<I", data, body + 1)
            size = (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1
        elif name == b"VP8 " and size is None:
            width, height = struct.unpack_from("<HH", data, body + 6)
            size = height & 0x3FFF, width & 0x3FFF
        elif name == b"EXIF":
            orientation = _exif_orientation(data[body : body + length].removeprefix(b"Exif\0\0"))
        # libwebp makes a picture of whatever it gets, but large black areas are zeros, too.
        if name in (b"VP8 ", b"VP8L", b"ALPH") and data.find(ZEROS, body, body + length) >= 0:
            has_hole = True
        at = body + length + length % 2
    if size is None:
        raise Refusal(Reason.CORRUPT_HEADER, "no picture in the WebP container")
    return PictureHeader(
        *size, samples=4, bits=8, orientation=orientation, several=several, has_hole=has_hole
    )


def _uint24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def _exif_orientation(exif: bytes) -> int:
    """1 … 8; 1 if there is none or the block is broken, as viewers do."""
    try:
        return _orientation(tiff_directories(exif, 1)[0])
    except (struct.error, IndexError, KeyError, Refusal):
        return 1


def _orientation(tags: TiffTags) -> int:
    value = tags.get(_ORIENTATION_TAG, (1,))[0]
    return value if 1 <= value <= 8 else 1


_MAX_TIFF_PAGES = 64
_SUBFILE_TAG = 254
_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType: a smaller copy of another page; a mask for one."""


def _density(tags: TiffTags) -> tuple[int, int]:
    """XResolution to YResolution."""
    (x, x_per), (y, y_per) = ((*tags.get(tag, ()), 0, 0)[:2] for tag in _RESOLUTION_TAGS)
    return x * y_per, y * x_per


def _extra(tags: TiffTags) -> Extra:
    value = tags.get(_EXTRA_TAG, (0,))[0]
    return Extra(value) if value in (1, 2) else Extra.UNKNOWN


def _single(values: tuple[int, ...]) -> int:
    """The value of a field that has one; writers repeat it, and then it is the same. Raises Refusal."""
    if len(set(values)) != 1:
        raise Refusal(Reason.CORRUPT_HEADER, "several values where a TIFF picture has one")
    return values[0]


def _tiff_header(data: bytes) -> PictureHeader:
    pages = tiff_directories(data, _MAX_TIFF_PAGES)
    full = [n for n, tags in enumerate(pages) if not tags.get(_SUBFILE_TAG, (0,))[0] & (_REDUCED | _MASK)]
    page = full[0] if full else 0
    tags = pages[page]
    rows, columns, photometric = (_single(tags[tag]) for tag in (257, 256, 262))
    samples, planar = _single(tags.get(277, (1,))), _single(tags.get(284, (1,)))
    bits, sample_format = tags.get(258, (1,)), tags.get(339, (1,))
    if set(bits) not in ({8}, {16}) or set(sample_format) != {1}:
        raise Refusal(
            Reason.UNSUPPORTED_PIXELS, f"TIFF with {bits[0]} bits, sample format {sample_format[0]}"
        )
    palette = None
    if photometric == 3:
        colours = tags[320]
        if samples != 1 or len(colours) != 3 << bits[0] or max(colours) > 0xFFFF:
            raise Refusal(Reason.CORRUPT_HEADER, "the TIFF palette does not fit the samples")
        palette = np.array(colours, np.uint16).reshape(3, -1).T
    elif photometric not in (0, 1, 2, 6) or samples > 4:
        raise Refusal(Reason.UNSUPPORTED_PIXELS, f"TIFF with photometric interpretation {photometric}")
    return PictureHeader(
        rows,
        columns,
        samples,
        bits[0],
        orientation=_orientation(tags),
        inverted=photometric == 0,
        planar=planar == 2 and samples > 1,
        palette=palette,
        several=len(full) != 1,
        page=page,
        is_grey=photometric in (0, 1),
        extra=_extra(tags),
        density=_density(tags),
    )
