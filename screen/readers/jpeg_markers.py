"""Where the parts of a JPEG stream lie: its markers, from the first to the end marker (ITU-T T.81, B)."""

import re
import struct
from dataclasses import dataclass

from screen.codes import Reason
from screen.readers.limits import Refusal
from screen.readers.streams import JpegFrame, frame_header, marker_from

PROGRESSIVE, LOSSLESS = 0xC2, 0xC3
"""Processes, as `JpegFrame` has them."""
HUFFMAN_TABLES, START_OF_SCAN, RESTART_INTERVAL = 0xC4, 0xDA, 0xDD
END_OF_IMAGE = b"\xff\xd9"
_RESTARTS = frozenset(range(0xD0, 0xD8))
_END_OF_IMAGE = 0xD9
# Tables, intervals, lines, comments and applications' own may stand between scans, nothing else (T.81 B.2.4).
_BETWEEN_SCANS = frozenset({0xC4, 0xCC, 0xDA, 0xD9, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE})
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Jpeg:
    """Where the parts of a stream lie.

    segments: marker, first byte and end of each but the scans' data. scans: first byte and end of
    entropy-coded data. restarts: places of the markers in them. interval: in MCUs; 0 for none.
    """

    frame: JpegFrame
    segments: tuple[tuple[int, int, int], ...]
    scans: tuple[tuple[int, int], ...]
    restarts: tuple[int, ...]
    interval: int


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
    restarts: list[int] = []
    interval, at = 0, 2
    while True:
        at = marker_from(data, at)
        marker = data[at + 1]
        if scans and marker not in _BETWEEN_SCANS:
            raise Refusal(Reason.CORRUPT_PIXELS, f"marker {marker:02X} within the JPEG's pixels")
        if marker == _END_OF_IMAGE:
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + max(length, 2)
        segments.append((marker, at, end))
        frame = frame or frame_header(marker, data[at + 4 : end])
        if marker == RESTART_INTERVAL:
            (interval,) = struct.unpack_from(">H", data, at + 4)
        at = end
        if marker == START_OF_SCAN:
            at = _end_of_scan(data, end, restarts)
            scans.append((end, at))
    if frame is None or not scans:
        raise Refusal(Reason.CORRUPT_PIXELS, "the JPEG ends before its first scan")
    return Jpeg(frame, tuple(segments), tuple(scans), tuple(restarts), interval)


def _end_of_scan(data: bytes, start: int, restarts: list[int]) -> int:
    """The place of the marker that ends a scan; `restarts` gets those in it. Raises IndexError, Refusal."""
    expected = 0
    for found in _MARKER.finditer(data, start):
        marker = data[found.start() + 1]
        if marker not in _RESTARTS:
            return found.start()
        if marker & 7 != expected:
            raise Refusal(Reason.CORRUPT_PIXELS, "a restart marker of the JPEG is missing")
        expected = (expected + 1) & 7
        restarts.append(found.start())
    raise IndexError("no marker behind the scan")
