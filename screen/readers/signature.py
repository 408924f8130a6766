"""What a file is by its first bytes; names and extensions say nothing in a hospital's export folder."""

import struct
from enum import Enum, auto

HEAD_BYTES = 256
"""As many of a file's first bytes as `kind_from_head` wants to see."""


class Kind(Enum):
    """What a reader has to know to choose itself."""

    DICOM = auto()
    DICOM_BARE = auto()
    """Looks like DICOM elements without preamble and `DICM`."""
    JPEG = auto()
    PNG = auto()
    TIFF = auto()
    WEBP = auto()
    OTHER_IMAGE = auto()
    """A picture in a format that nobody stores radiographs in, or that is not read here."""
    NO_IMAGE = auto()


_OTHER_IMAGES = (
    b"GIF87a",
    b"GIF89a",
    b"\xff\x4f\xff\x51",  # JPEG 2000 code stream
    b"\x00\x00\x00\x0cjP  ",  # JP2
    b"\x00\x00\x00\x0cJXL ",
    b"\xff\x0a",  # JPEG XL code stream
    b"II+\x00",  # BigTIFF
    b"MM\x00+",
)
_HEIF_BRANDS = (b"heic", b"heix", b"avif", b"mif1")


def kind_from_head(head: bytes) -> Kind:
    """The kind of a file from its first `HEAD_BYTES` bytes (fewer if it is shorter)."""
    if head[128:132] == b"DICM":
        return Kind.DICOM
    if head.startswith(b"\xff\xd8\xff"):
        return Kind.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind.PNG
    if head.startswith((b"II*\x00", b"MM\x00*")):
        return Kind.TIFF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind.WEBP
    if _is_bare_dicom(head):
        return Kind.DICOM_BARE
    is_bmp = head[:2] == b"BM" and head[6:10] == bytes(4)
    is_heif = head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS
    if is_bmp or is_heif or head.startswith(_OTHER_IMAGES):
        return Kind.OTHER_IMAGE
    return Kind.NO_IMAGE


_FIRST_GROUPS = (0x0002, 0x0004, 0x0008)
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OW UN UT SQ".split())
_MAX_FIRST_VALUE = 1024
"""Bytes; the first element of a data set is a group length, a UID, a character set or an image type."""


def _is_bare_dicom(head: bytes) -> bool:
    """Whether the file begins with an element of a data set's first groups (PS3.5 7.1), in any encoding."""
    if len(head) < 8:
        return False
    for order in ("<", ">"):
        group, element = struct.unpack_from(f"{order}HH", head)
        if group not in _FIRST_GROUPS or element > 0x0100:
            continue
        if head[4:6] in _SHORT_VRS:
            return bool(struct.unpack_from(f"{order}H", head, 6)[0] <= _MAX_FIRST_VALUE)
        if head[4:6] in _LONG_VRS:
            return True
        if struct.unpack_from(f"{order}I", head, 4)[0] <= _MAX_FIRST_VALUE:
            return True
    return False
