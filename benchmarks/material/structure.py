"""Where the parts of an image file lie, however damaged: DICOM elements, fragments, segments of streams."""

import struct
from dataclasses import dataclass

LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations whose length has four bytes (PS3.5 7.1.2)."""
ITEM = 0xFFFEE000
PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
_MOST_ELEMENTS = 400


@dataclass(frozen=True, slots=True)
class Element:
    """data[start:end] is the element, data[value:end] its value. vr: empty if implicit, or an item."""

    tag: int
    vr: bytes
    start: int
    value: int
    end: int
    order: str

    def with_value(self, data: bytes, value: bytes, length: int | None = None) -> bytes:
        """The file with another value here, its length told truly, or as `length`."""
        length = len(value) if length is None else length
        wide = not self.vr or self.vr in LONG_VRS
        told = struct.pack(f"{self.order}{'I' if wide else 'H'}", length & (0xFFFFFFFF if wide else 0xFFFF))
        return data[: self.value - len(told)] + told + value + data[self.end :]


def elements(data: bytes) -> list[Element]:
    """All elements, those in sequences and the fragments of pixel data among them, as far as they go."""
    found: list[Element] = []
    at = 132 if data[128:132] == b"DICM" else 0
    in_pixels = False
    order = "<"
    while at + 8 <= len(data) and len(found) < _MOST_ELEMENTS:
        if order == "<" and data[at : at + 1] == b"\0" and data[at + 1 : at + 2] == b"\x08":
            order = ">"
        group, number = struct.unpack_from(f"{order}HH", data, at)
        tag = group << 16 | number
        vr = data[at + 4 : at + 6] if group != 0xFFFE else b""
        if not (vr.isalpha() and vr.isupper()):
            vr = b""
        if not vr:
            value, length = at + 8, struct.unpack_from(f"{order}I", data, at + 4)[0]
        elif vr in LONG_VRS:
            if at + 12 > len(data):
                break
            value, length = at + 12, struct.unpack_from(f"{order}I", data, at + 8)[0]
        else:
            value, length = at + 8, struct.unpack_from(f"{order}H", data, at + 6)[0]
        in_pixels = in_pixels or tag == PIXEL_DATA
        # Sequences and items are entered, so that what is in them is found as well.
        enters = length == UNDEFINED or vr == b"SQ" or (group == 0xFFFE and not in_pixels)
        end = value if enters else min(value + length, len(data))
        found.append(Element(tag, vr, at, value, end, order))
        at = end
    return found


def fragments(data: bytes) -> list[Element]:
    """The items of encapsulated pixel data, the table of offsets first."""
    found = elements(data)
    pixels = next((at for at, e in enumerate(found) if e.tag == PIXEL_DATA), len(found))
    return [e for e in found[pixels:] if e.tag == ITEM]


def as_item(value: bytes) -> bytes:
    """A fragment, or the table of offsets."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
_LAST_MARKERS = (0xDA, 0x93, 0xD9)


def segments(data: bytes) -> list[tuple[int, int]]:
    """Marker segments of the first JPEG, JPEG-LS or JPEG 2000 stream: places of 0xFF and of their ends."""
    at = min((place for place in map(data.find, _STARTS) if place >= 0), default=-1)
    if at < 0:
        return []
    at += 2
    found: list[tuple[int, int]] = []
    while at + 4 <= len(data) and data[at] == 0xFF and len(found) < 200:
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = min(at + 2 + length, len(data))
        found.append((at, end))
        if data[at + 1] in _LAST_MARKERS or length < 2:
            break
        at = end
    return found
