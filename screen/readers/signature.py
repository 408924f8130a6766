"""What a file is by its first bytes; names and extensions say nothing in a hospital's export folder."""

import re
import struct
from enum import Enum, auto

HEAD_BYTES = 352
"""As many of a file's first bytes as `kind_from_head` wants to see."""


class Kind(Enum):
    """What a reader has to know to choose itself."""

    DICOM = auto()
    DICOM_BARE = auto()
    """Looks like DICOM elements without preamble and `DICM`, or with one of them alone."""
    JPEG = auto()
    PNG = auto()
    TIFF = auto()
    WEBP = auto()
    OTHER_IMAGE = auto()
    """A picture or a volume in a format that is not read here."""
    MULTIPART = auto()
    """A DICOMweb answer that was saved as it came: films, with lines of text between them."""
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
    b"II\xbc\x01",  # JPEG XR
    b"8BPS",
    b"gimp xcf",
    b"\x76\x2f\x31\x01",  # OpenEXR
    b"\x59\xa6\x6a\x95",  # Sun raster
    b"SIMPLE  =",  # FITS
    b"NRRD000",
    b"\x1c\x02\x00\x00n+2\x00",  # NIfTI-2
)
_HEIF_BRANDS = frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 avif avis crx".split())
_PORTABLE_MAP = re.compile(rb"P[1-6](\s+|#[^\n]*\n)+\d+(\s+|#[^\n]*\n)+\d+\s|P7\n|P[fF]\n\d")
_META_IMAGE = re.compile(rb"(ObjectType|NDims)\s*=")
_MULTIPART = re.compile(rb"\s*(--[^\r\n]+\r?\n|HTTP/\d|MIME-Version:|Content-Type:)", re.I)
_PART = re.compile(
    rb"^Content-Type:\s*[\"']?(application/(dicom|octet-stream)(?!\+)|image/|multipart/related)", re.I | re.M
)


def kind_from_head(head: bytes) -> Kind:
    """The kind of a file from its first `HEAD_BYTES` bytes (fewer if it is shorter)."""
    if head[_PREAMBLE:].startswith(_MAGIC):
        return Kind.DICOM
    if head.startswith(b"\xff\xd8\xff"):
        return Kind.JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return Kind.PNG
    if head.startswith((b"II*\x00", b"MM\x00*")):
        return Kind.TIFF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind.WEBP
    if start_of_elements(head) is not None:
        return Kind.DICOM_BARE
    if _MULTIPART.match(head) and _PART.search(head):
        return Kind.MULTIPART
    return Kind.OTHER_IMAGE if _is_other_image(head) else Kind.NO_IMAGE


def _is_other_image(head: bytes) -> bool:
    if head[4:8] == b"ftyp":
        box = head[8 : int.from_bytes(head[:4], "big")]
        return any(box[at : at + 4].strip() in _HEIF_BRANDS for at in range(0, len(box), 4))
    is_bmp = head[:2] == b"BM" and head[6:10] == bytes(4)
    is_nifti = head[344:348] in (b"n+1\0", b"ni1\0")
    is_text = _PORTABLE_MAP.match(head) or _META_IMAGE.match(head)
    return is_bmp or is_nifti or is_text is not None or head.startswith(_OTHER_IMAGES)


_PREAMBLE, _MAGIC = 128, b"DICM"


def start_of_elements(head: bytes) -> int | None:
    """Where a DICOM file's first element is: behind preamble and `DICM`, one of them, or neither."""
    if head[_PREAMBLE:].startswith(_MAGIC):
        return _PREAMBLE + len(_MAGIC)
    bare = [len(_MAGIC)] if head.startswith(_MAGIC) else [0]
    if not any(head[:_PREAMBLE]):
        bare = [_PREAMBLE, _PREAMBLE + len(_MAGIC)]
    return next((at for at in bare if _is_bare_dicom(head[at:])), None)


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
