"""The little of JPEG's structure (ITU-T T.81, B.1) that has to be known before anything is decoded."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from screen.readers.refusal import Refusal
from screen.reasons import Reason

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


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and payload of each segment up to the first scan. Raises IndexError, struct.error, Refusal."""
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        if data[at] != 0xFF:
            raise Refusal(Reason.CORRUPT_HEADER, "no JPEG marker where one has to be")
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


def is_jpeg_complete(data: bytes) -> bool:
    """Whether the end marker is there: the last one, behind the last scan, for thumbnails have their own."""
    scan, end = bytes([0xFF, _START_OF_SCAN]), data.rfind(bytes([0xFF, _END_OF_IMAGE]))
    # One scan before it and none behind it: asking for the last one would search the whole stream.
    return 0 <= data.find(scan) < end and data.find(scan, end) < 0
