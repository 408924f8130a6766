"""TIFF directories (TIFF 6.0, section 2), and whether what they say of compressed pixels is there.

libtiff goes on where a strip cannot be inflated, over whatever lay in memory.
"""

import struct
import zlib

import imagecodecs

from screen.codes import Reason
from screen.readers.jpeg import samples_from_jpeg
from screen.readers.jpeg_markers import END_OF_IMAGE
from screen.readers.limits import Refusal

TiffTags = dict[int, tuple[int, ...]]
"""Integer values by tag; of a rational one, its numerator and denominator."""

_TYPES = {1: "B", 3: "H", 4: "I", 5: "I", 7: "B"}
_RATIONAL = 5
_MAX_ENTRIES = 512
_STRIPS, _TILES = (273, 279), (324, 325)
"""Tags of the places of strips or tiles, and of their lengths in bytes."""
_LONG = frozenset({320, 347, *_STRIPS, *_TILES})
"""Tags that may have many values: these, the palette, and JPEG's tables."""
_DEFLATE, _PACKBITS, _JPEG = frozenset({8, 32946}), 32773, 7
_NOTICED = frozenset({1, 5})
"""Compressions that need no look: none, where nothing can be told, and LZW, of which libtiff complains."""
_JPEG_TABLES, _YCBCR = 347, 6


def tiff_directories(data: bytes, most: int) -> list[TiffTags]:
    """Integer tags of each directory, at most so many. The first has to be whole.

    Raises struct.error, KeyError, Refusal.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}[data[:4]]
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    found: list[TiffTags] = []
    while len(found) < most and (at or not found):
        try:
            tags, at = _directory(data, order, at)
        except (struct.error, Refusal):
            if not found:
                raise
            break
        found.append(tags)
    return found


def _directory(data: bytes, order: str, at: int) -> tuple[TiffTags, int]:
    """The directory at this place, and where the next one is; 0: nowhere."""
    (count,) = struct.unpack_from(f"{order}H", data, at)
    if count > _MAX_ENTRIES:
        raise Refusal(Reason.CORRUPT_HEADER, "more TIFF tags than a picture has")
    tags: TiffTags = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, n = struct.unpack_from(f"{order}HHI", data, entry)
        letter = _TYPES.get(kind)
        if letter is None or not 0 < n <= 3 * 65536:
            continue
        n *= 2 if kind == _RATIONAL else 1
        size = n * struct.calcsize(letter)
        where = entry + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, entry + 8)[0]
        if where + size <= len(data) and (n <= 16 or tag in _LONG):
            tags[tag] = struct.unpack_from(f"{order}{n}{letter}", data, where)
    (following,) = struct.unpack_from(f"{order}I", data, at + 2 + 12 * count)
    return tags, following


def check_segments(data: bytes, page: int) -> bool:
    """Whether damage in a page's strips or tiles is noticed: here, or by libtiff.

    They are inflated, and their lengths compared with the picture's; its size has been checked before.
    Raises struct.error, Refusal.
    """
    tags = tiff_directories(data, page + 1)[page]
    compression = tags.get(259, (1,))[0]
    places, lengths = (tags.get(tag, ()) for tag in (_TILES if _TILES[0] in tags else _STRIPS))
    # What is left out is for libtiff to find; it may not be able to.
    segments = [data[at : at + length] for at, length in zip(places, lengths, strict=False)]
    if compression in _DEFLATE or compression == _PACKBITS:
        sizes, most = _sizes(tags)
        is_whole = all(
            _is_whole(segment, compression, sizes[index % len(sizes)], most)
            for index, segment in enumerate(segments)
        )
    elif compression == _JPEG:
        tables = bytes(tags.get(_JPEG_TABLES, b""))
        is_whole = all(_is_whole_jpeg(tables, segment) for segment in segments)
    else:
        return compression in _NOTICED
    if not is_whole:
        raise Refusal(Reason.CORRUPT_PIXELS, "a strip or tile of the TIFF is damaged")
    return True


def _sizes(tags: TiffTags) -> tuple[list[int], int]:
    """The least bytes of each of a plane's strips or tiles, uncompressed, and the most that one may have."""
    rows, columns = tags[257][0], tags[256][0]
    samples = tags.get(277, (1,))[0] if tags.get(284, (1,))[0] == 1 else 1
    sample_bits = samples * tags.get(258, (1,))[0]
    if _TILES[0] in tags:
        sizes = [tags[323][0] * -(-tags[322][0] * sample_bits // 8)]
    else:
        height = max(1, min(tags.get(278, (rows,))[0] or rows, rows))
        line = -(-columns * sample_bits // 8)
        sizes = [min(height, rows - top) * line for top in range(0, rows, height)]
    # Subsampled colours need fewer; the last strip may be filled up.
    return [0] * len(sizes) if tags[262][0] == _YCBCR else sizes, max(sizes) + _PADDING


def _is_whole(segment: bytes, compression: int, least: int, most: int) -> bool:
    try:
        if compression == _PACKBITS:
            length = len(imagecodecs.packbits_decode(segment, out=most))
            return least <= length <= least + _PADDING or length >= most - _PADDING or not least
        # libtiff garbles a last strip that was filled up.
        inflater = zlib.decompressobj()
        inflated = len(inflater.decompress(segment, (least or most) + _PADDING))
    except (zlib.error, RuntimeError):  # as imagecodecs' own is
        return False
    # Checked at its end: everything that was inflated agrees with the checksum.
    return inflater.eof and inflated >= least


def _is_whole_jpeg(tables: bytes, segment: bytes) -> bool:
    """Whether a strip or tile, which may share its tables with others (TIFF technical note 2), is whole."""
    if tables.endswith(END_OF_IMAGE) and segment.startswith(b"\xff\xd8"):
        segment = tables[:-2] + segment[2:]
    try:
        samples_from_jpeg(segment)
    except Refusal:
        return False
    return True


_PADDING = 2
