"""From the place of the pixel data to stored values: the first frame, decoded, masked, signs shifted."""

import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from screen.codes import Reason, Warn
from screen.readers.codecs import UNCOMPRESSED, check_syntax, decode_frame, is_whole
from screen.readers.half_copied import check_copied, ends_block
from screen.readers.header import PixelHeader
from screen.readers.limits import Limits, PixelDigest, Refusal
from screen.readers.tags import PIXEL_DATA, Parsed, PixelElement

Frame = bytes | NDArray[np.uint8]
"""An encoded frame, or an uncompressed one as uint8 [bytes]."""

_CHUNK = 1 << 18
"""Bytes that are hashed while they are still in the processor's cache."""
_CERTAIN = 1.1
"""How much rougher the wrong one of two pictures has to be."""
_ITEM, _SEQUENCE_DELIMITER = 0xE000, 0xE0DD


def first_frame(parsed: Parsed, px: PixelHeader, limits: Limits, digest: PixelDigest) -> Frame:
    """The bytes of the first frame, as they lie in the file; `digest` has got them then.

    Raises Refusal: `no_pixels`, `corrupt_pixels`, `too_large`, `unsupported_pixels` (floating point).
    """
    element = parsed.element
    if element is None or element.length == 0:
        raise Refusal(Reason.NO_PIXELS, "no pixel data, or empty")
    if element.tag != PIXEL_DATA:
        raise Refusal(Reason.UNSUPPORTED_PIXELS, "floating-point pixel data")
    stream = parsed.stream
    stream.seek(element.offset)
    if element.length is None and parsed.syntax in UNCOMPRESSED:
        raise Refusal(Reason.CORRUPT_PIXELS, "encapsulated pixel data under an uncompressed transfer syntax")
    if parsed.syntax not in UNCOMPRESSED:
        check_syntax(parsed.syntax)
    if element.length is not None and (
        parsed.syntax in UNCOMPRESSED or _is_native(stream, element.length, px)
    ):
        _check_length(min(element.length, element.held), px)
        if parsed.syntax == DeflatedExplicitVRLittleEndian:
            _check_inflated(stream, element)
        return _read_hashing(stream, min(element.length, frame_bytes(px)), digest)
    if px.frames > 1:
        frame = _first_of_several(parsed, px, limits)
    else:
        fragments = _fragments(stream, limits)
        next(fragments, None)  # the Basic Offset Table; one frame is all fragments, whatever it says
        frame = b"".join(fragments)
        if not frame:
            raise Refusal(Reason.NO_PIXELS, "PixelData holds no fragment")
    digest.update(frame)
    return frame


def _read_hashing(stream: BinaryIO, size: int, digest: PixelDigest) -> NDArray[np.uint8]:
    """Up to `size` bytes, fewer where the stream ends."""
    data = np.empty(size, np.uint8)
    at = 0
    while at < size:
        chunk = data[at : at + _CHUNK].data
        count = stream.readinto(chunk)  # type: ignore[attr-defined]
        if not count:
            break
        digest.update(chunk[:count])
        at += count
    return data[:at]


def frame_bytes(px: PixelHeader) -> int:
    """Length of an uncompressed frame; YBR_FULL_422 shares its chroma between two pixels (C.7.6.3.1.2)."""
    samples = 2 if px.photometric == "YBR_FULL_422" else px.samples
    return px.rows * px.columns * samples * (px.bits_allocated // 8)


def borne_out(px: PixelHeader, length: int | None) -> PixelHeader:
    """The header without what the length of uncompressed pixel data, in bytes, proves wrong for certain."""
    count = px.rows * px.columns
    full, narrow = replace(px, photometric="YBR_FULL"), replace(px, bits_allocated=8)
    if px.frames > 1 or length is None:
        return px
    if px.photometric == "YBR_FULL_422" and length - frame_bytes(full) in (0, count % 2):
        return full
    if px.bits_allocated == 16 and px.high_bit < 8 and length - frame_bytes(narrow) in (0, count % 2):
        return narrow
    return px


def _is_native(stream: BinaryIO, length: int, px: PixelHeader) -> bool:
    """Whether pixel data under a compressed syntax are uncompressed: as long as that, and no fragments."""
    head = stream.read(4)
    stream.seek(-len(head), io.SEEK_CUR)
    whole = px.frames * frame_bytes(px)
    return head != struct.pack("<HH", 0xFFFE, _ITEM) and length - whole in (0, whole % 2)


def _check_length(length: int, px: PixelHeader) -> None:
    """Refuse pixels that the header tells wrongly: a row would begin where it does not.

    As much again as there should be is no padding, but more bits, more samples or more frames than are told.
    """
    one = frame_bytes(px)
    if length >= (px.frames + 1) * one:
        raise Refusal(Reason.CORRUPT_PIXELS, f"{length / one:.3g} times the bytes of a frame for {px.frames}")
    if px.photometric == "YBR_FULL_422" and px.frames == 1:
        # Three samples a pixel, or rows of odd length that were filled up.
        more = one * 3 // 2, px.rows * (px.columns + px.columns % 2) * 2 * (px.bits_allocated // 8)
        if length >= more[0] or (px.columns % 2 and length >= more[1]):
            raise Refusal(Reason.CORRUPT_PIXELS, "more bytes than YBR_FULL_422 has")


_ITEM_GROUP = 0xFFFE
"""Delimiters, which some writers leave there."""


def _check_inflated(stream: BinaryIO, element: PixelElement) -> None:
    """Refuse a deflated data set that is too short, or goes on behind its pixels with no element.

    It has no checksum, and damage makes it longer or shorter.
    """
    if element.held < (element.length or 0):
        raise Refusal(Reason.CORRUPT_PIXELS, "the deflated data set is damaged")
    stream.seek(element.length or 0, io.SEEK_CUR)
    head = stream.read(6)
    stream.seek(element.offset)
    group, vr = int.from_bytes(head[:2], "little"), head[4:]
    # DataSetTrailingPadding is an element as well.
    is_element = group >= PIXEL_DATA >> 16 and (group == _ITEM_GROUP or (vr.isalpha() and vr.isupper()))
    if head.strip(b"\0") and not is_element:
        raise Refusal(Reason.CORRUPT_PIXELS, "the deflated data set is damaged")


def _fragments(stream: BinaryIO, limits: Limits) -> Iterator[bytes]:
    """The items of encapsulated pixel data (PS3.5 A.4), table of offsets first; a cut one is refused."""
    total = 0
    while len(head := stream.read(8)) == 8:
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == (0xFFFE, _SEQUENCE_DELIMITER):
            return
        if (group, element) != (0xFFFE, _ITEM):
            raise Refusal(Reason.CORRUPT_PIXELS, "no fragment where one has to be")
        total += length
        limits.check_bytes(total)
        fragment = stream.read(length)
        if len(fragment) < length:
            raise Refusal(Reason.CORRUPT_PIXELS, "the file ends within its pixel data")
        yield fragment


def _first_of_several(parsed: Parsed, px: PixelHeader, limits: Limits) -> bytes:
    """The first frame; where that is not whole, all fragments together, if they are one."""
    refusal: Refusal | None = None
    try:
        frame = _first_by_offsets(parsed, px, limits)
        if is_whole(frame, parsed.syntax, px):
            return frame
    except Refusal as raised:
        refusal = raised
    together = _together(parsed, limits)
    if is_whole(together, parsed.syntax, px):
        return together
    if refusal is not None:
        raise refusal
    return frame


def _together(parsed: Parsed, limits: Limits) -> bytes:
    """All fragments; nothing if a second code stream begins among them."""
    parsed.stream.seek(parsed.element.offset if parsed.element else 0)
    fragments = _fragments(parsed.stream, limits)
    next(fragments, None)
    first = next(fragments, b"")
    others = list(fragments)
    return b"" if any(other[:2] == first[:2] for other in others) else first + b"".join(others)


def _first_by_offsets(parsed: Parsed, px: PixelHeader, limits: Limits) -> bytes:
    tables = [parsed.tags.raw(k) for k in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    extended = (tables[0], tables[1]) if all(isinstance(t, bytes) for t in tables) else None
    try:
        frame: bytes = next(
            generate_frames(parsed.stream, number_of_frames=px.frames, extended_offsets=extended), b""
        )
    except MemoryError:
        raise
    except Exception as error:  # the seam: broken offset tables surface as any of several types
        raise Refusal(Reason.CORRUPT_PIXELS, f"{type(error).__name__}: {error}"[:200]) from error
    limits.check_bytes(len(frame))
    return frame


def samples_from_frame(frame: Frame, parsed: Parsed, px: PixelHeader) -> tuple[NDArray[Any], str, list[Warn]]:
    """Integers [H, W] or [H, W, 3] as stored, the decoder's name, and warnings of what was mended."""
    if isinstance(frame, bytes):
        return decode_frame(frame, parsed.syntax, px)
    frame, is_short = _filled(frame, px)
    samples = _cells(frame, parsed, px)
    element = parsed.element
    warnings = [Warn.PIXELS_SHORT] if is_short else []
    if parsed.syntax != DeflatedExplicitVRLittleEndian:
        last = samples if samples.ndim == 2 else samples[..., -1]
        warnings += check_copied(last, partial(_breaks_off, parsed, px))
    if element and element.length:
        more = min(element.length, element.held) - px.frames * frame_bytes(px)
        if more >= frame_bytes(px) // px.rows:
            warnings.append(Warn.PIXELS_LONG)
    return samples, "numpy", warnings


def _breaks_off(parsed: Parsed, px: PixelHeader, pixel: int) -> bool:
    """Whether a block of the file ends at this pixel, and all pixel data behind the frame are zeros."""
    element = parsed.element
    size = frame_bytes(px) // (px.rows * px.columns)
    if element is None or px.planar or not ends_block(element.offset + pixel * size, size):
        return False
    left = min(element.length or 0, element.held) - frame_bytes(px)
    parsed.stream.seek(element.offset + frame_bytes(px))
    while left > 0 and (chunk := parsed.stream.read(min(left, _CHUNK))):
        if chunk.strip(b"\0"):
            return False
        left -= len(chunk)
    return True


def _cells(frame: NDArray[np.uint8], parsed: Parsed, px: PixelHeader) -> NDArray[Any]:
    """An uncompressed frame's samples, uint8 | uint16 [H, W] or [H, W, 3]."""
    is_wordwise = px.bits_allocated == 16 or (parsed.element is not None and parsed.element.vr == "OW")
    if parsed.big_endian_pixels and is_wordwise:
        # Words are swapped; pairs of 8-bit samples are words too if they were written as OW (PS3.5 A.3).
        even = np.append(frame, np.uint8(0)) if len(frame) % 2 else frame
        words = even.view(">u2").astype("<u2")
        flat = words.view(f"<u{px.bits_allocated // 8}")[: len(frame) * 8 // px.bits_allocated]
    else:
        flat = frame.view(f"<u{px.bits_allocated // 8}")
    if px.photometric == "YBR_FULL_422":
        # Y Y Cb Cr for two pixels, which run on over the ends of rows; an odd last one has no chroma.
        neutral = flat.dtype.type(1 << (px.bits_allocated - 1))
        quads = np.append(flat, [neutral] * (-len(flat) % 4)).astype(flat.dtype, copy=False).reshape(-1, 4)
        count = px.rows * px.columns
        luma = quads[:, :2].reshape(-1)[:count].reshape(px.rows, px.columns)
        chroma = np.repeat(quads[:, 2:], 2, axis=0)[:count].reshape(px.rows, px.columns, 2)
        return np.dstack([luma, chroma])
    if px.samples == 1:
        return flat.reshape(px.rows, px.columns)
    if px.planar:
        return np.moveaxis(flat.reshape(px.samples, px.rows, px.columns), 0, -1)
    return flat.reshape(px.rows, px.columns, px.samples)


def _filled(frame: NDArray[np.uint8], px: PixelHeader) -> tuple[NDArray[np.uint8], bool]:
    """A frame that ends less than a row early goes on as the row above; half a film is no film."""
    expected = frame_bytes(px)
    row = expected // px.rows
    missing = expected - len(frame)
    if missing == 0:
        return frame, False
    if missing >= row:
        raise Refusal(Reason.CORRUPT_PIXELS, f"the pixel data end early: {len(frame)} of {expected} bytes")
    return np.append(frame, frame[len(frame) - row : len(frame) - row + missing]), True


def signs_borne_out(samples: NDArray[Any], syntax: str, px: PixelHeader) -> tuple[PixelHeader, list[Warn]]:
    """The header with the sign that the values [H, W] have, and `sign_contradicted` if it lied.

    Read the wrong way, values that cross half the range leap from one end to the other. Where neither way is
    smoother for certain, the header's stands.
    """
    if samples.dtype.kind == "i" and not px.signed and int(samples.min()) < 0:
        return px, [Warn.SIGN_CONTRADICTED]
    # Two's complement of 8 bits is not told to be unsigned; captured screens are black and white.
    if samples.dtype.kind != "u" or samples.ndim != 2 or not (px.signed or px.bits_stored > 8):
        return px, []
    is_cell = syntax in UNCOMPRESSED or syntax == RLELossless
    shift = px.high_bit + 1 - px.bits_stored if is_cell else 0
    # Rows lie together in memory, and a few settle it nearly always.
    if not _speaks_against(px, [_stored(part[::4], shift, px) for part in _some_lines(samples)[:1]]):
        return px, []
    lines = [part.astype(np.int32) >> shift for part in _some_lines(samples)]
    stored = [_stored(part, shift, px) for part in _some_lines(samples)]
    if not px.signed and _steps(lines) < _steps(stored):
        return px, []  # the film has more bits than the header says
    unsigned, signed = _smooth_crossings(stored, px.bits_stored)
    told, other = (signed, unsigned) if px.signed else (unsigned, signed)
    if other <= told:
        return px, []
    is_certain = other > _MANY_TIMES * told + _LINES  # one a line, at least
    return replace(px, signed=px.signed != is_certain), [Warn.SIGN_CONTRADICTED]


def leaps(values: NDArray[Any], px: PixelHeader) -> bool:
    """Whether a picture of fewer pixels [H, W] may have a contradicted sign: it has smoothed what breaks off.

    A border has two such edges a row. All pixels tell for certain.
    """
    rows = _some_lines(values)[0].astype(np.int32)
    steps = np.abs(np.diff(rows, axis=1))
    return px.bits_stored > 8 and int(np.count_nonzero(steps > _LEAP * (1 << px.bits_stored))) > 2 * len(rows)


def _stored(part: NDArray[Any], shift: int, px: PixelHeader) -> NDArray[np.int32]:
    return (part.astype(np.int32) >> shift) & ((1 << px.bits_stored) - 1)


def _speaks_against(px: PixelHeader, parts: list[NDArray[Any]]) -> bool:
    """Whether lines are smoother with the other sign than with the header's."""
    unsigned, signed = _smooth_crossings(parts, px.bits_stored)
    return unsigned > signed if px.signed else signed > unsigned


_LEAP = 3 / 8
"""Of the range."""
_LINES = 64
_MANY_TIMES = 4
_SMALL = 8
"""The part of the range that a step within a picture does not reach; edges of borders are larger."""


def _some_lines(values: NDArray[Any]) -> list[NDArray[Any]]:
    """About so many rows, and as many columns [lines, length]: they say what a picture is like."""
    height, width = values.shape
    return [values[:: -(-height // _LINES)], values[:, :: -(-width // _LINES)].T]


def _steps(parts: list[NDArray[Any]]) -> int:
    """The sum of all steps from one pixel to the next along lines."""
    return sum(int(np.abs(np.diff(part, axis=1)).sum(dtype=np.int64)) for part in parts)


def _smooth_crossings(parts: list[NDArray[Any]], bits: int) -> tuple[int, int]:
    """Steps across half the range that are small if values are unsigned, and that are if they are signed."""
    half = 1 << (bits - 1)
    counts = [0, 0]
    for wide in parts:
        # Borders lie at the ends of the range, whichever these are.
        inner = ((wide + 1) & (half - 1)) > 1
        before, behind = wide[:, :-1], wide[:, 1:]
        crossing = ((before ^ behind) >= half) & inner[:, :-1] & inner[:, 1:]
        steps = np.abs(before[crossing] - behind[crossing])
        counts[0] += int(np.count_nonzero(steps < 2 * half // _SMALL))
        counts[1] += int(np.count_nonzero(2 * half - steps < 2 * half // _SMALL))
    return counts[0], counts[1]


def stored_values(
    samples: NDArray[Any], syntax: str, px: PixelHeader
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], PixelHeader]:
    """One sample per pixel as `screen.film.Pixels` wants it: the stored bits alone, signed values shifted up.

    Cells may carry overlays or junk around BitsStored (PS3.5 8.1.1), which go; but where values go on
    smoothly beyond it, the header is wrong, and comes back mended.
    """
    if samples.dtype.kind not in "iu" or samples.dtype.itemsize > 2:
        raise Refusal(Reason.UNSUPPORTED_PIXELS, f"samples of type {samples.dtype}")
    if syntax in UNCOMPRESSED or syntax == RLELossless:
        cell = samples.dtype.type
        shift = px.high_bit + 1 - px.bits_stored
        values = samples >> cell(shift) if shift else samples
        top = (1 << px.bits_stored) - 1
        # Looking costs a third of a copy, and most cells carry nothing else.
        if px.bits_stored < 8 * samples.itemsize and int(values.max()) > top:
            if px.signed or shift or _has_junk(values, px.bits_stored):
                values = values & cell(top)
            elif _is_a_handful(values, top):
                values = np.minimum(values, cell(top))
            else:
                px = replace(px, bits_stored=int(values.max()).bit_length())
        return values ^ cell(1 << (px.bits_stored - 1)) if px.signed else values, px
    return _whole_values(samples, px)


def _whole_values(
    samples: NDArray[Any], px: PixelHeader
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], PixelHeader]:
    low, high = int(samples.min()) if samples.dtype.kind == "i" or px.signed else 0, int(samples.max())
    wide = samples.astype(np.int32) if px.signed or low < 0 else samples
    bits = px.bits_stored
    if px.signed and low >= 0:
        wide = _with_signs(samples, high, bits)
        low, high = int(wide.min()), int(wide.max())
    if not px.signed and low < 0:
        wide = _without_signs(samples, bits)
    elif not px.signed and high >> bits and _has_junk(samples, bits):
        wide = samples & samples.dtype.type((1 << bits) - 1)
    elif not px.signed and high >> bits and _is_a_handful(samples, (1 << bits) - 1):
        wide = np.minimum(samples, samples.dtype.type((1 << bits) - 1))
    if px.signed:
        bits = max(bits, max(high, -low - 1).bit_length() + 1)
        wide = wide + (1 << (bits - 1))
    else:
        bits = max(bits, int(wide.max()).bit_length())
    values = np.ascontiguousarray(wide.astype(np.uint8 if bits <= 8 else np.uint16, copy=False))
    return values, replace(px, bits_stored=bits)


def _has_junk(values: NDArray[Any], bits: int) -> bool:
    """Whether a picture is smoother without what stands above its stored bits."""
    return _roughness(values & values.dtype.type((1 << bits) - 1)) < _roughness(values)


_HANDFUL = 1000


def _is_a_handful(values: NDArray[Any], top: int) -> bool:
    """Whether so few pixels go beyond it that the film ends there: dead pixels of a detector."""
    return int(np.count_nonzero(values > top)) * _HANDFUL <= values.size


def _roughness(values: NDArray[Any]) -> int:
    """The sum of all steps from one pixel to the next along every fourth row and column."""
    return _steps([values[::4].astype(np.int32), values[:, ::4].T.astype(np.int32)])


def _without_signs(samples: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """Unsigned values that a code stream calls signed: two's complement, or shifted by half the range.

    A picture is smooth one way alone. Raises Refusal where both ways are alike.
    """
    half = 1 << (bits - 1)
    wide = samples.astype(np.int32)
    wrapped, shifted = wide & (2 * half - 1), wide + half
    rough, other = sorted((_roughness(wrapped), _roughness(shifted)))
    if int(wide.min()) < -half or int(wide.max()) >= half or rough * _CERTAIN >= other:
        raise Refusal(Reason.CORRUPT_PIXELS, "negative values where PixelRepresentation says unsigned")
    return wrapped if rough == _roughness(wrapped) else shifted


def _with_signs(samples: NDArray[Any], high: int, bits: int) -> NDArray[np.int32]:
    """Two's complement that a codec took for unsigned: in the stored bits, or sign-extended to its cell."""
    if high >> bits == 0:
        wide = samples.astype(np.int32)
        return wide - ((wide >> (bits - 1)) << bits)
    wide = samples.view(f"i{samples.dtype.itemsize}").astype(np.int32)
    if int(wide.min()) < -(1 << (bits - 1)) or int(wide.max()) >> (bits - 1):
        raise Refusal(Reason.CORRUPT_PIXELS, "the decoded values have more bits than BitsStored")
    return wide
