"""TIFF directories (TIFF 6.0, section 2), and whether what they say of compressed pixels is there.

libtiff goes on where a strip cannot be inflated, over whatever lay in memory.
"""

import struct
import zlib

import imagecodecs

from screen.codes import Reason
from screen.readers.limits import Refusal

TiffTags = dict[int, tuple[int, ...]]
"""Integer values by tag; of a rational one, its numerator and denominator."""

_TYPES = {1: "B", 3: "H", 4: "I", 5: "I"}
_RATIONAL = 5
_MAX_ENTRIES = 512
_STRIPS, _TILES = (273, 279), (324, 325)
"""Tags of the places of strips or tiles, and of their lengths in bytes."""
_LONG = frozenset({320, *_STRIPS, *_TILES})
"""Tags that may have many values: these, and the palette."""
_DEFLATE, _PACKBITS = frozenset({8, 32946}), 32773


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


def check_segments(data: bytes, page: int) -> None:
    """Inflate a page's strips or tiles, and compare their lengths with the picture's.

    Its size has been checked before. Raises struct.error, KeyError, Refusal.
    """
    tags = tiff_directories(data, page + 1)[page]
    compression = tags.get(259, (1,))[0]
    if compression not in _DEFLATE and compression != _PACKBITS:
        return
    places, lengths = (tags[tag] for tag in (_TILES if _TILES[0] in tags else _STRIPS))
    sizes = _sizes(tags)
    for index, (at, length) in enumerate(zip(places, lengths, strict=False)):
        size = sizes[index % len(sizes)]
        if not _is_whole(data[at : at + length], compression, size):
            raise Refusal(Reason.CORRUPT_PIXELS, "a strip or tile of the TIFF is damaged")


def _sizes(tags: TiffTags) -> list[int]:
    """Bytes of a plane's strips or tiles, uncompressed. A film with subsampled colours has fewer."""
    rows, columns = tags[257][0], tags[256][0]
    samples = tags.get(277, (1,))[0] if tags.get(284, (1,))[0] == 1 else 1
    sample_bits = samples * tags.get(258, (1,))[0]
    if _TILES[0] in tags:
        return [tags[323][0] * -(-tags[322][0] * sample_bits // 8)]
    height = max(1, min(tags.get(278, (rows,))[0], rows))
    line = -(-columns * sample_bits // 8)
    return [min(height, rows - top) * line for top in range(0, rows, height)]


def _is_whole(segment: bytes, compression: int, size: int) -> bool:
    try:
        if compression == _PACKBITS:
            return size <= len(imagecodecs.packbits_decode(segment, out=size + _PADDING)) <= size + _PADDING
        inflater = zlib.decompressobj()
        inflated = len(inflater.decompress(segment, size + _PADDING))
    except (zlib.error, imagecodecs.ImcdError):
        return False
    # Checked at its end: everything that was inflated agrees with the checksum.
    return inflater.eof and inflated >= size


_PADDING = 2
