"""A DICOM header in three parts: what the object is, how its pixels are stored, how they are to be shown."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason
from screen.film import Identity
from screen.readers.limits import Refusal
from screen.readers.tags import Tags

SMALLEST = 1e-9
"""Slopes and widths below it are nothing; levels above its inverse are none."""


@dataclass(frozen=True, slots=True)
class Described:
    """What the tags say about the object, upper case; empty where they say nothing.

    views, regions: (coding scheme, code value) from ViewCodeSequence and AnatomicRegionSequence.
    """

    sop_class: str
    modality: str
    body_part: str
    view_position: str
    views: tuple[tuple[str, str], ...]
    regions: tuple[tuple[str, str], ...]
    presentation_intent: str
    equipment: str
    is_directory: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A lookup table (PS3.3 C.11.1.1, C.11.2.1.1): `entries` uint16 [n] for inputs from `first` on."""

    first: int
    bits: int
    entries: NDArray[np.uint16]


Window = tuple[float, float]
"""Centre and width."""


@dataclass(frozen=True, slots=True)
class PixelHeader:
    """Image Pixel module (PS3.3 C.7.6.3), checked. palette: red, green, blue."""

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: bool
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    frames: int
    palette: tuple[Table, Table, Table] | None = None


@dataclass(frozen=True, slots=True)
class LookupHeader:
    """What decides how bright a stored value is shown.

    window: centre and width of the first one. padding: lowest and highest stored value that mean "no pixel".
    bad: a rescale, table or window was there that makes no sense, and is left out.
    others: the tables and windows that are used, one after the other, if the first one shows nothing.
    """

    inverted: bool
    rescale: tuple[float, float] = (1.0, 0.0)
    modality_table: Table | None = None
    voi_table: Table | None = None
    window: Window | None = None
    function: str = "LINEAR"
    padding: tuple[int, int] | None = None
    several: bool = False
    bad: bool = False
    others: tuple[Table | Window, ...] = ()

    @property
    def vois(self) -> tuple[Table | Window, ...]:
        """Tables before windows, each in the header's order."""
        first = self.voi_table or self.window
        return (*((first,) if first else ()), *self.others)


_ROUNDED = 1.02
"""Ratio of two lengths that differ no more than writers round."""
_LARGEST_ASPECT = 4


def alike(one: float, other: float) -> bool:
    """Whether two lengths of pixels, neither of them 0, are the same."""
    return 1 / _ROUNDED <= one / other <= _ROUNDED


def described_from_tags(tags: Tags) -> Described:
    """Never raises: a tag that cannot be read says nothing."""
    equipment = (tags.word(k) for k in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions"))
    return Described(
        sop_class=tags.text("SOPClassUID"),
        modality=tags.word("Modality"),
        body_part=tags.label("BodyPartExamined"),
        view_position=tags.label("ViewPosition"),
        views=_codes(tags, "ViewCodeSequence"),
        regions=_codes(tags, "AnatomicRegionSequence"),
        presentation_intent=tags.word("PresentationIntentType"),
        equipment=" ".join(equipment),
        is_directory=tags.has("DirectoryRecordSequence"),
    )


def _codes(tags: Tags, keyword: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (item.word("CodingSchemeDesignator"), item.word("CodeValue")) for item in tags.items(keyword)
    )


def identity_from_tags(tags: Tags, view: str) -> Identity:
    """Never raises: a tag that cannot be read is empty."""
    return Identity(
        patient_id=tags.text("PatientID"),
        accession_number=tags.text("AccessionNumber"),
        study_date=tags.text("StudyDate"),
        study_instance_uid=tags.text("StudyInstanceUID"),
        series_instance_uid=tags.text("SeriesInstanceUID"),
        sop_instance_uid=tags.text("SOPInstanceUID"),
        view=view,
        modality=tags.word("Modality"),
        manufacturer=tags.text("Manufacturer"),
        manufacturer_model_name=tags.text("ManufacturerModelName"),
        software_versions=tags.text("SoftwareVersions"),
        station_name=tags.text("StationName"),
        institution_name=tags.text("InstitutionName"),
        acquisition_date=tags.text("AcquisitionDate"),
        patient_sex=tags.word("PatientSex"),
        patient_age=tags.word("PatientAge"),
    )


def pixel_header_from_tags(tags: Tags) -> PixelHeader:
    """Raises Refusal: `corrupt_header`, or `unsupported_pixels` for what no radiograph has."""
    bits_allocated = tags.integer("BitsAllocated")
    samples = tags.integer("SamplesPerPixel", default=1)
    if bits_allocated not in (8, 16) or samples not in (1, 3):
        raise Refusal(Reason.UNSUPPORTED_PIXELS, f"BitsAllocated {bits_allocated}, SamplesPerPixel {samples}")
    bits_stored = tags.integer("BitsStored", default=bits_allocated)
    high_bit = tags.integer("HighBit", default=bits_stored - 1)
    if not 1 <= bits_stored <= high_bit + 1 <= bits_allocated:
        raise Refusal(Reason.CORRUPT_HEADER, "BitsAllocated, BitsStored and HighBit contradict each other")
    photometric = tags.word("PhotometricInterpretation")
    if not photometric:
        raise Refusal(Reason.CORRUPT_HEADER, "PhotometricInterpretation is missing")
    if photometric not in _PHOTOMETRIC[samples]:
        raise Refusal(Reason.UNSUPPORTED_PIXELS, f"PhotometricInterpretation with SamplesPerPixel {samples}")
    return PixelHeader(
        rows=tags.integer("Rows"),
        columns=tags.integer("Columns"),
        samples=samples,
        photometric=photometric,
        planar=samples > 1 and tags.integer("PlanarConfiguration", default=0) == 1,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=high_bit,
        signed=tags.integer("PixelRepresentation", default=0) == 1,
        frames=max(1, tags.integer("NumberOfFrames", default=1)),
        palette=_palette(tags) if photometric == "PALETTE COLOR" else None,
    )


_PHOTOMETRIC = {
    1: {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"},
    3: {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"},
}


def _palette(tags: Tags) -> tuple[Table, Table, Table]:
    try:
        red, green, blue = (
            _table(
                tags, f"{ink}PaletteColorLookupTableDescriptor", f"{ink}PaletteColorLookupTableData", False
            )
            for ink in ("Red", "Green", "Blue")
        )
    except ValueError as error:
        raise Refusal(Reason.CORRUPT_HEADER, str(error)) from error
    return red, green, blue


_SPACINGS = ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


def aspect_from_tags(tags: Tags) -> tuple[tuple[int, int] | None, bool]:
    """Height and width of a pixel in proportion, and whether they are said to differ.

    None where the tags (C.7.6.3.1.7, C.7.6.3: vertical before horizontal) contradict each other, or say what
    no detector has.
    """
    ratios = [
        spacing[0] / spacing[1]
        for spacing in map(tags.numbers_or_none, _SPACINGS)
        if len(spacing) == 2 and spacing[0] and spacing[1] and min(spacing[0], spacing[1]) > SMALLEST
    ]
    told = next((ratio for ratio in ratios if not alike(ratio, 1)), None)
    if told is None:
        return (1, 1), False
    if not 1 / _LARGEST_ASPECT <= told <= _LARGEST_ASPECT or not all(alike(told, ratio) for ratio in ratios):
        return None, True
    return Fraction(told).limit_denominator(1000).as_integer_ratio(), True


def lookup_header_from_tags(tags: Tags, px: PixelHeader) -> LookupHeader:
    """Never raises: what makes no sense is left out and marked `bad`.

    Polarity: MONOCHROME1 (C.7.6.3.1.2) and PresentationLUTShape INVERSE (C.8.11.3.1.2, where each is allowed
    with the other alone) say the same thing, so one of them is enough and both invert once.
    """
    inverted = px.photometric == "MONOCHROME1" or tags.word("PresentationLUTShape") == "INVERSE"
    padding = _padding(tags, px.signed)
    try:
        rescale, modality_table = _modality(tags, px.signed)
    except ValueError:
        # Windows are in units behind the rescale: without it they mean nothing.
        return LookupHeader(inverted, padding=padding, bad=True)
    luts, function = tags.items("VOILUTSequence"), tags.word("VOILUTFunction")
    # Behind a rescale, inputs are signed if they can be negative (C.11.2.1.1).
    tables = [_table_or_none(item, px.signed or rescale[1] < 0) for item in luts]
    levels = [tags.numbers_or_none(keyword) for keyword in ("WindowCenter", "WindowWidth")]
    windows = [_window_or_none(*pair) for pair in zip(*levels, strict=False)]
    vois = [voi for voi in (*tables, *windows) if voi is not None]
    first, others = (vois[0], tuple(vois[1:])) if vois else (None, ())
    return LookupHeader(
        inverted=inverted,
        rescale=rescale,
        modality_table=modality_table,
        voi_table=first if isinstance(first, Table) else None,
        window=None if isinstance(first, Table) else first,
        function=function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR",
        padding=padding,
        several=max(map(len, levels)) > 1 or len(luts) + any(windows) > 1,
        bad=len(vois) < len(tables) + len(windows),
        others=others,
    )


def _window_or_none(centre: float | None, width: float | None) -> Window | None:
    if centre is None or width is None or max(abs(centre), abs(width)) > 1 / SMALLEST:
        return None
    return centre, width


def _table_or_none(item: Tags, signed: bool) -> Table | None:
    try:
        return _lut(item, signed)
    except ValueError:
        return None


def _modality(tags: Tags, signed: bool) -> tuple[tuple[float, float], Table | None]:
    luts = tags.items("ModalityLUTSequence")
    if luts:
        return (1.0, 0.0), _lut(luts[0], signed)
    slope = (_levels(tags, "RescaleSlope") or [1.0])[0]
    intercept = (_levels(tags, "RescaleIntercept") or [0.0])[0]
    if abs(slope) < SMALLEST:
        raise ValueError("RescaleSlope is 0")
    return (slope, intercept), None


def _levels(tags: Tags, keyword: str) -> list[float]:
    """Numbers on the scale of pixel values; ValueError if one is beyond anything that a detector measures."""
    numbers = tags.numbers(keyword)
    if any(abs(n) > 1 / SMALLEST for n in numbers):
        raise ValueError(f"{keyword} makes no sense")
    return numbers


def _lut(item: Tags, signed: bool) -> Table:
    return _table(item, "LUTDescriptor", "LUTData", signed)


def _table(tags: Tags, descriptor_keyword: str, data_keyword: str, signed: bool) -> Table:
    """Raises ValueError if the table is missing or shorter than it says."""
    descriptor = [int(n) & 0xFFFF for n in tags.numbers(descriptor_keyword)]
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        raise ValueError(f"{descriptor_keyword} makes no sense")
    count, first, bits = descriptor[0] or 65536, descriptor[1], descriptor[2]
    entries = _words(tags, data_keyword)
    if len(entries) < count:
        packed = entries.astype("<u2").view(np.uint8).astype(np.uint16)  # two to a word (C.11.2.1.1)
        # Whatever the descriptor says, unless it is a longer table that was cut.
        if bits == 8 or (packed[1:] >= packed[:-1]).all() or (packed[1:] <= packed[:-1]).all():
            entries = packed
    if len(entries) < count:
        raise ValueError(f"{data_keyword} is shorter than its descriptor says")
    return Table(first - 65536 if signed and first > 32767 else first, bits, entries[:count])


def _words(tags: Tags, keyword: str) -> NDArray[np.uint16]:
    value: Any = tags.raw(keyword)
    if isinstance(value, bytes):
        words = np.frombuffer(value[: len(value) & ~1], ">u2" if tags.big_endian else "<u2")
        return words.astype(np.uint16)
    return np.array([int(n) & 0xFFFF for n in tags.numbers(keyword)], np.uint16)


def _padding(tags: Tags, signed: bool) -> tuple[int, int] | None:
    try:
        ends = [n for k in ("PixelPaddingValue", "PixelPaddingRangeLimit") for n in tags.numbers(k)[:1]]
    except ValueError:
        return None
    stored = [int(n) - 65536 if signed and n > 32767 else int(n) for n in ends]
    return (min(stored), max(stored)) if tags.has("PixelPaddingValue") and stored else None
