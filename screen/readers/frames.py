"""From the place of the pixel data to stored values: the first frame, decoded, masked, signs shifted."""

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

from screen.codes import Reason, Warn
from screen.readers.codecs import UNCOMPRESSED, decode_frame
from screen.readers.header import PixelHeader
from screen.readers.limits import Limits, PixelDigest, Refusal
from screen.readers.tags import PIXEL_DATA, Parsed

Frame = bytes | NDArray[np.uint8]
"""An encoded frame, or an uncompressed one as uint8 [bytes]."""

_CHUNK = 1 << 18
"""Bytes that are hashed while they are still in the processor's cache."""
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
    if parsed.syntax in UNCOMPRESSED:
        if element.length is None:
            raise Refusal(
                Reason.CORRUPT_PIXELS, "encapsulated pixel data under an uncompressed transfer syntax"
            )
        if px.photometric == "YBR_FULL_422":
            _check_subsampled(element.length, px)
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


def _check_subsampled(length: int, px: PixelHeader) -> None:
    """Refuse YBR_FULL_422 that is not: three samples a pixel, or rows of odd length that were filled up."""
    cell = px.bits_allocated // 8
    filled_up = px.rows * (px.columns + px.columns % 2) * 2 * cell
    whole = px.rows * px.columns * 3 * cell
    if px.frames == 1 and (length >= whole or (px.columns % 2 and length >= filled_up)):
        raise Refusal(Reason.CORRUPT_PIXELS, "more bytes than YBR_FULL_422 has")


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
    return _cells(frame, parsed, px), "numpy", [Warn.PIXELS_SHORT] if is_short else []


def _cells(frame: NDArray[np.uint8], parsed: Parsed, px: PixelHeader) -> NDArray[Any]:
    """An uncompressed frame's samples, uint8 | uint16 [H, W] or [H, W, 3]."""
    is_wordwise = px.bits_allocated == 16 or (parsed.element is not None and parsed.element.vr == "OW")
    if parsed.tags.big_endian and is_wordwise:
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


def stored_values(
    samples: NDArray[Any], syntax: str, px: PixelHeader
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], PixelHeader]:
    """One sample per pixel as `screen.film.Pixels` wants it: the stored bits alone, signed values shifted up.

    Uncompressed and RLE cells may carry overlays or junk around BitsStored (PS3.5 8.1.1), which go. A codec's
    values are whole: if they need more bits than BitsStored, the header is wrong, and comes back mended.
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
            values = values & cell(top)
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
        raise Refusal(Reason.CORRUPT_PIXELS, "negative values where PixelRepresentation says unsigned")
    if px.signed:
        bits = max(bits, max(high, -low - 1).bit_length() + 1)
        wide = wide + (1 << (bits - 1))
    else:
        bits = max(bits, high.bit_length())
    values = np.ascontiguousarray(wide.astype(np.uint8 if bits <= 8 else np.uint16, copy=False))
    return values, replace(px, bits_stored=bits)


def _with_signs(samples: NDArray[Any], high: int, bits: int) -> NDArray[np.int32]:
    """Two's complement that a codec took for unsigned: in the stored bits, or sign-extended to its cell."""
    if high >> bits == 0:
        wide = samples.astype(np.int32)
        return wide - ((wide >> (bits - 1)) << bits)
    wide = samples.view(f"i{samples.dtype.itemsize}").astype(np.int32)
    if int(wide.min()) < -(1 << (bits - 1)) or int(wide.max()) >> (bits - 1):
        raise Refusal(Reason.CORRUPT_PIXELS, "the decoded values have more bits than BitsStored")
    return wide
