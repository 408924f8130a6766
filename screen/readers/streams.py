"""What has to be known of an encoded frame before it is decoded: headers, lengths, whether its end is there.

JPEG 2000 and HTJ2K code streams by ITU-T T.800, annex A; JPEG by ITU-T T.81, B.1.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from screen.codes import Reason
from screen.readers.limits import Refusal

_START, _SIZE = b"\xff\x4f", 0xFF51
_CODING, _TILE_PART, _DATA, _END = 0xFF52, 0xFF90, 0xFF93, b"\xff\xd9"
_TILE_PART_START = struct.pack(">HH", _TILE_PART, 10)
# COC, RGN, QCC, POC, PPM, PPT: components, regions or orders of their own, headers that lie elsewhere.
_UNUSUAL = frozenset({0xFF53, 0xFF5D, 0xFF5E, 0xFF5F, 0xFF60, 0xFF61})


ZEROS = bytes(2048)
"""More zeros than stand together in data that are compressed well: a hole."""


@dataclass(frozen=True, slots=True)
class PlainCodestream:
    """One component, one tile, no offsets, and every tile-part there up to the end marker.

    bits: of its values. levels: of decomposition, so that 2^levels is the strongest reduction.
    """

    bits: int
    signed: bool
    levels: int


def codestream_size(data: bytes) -> tuple[int, int]:
    """Rows and columns from SIZ (A.5.1), possibly behind JP2 boxes. Raises struct.error, Refusal."""
    start = _START + struct.pack(">H", _SIZE)
    at = data.index(start) if start in data else len(data)
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(
        ">8I", data, at + 8
    )
    # B.3; OpenJPH counts for hours if the first tile begins behind the picture.
    if not (tile_left <= left < tile_left + tile_width and tile_top <= top < tile_top + tile_height):
        raise Refusal(Reason.CORRUPT_PIXELS, "the code stream's tiles are not where its picture is")
    return bottom - top, right - left


def has_end(data: bytes) -> bool:
    """Whether the end marker is there, behind it nothing but padding."""
    tail = data[-64:].rstrip(b"\0")
    return (tail if len(tail) > 1 else data.rstrip(b"\0")).endswith(_END)


def tile_parts(data: bytes) -> list[tuple[int, int]]:
    """First byte and end of each tile-part's packets, if as many bytes are there as it says (A.4.2).

    A stream that was cut and closed with an end marker passes for a whole one otherwise.
    Raises struct.error, IndexError, ValueError, Refusal.
    """
    at = data.index(_START + struct.pack(">H", _SIZE)) + len(_START)
    tiles, told, seen = 0, dict[int, int](), dict[int, int]()
    found: list[tuple[int, int]] = []
    while True:
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _SIZE:
            tiles = _tiles(data, at)
        if marker == _TILE_PART:
            break
        at += 2 + length
    while data.startswith(_TILE_PART_START, at):
        tile, length, _, count = struct.unpack_from(">HIBB", data, at + 4)
        seen[tile] = seen.get(tile, 0) + 1
        if count:
            told[tile] = count
        # The last one may leave its length open, and goes on up to the end marker.
        end = at + length if length else data.rindex(_END)
        if end > len(data):
            raise Refusal(Reason.CORRUPT_PIXELS, "the code stream ends within a tile-part")
        packets = at + 12
        while data[packets : packets + 2] != struct.pack(">H", _DATA):
            if packets >= end:
                raise Refusal(Reason.CORRUPT_PIXELS, "a tile-part of the code stream has no data")
            packets += 2 + max(2, *struct.unpack_from(">H", data, packets + 2))
        found.append((packets + 2, end))
        at = end
    if not data.startswith(_END, at):
        raise Refusal(Reason.CORRUPT_PIXELS, "a tile-part has another length than it says")
    if len(seen) < tiles or any(seen[tile] < count for tile, count in told.items()):
        raise Refusal(Reason.CORRUPT_PIXELS, "tile-parts of the code stream are missing")
    return found


_PACKET_START = b"\xff\x91\0\x04"
_NUMBERED = re.compile(rb"\xff\x91\x00\x04..", re.DOTALL)
_LOST = bytes(4000)
"""Nearly a block of a disk. Fewer may be empty packets of many layers, a byte each."""


def check_packets(data: bytes, parts: list[tuple[int, int]]) -> None:
    """Refuse bytes that no JPEG 2000 encoder writes: its decoder makes a picture of whatever it gets."""
    if parts and data.find(_PACKET_START, parts[0][0]) >= 0:
        # Numbers of packets may be any bytes.
        data = _NUMBERED.sub(b"\1\1\1\1\1\1", data)
    view = np.frombuffer(data, np.uint8)
    for start, end in parts:
        packets = view[start:end]
        # Coded data hold nothing above FF8F (B.10.1, C.3), and packets two markers of their own: FF91, FF92.
        if ((packets[1:] > 0x92) & (packets[:-1] == 0xFF)).any() or data.find(_LOST, start, end) >= 0:
            raise Refusal(Reason.CORRUPT_PIXELS, "the code stream holds what no encoder writes")


def _tiles(data: bytes, at: int) -> int:
    right, bottom, _, _, width, height, left, top = struct.unpack_from(">8I", data, at + 6)
    if not (width and height):
        raise Refusal(Reason.CORRUPT_PIXELS, "the code stream's tiles are empty")
    return int(-(-(right - left) // width) * -(-(bottom - top) // height))


def plain_codestream(data: bytes) -> PlainCodestream | None:
    """None for everything less plain than `PlainCodestream` says: JP2 boxes, other encodings, a cut end."""
    try:
        return _plain(data)
    except (struct.error, IndexError):
        return None


def _plain(data: bytes) -> PlainCodestream | None:
    if not data.startswith(_START):
        return None
    depth = levels = None
    at = len(_START)
    while True:
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _SIZE:
            depth = _one_plain_tile(data, at)
        elif marker == _CODING:
            levels = data[at + 9]
        elif marker == _TILE_PART:
            break
        elif marker in _UNUSUAL or marker < 0xFF00:
            return None
        at += 2 + length
    if depth is None or levels is None or not _is_whole(data, at):
        return None
    return PlainCodestream((depth & 0x7F) + 1, bool(depth & 0x80), levels)


def _one_plain_tile(data: bytes, at: int) -> int | None:
    """Ssiz of the only component; None if there are several components or tiles, offsets or subsampling."""
    width, height, left, top, tile_width, tile_height, tile_left, tile_top, components, depth, dx, dy = (
        struct.unpack_from(">8IH3B", data, at + 6)
    )
    is_plain = (
        not (left or top or tile_left or tile_top)
        and tile_width >= width
        and tile_height >= height
        and (components, dx, dy) == (1, 1, 1)
    )
    return depth if is_plain else None


def _is_whole(data: bytes, at: int) -> bool:
    """Whether tile-parts (A.4.2) follow each other from `at` to the end marker, none missing."""
    parts = told = 0
    while data[at : at + 2] != _END:
        marker, _, tile, length, index, count = struct.unpack_from(">HHHIBB", data, at)
        if (marker, tile, index) != (_TILE_PART, 0, parts) or length < 14:
            return False
        parts, told = parts + 1, count or told
        if not _is_plain_part(data, at + 12):
            return False
        at += length
    return parts > 0 and told in (0, parts) and not data[at + 2 :].strip(b"\0")


def _is_plain_part(data: bytes, at: int) -> bool:
    """Whether a tile-part's header changes nothing of the main header: packet lengths and comments alone."""
    while True:
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _DATA:
            return True
        if marker not in (0xFF58, 0xFF64):
            return False
        at += 2 + length


BASELINE = 0xC0
"""Process of a JPEG with 8 bits, Huffman codes and one pass over the picture."""
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# Each JPEG process has its own; C4, C8 and CC are tables. F7 is JPEG-LS.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """The frame header. process: the marker that it came under, `BASELINE` or another."""

    process: int
    bits: int
    rows: int
    columns: int
    samples: int


def marker_from(data: bytes, at: int) -> int:
    """Where the marker begins that has to be at `at`, behind fill bytes. Raises IndexError, Refusal."""
    while data[at] == 0xFF and data[at + 1] == 0xFF:
        at += 1
    if data[at] != 0xFF:
        raise Refusal(Reason.CORRUPT_HEADER, "no JPEG marker where one has to be")
    return at


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and payload of each segment up to the first scan. Raises IndexError, struct.error, Refusal."""
    at = 2
    while True:
        at = marker_from(data, at)
        marker = data[at + 1]
        if marker in (_END_OF_IMAGE, _START_OF_SCAN):
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)


def frame_header(marker: int, payload: bytes) -> JpegFrame | None:
    """The frame header, if this segment is one. Raises struct.error."""
    return JpegFrame(marker, *struct.unpack_from(">BHHB", payload)) if marker in _FRAME_HEADERS else None


def jpeg_frame(data: bytes) -> JpegFrame:
    """The first frame header of a JPEG or JPEG-LS stream. Raises IndexError, struct.error, Refusal."""
    for marker, payload in segments(data):
        frame = frame_header(marker, payload)
        if frame is not None:
            return frame
    raise IndexError("no frame header before the first scan")
