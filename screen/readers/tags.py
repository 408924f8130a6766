"""A DICOM file's tags: parsed by pydicom up to the pixels, and handed out as plain values.

Only the tags that screening needs are read; what pydicom thinks of a broken value ends here.
"""

import codecs
import contextlib
import io
import logging
import math
import re
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from pydicom import DataElement, Dataset, config
from pydicom.charset import convert_encodings, decode_bytes, default_encoding, python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from screen.codes import Reason
from screen.readers.limits import Limits, Refusal
from screen.readers.signature import HEAD_BYTES, start_of_elements
from screen.text import visible

PIXEL_DATA = 0x7FE00010
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)
_MAX_VALUE = 1 << 20
"""Bytes; the longest value that is needed, a lookup table, has 128 KiB."""

_KEYWORDS = """
    TransferSyntaxUID SpecificCharacterSet SOPClassUID SOPInstanceUID StudyDate AccessionNumber Modality
    PresentationIntentType Manufacturer ManufacturerModelName SoftwareVersions AnatomicRegionSequence
    DirectoryRecordSequence PatientID BodyPartExamined ViewPosition ViewCodeSequence StudyInstanceUID
    SeriesInstanceUID Rows Columns SamplesPerPixel PhotometricInterpretation PlanarConfiguration
    BitsAllocated BitsStored HighBit PixelRepresentation NumberOfFrames ExtendedOffsetTable
    ExtendedOffsetTableLengths RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor
    BluePaletteColorLookupTableDescriptor RedPaletteColorLookupTableData GreenPaletteColorLookupTableData
    BluePaletteColorLookupTableData RescaleSlope RescaleIntercept ModalityLUTSequence VOILUTSequence
    WindowCenter WindowWidth VOILUTFunction PresentationLUTShape PixelPaddingValue PixelPaddingRangeLimit
    PixelAspectRatio PixelSpacing ImagerPixelSpacing NominalScannedPixelSpacing
    StationName InstitutionName AcquisitionDate PatientSex PatientAge
    PatientBirthDate PatientSpeciesCodeSequence PatientSpeciesDescription PatientSexNeutered
    QualityControlImage
"""


def tags_of(keywords: str) -> list[int]:
    """The tags of DICOM's words, which stand in one text."""
    return [tag for tag in map(tag_for_keyword, keywords.split()) if tag is not None]


_TAGS = tags_of(_KEYWORDS)

_PYTHON_ENCODINGS = frozenset(python_encoding.values())

# pydicom's log and warnings quote tags, and nobody's name belongs in a log.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
_warnings_lock = threading.RLock()
_quiet: list[bool] = []


@contextmanager
def quietly() -> Iterator[None]:
    """Silence pydicom's warnings.

    The lock, because Python's warning filters belong to the whole process; parsing holds the GIL anyway.
    Within another `quietly` it costs nearly nothing: put one around many tags.
    """
    with _warnings_lock:
        if _quiet:
            yield
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _quiet.append(True)
            try:
                yield
            finally:
                _quiet.clear()


def standard_name(uid: str) -> str:
    """What the standard calls a UID; empty if it does not know it."""
    known = UID(uid, validation_mode=config.IGNORE)
    return "" if known.name == uid else known.name


class Tags:
    """Plain values from a data set; what cannot be converted counts as absent or raises Refusal."""

    def __init__(self, ds: Dataset, big_endian: bool = False) -> None:
        self._ds = ds
        self.big_endian = big_endian

    def has(self, keyword: str) -> bool:
        """Whether the tag is there, even if empty."""
        return keyword in self._ds

    def raw(self, keyword: str) -> Any:
        """The value as pydicom has it; None if absent, empty or not convertible."""
        if keyword not in self._ds:
            return None
        with quietly():
            try:
                return self._ds.get(keyword)
            except MemoryError:
                raise
            except Exception:  # the seam: pydicom raises all sorts for values that it cannot convert
                return None

    def values(self, keyword: str) -> list[Any]:
        """All values; an empty list if there is none."""
        value = self.raw(keyword)
        if value is None:
            return []
        return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]

    def text(self, keyword: str) -> str:
        """One line of visible characters, several values joined by a backslash; a sequence has no text."""
        found = (v for v in self.values(keyword) if not isinstance(v, Dataset))
        parts = (v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in found)
        return visible("\\".join(parts)).strip()[:256]

    def word(self, keyword: str) -> str:
        """A defined term: text in upper case."""
        return self.text(keyword).upper()

    def label(self, keyword: str) -> str:
        """A defined term where writers put words of their own: in whatever character set they are written.

        Code strings are ASCII (PS3.5 6.2), so pydicom takes a byte for a letter.
        """
        found = (v.decode("latin-1") if isinstance(v, bytes) else v for v in self.values(keyword))
        text = "\\".join(v for v in found if isinstance(v, str))
        return visible(self._as_written(text)).strip()[:256].upper()

    def _as_written(self, text: str) -> str:
        try:
            data = text.encode("latin-1")
        except UnicodeEncodeError:
            return text
        if text.isascii():
            return text
        with contextlib.suppress(UnicodeDecodeError):
            # Not the final bytes: a letter may be cut at the sixteenth.
            return codecs.getincrementaldecoder("utf-8")().decode(data)
        declared = self._ds.original_character_set
        with quietly():
            return decode_bytes(data, [declared] if isinstance(declared, str) else list(declared), set())

    def numbers(self, keyword: str) -> list[float]:
        """All values as finite numbers; an empty list if absent. Raises ValueError if one is no number."""
        found = [_number(v) for v in self._written(keyword) if not _is_blank(v)]
        if None in found:
            raise ValueError(f"{keyword} is no finite number")
        return [n for n in found if n is not None]

    def numbers_or_none(self, keyword: str) -> list[float | None]:
        """All values as finite numbers, None where one is none; an empty list if absent.

        A decimal comma is read as a point, unless it may separate thousands.
        """
        found = self._written(keyword)
        while found and _is_blank(found[-1]):
            found.pop()
        return [_number(v) for v in found]

    def _written(self, keyword: str) -> list[Any]:
        """All values, as text where pydicom cannot convert them: it gives up all for the sake of one."""
        found = self.values(keyword)
        if found or keyword not in self._ds:
            return found
        element = self._ds.get_item(keyword)
        value = element.value if isinstance(element, RawDataElement) else None
        if not isinstance(value, bytes) or not value:
            return []
        is_text = (element.VR or dictionary_VR(element.tag)) in ("DS", "IS")
        return value.decode("latin-1").strip(" \0").split("\\") if is_text else ["no number"]

    def integer(self, keyword: str, default: int | None = None) -> int:
        """The first value; `default` if absent. Raises Refusal(corrupt_header) if it is no integer."""
        try:
            found = self.numbers(keyword)
        except ValueError:
            found = [math.nan]
        if not found and default is not None:
            return default
        if not found or not found[0].is_integer():
            raise Refusal(Reason.CORRUPT_HEADER, f"{keyword} is missing or no integer")
        return int(found[0])

    def items(self, keyword: str) -> list["Tags"]:
        """The items of a sequence."""
        return [Tags(v, self.big_endian) for v in self.values(keyword) if isinstance(v, Dataset)]


_DECIMAL_COMMA = re.compile(r"([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


def _is_blank(value: Any) -> bool:
    return isinstance(value, str | bytes) and not value.strip()


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        text = value.strip()
        comma = None if _THOUSANDS.fullmatch(text) else _DECIMAL_COMMA.fullmatch(text)
        value = ".".join(comma.groups()) if comma else text
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixel data lie in the stream; length: bytes, None if undefined (encapsulated).

    held: bytes from there to the end of the stream; a length may lie.
    """

    tag: int
    vr: str | None
    offset: int
    length: int | None
    held: int


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file up to its pixels.

    syntax: transfer syntax UID; where the file does not name it, the uncompressed one that it is written in.
    stream: what `element.offset` counts in: the file, or its inflated data set.
    complaint: why parsing did not get through; the tags before that place are there.
    big_endian_pixels: of uncompressed ones.
    """

    tags: Tags
    syntax: str
    stream: BinaryIO
    element: PixelElement | None
    complaint: str = ""
    big_endian_pixels: bool = False


GE_PRIVATE = "1.2.840.113619.5.2"
"""Implicit VR, little endian, but for the pixels: uncompressed, big endian."""


def parse_dicom(stream: BinaryIO, limits: Limits, wanted: Sequence[int] = _TAGS) -> Parsed:
    """A DICOM file, with or without preamble, up to its pixel data. Never raises for what it holds.

    wanted: the tags that are read; the others are passed over.
    """
    with quietly():
        stream.seek(0)
        stream.seek(start_of_elements(stream.read(HEAD_BYTES)) or 0)
        meta = _Elements(stream, implicit=False, little=True, halt=lambda tag: tag >> 16 != 2, wanted=_TAGS)
        syntax = Tags(meta.data_set()).text("TransferSyntaxUID").rstrip()
        complaint = ""
        if syntax == DeflatedExplicitVRLittleEndian:
            try:
                stream = io.BytesIO(_inflated(stream, limits))
            except zlib.error as error:
                stream, complaint = io.BytesIO(), f"the deflated data set is damaged: {error}"
        implicit, little = _encoding(stream, syntax)
        elements = _Elements(stream, implicit, little, halt=lambda tag: tag in _PIXEL_TAGS, wanted=wanted)
        uncompressed = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        return Parsed(
            Tags(elements.data_set(), big_endian=not little),
            syntax or str(uncompressed if little else ExplicitVRBigEndian),
            stream,
            elements.halted_at,
            complaint or elements.complaint,
            big_endian_pixels=not little or syntax == GE_PRIVATE,
        )


def _inflated(stream: BinaryIO, limits: Limits) -> bytes:
    """The data set of a deflated file (PS3.5 A.5); one that is longer than the limit is cut there."""
    data = stream.read(limits.max_bytes)
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, limits.max_bytes)
    except zlib.error:
        # Some writers wrap it (RFC 1950); the first two bytes have a checksum of their own.
        if int.from_bytes(data[:2], "big") % 31 or data[0] & 15 != zlib.DEFLATED:
            raise
        return zlib.decompressobj().decompress(data, limits.max_bytes)


def _encoding(stream: BinaryIO, syntax: str) -> tuple[bool, bool]:
    """Implicit VR? Little endian? By the first element, for writers contradict their transfer syntax."""
    head = stream.read(6)
    stream.seek(-len(head), io.SEEK_CUR)
    implicit = not (head[4:6].isalpha() and head[4:6].isupper())
    # A data set begins with a low group: 0008 read in the wrong order is 0800.
    little = head[:2] == b"" or int.from_bytes(head[:2], "little") < 0x0400
    return implicit, syntax != ExplicitVRBigEndian if syntax else little


class _Elements:
    """The elements of one data set up to a tag, as far as they can be parsed.

    halted_at: the element with that tag. complaint: why parsing ended early, if it did.
    """

    def __init__(
        self,
        stream: BinaryIO,
        implicit: bool,
        little: bool,
        halt: Callable[[int], bool],
        wanted: Sequence[int],
    ) -> None:
        self.halted_at: PixelElement | None = None
        self.complaint = ""
        self._encoding = implicit, little
        self._raw: dict[BaseTag, RawDataElement | DataElement] = {}
        watched = _Watched(stream)

        def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
            if tag == 0:
                # No data set has it, and zeros go on to the end.
                raise ValueError("zeros where an element has to be")
            if halt(tag):
                at, told = stream.tell(), None if length == 0xFFFFFFFF else length
                self.halted_at = PixelElement(int(tag), vr, at, told, max(watched.size - at, 0))
            return self.halted_at is not None

        elements = data_element_generator(
            cast(BinaryIO, watched), implicit, little, stop, defer_size=_MAX_VALUE, specific_tags=list(wanted)
        )
        try:
            for element in elements:
                self._raw[element.tag] = element
        except MemoryError:
            raise
        except Exception as error:  # the seam: a broken header surfaces as any of a dozen types
            self.complaint = f"the header cannot be parsed ({type(error).__name__})"
        if self.halted_at is None and watched.ran_over:
            self.complaint = self.complaint or "the file ends within its header"

    def data_set(self) -> Dataset:
        ds = Dataset(self._raw)
        ds.set_original_encoding(*self._encoding, _encodings(Tags(ds).values("SpecificCharacterSet")))
        return ds


def _encodings(names: list[Any]) -> list[str]:
    """Python's names for SpecificCharacterSet (PS3.3 C.12.1.1.2); the default for what makes no sense.

    pydicom lets a file name any codec of Python's: some are no text encodings, some take hours over a value.
    """
    try:
        found = convert_encodings([name for name in names if isinstance(name, str)] or None)
    except ValueError:
        found = []
    return [name for name in found if name in _PYTHON_ENCODINGS] or [default_encoding]


class _Watched(io.RawIOBase):
    """A stream that remembers whether somebody wanted bytes behind its end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        start = stream.tell()
        self.size = stream.seek(0, io.SEEK_END)
        stream.seek(start)
        self.ran_over = False

    def read(self, n: int = -1, /) -> bytes:
        # No more than there is: Python reserves what is asked for, and lengths lie.
        data = self._stream.read(min(n, max(self.size - self._stream.tell(), 0)))
        # The end is found by asking for one more element's eight bytes and getting none.
        if len(data) < n and (data or n != 8):
            self.ran_over = True
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        at = self._stream.seek(offset, whence)
        self.ran_over = self.ran_over or at > self.size
        return at

    def tell(self) -> int:
        return self._stream.tell()
