"""DICOM files: what their header rules out is never decoded, and the rest becomes a film."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian

from screen.codes import Reason, Warn
from screen.film import Film, Pixels, Unscreened
from screen.preprocess import MIN_SIDE
from screen.readers.codecs import JPEG_DECODER, check_frame
from screen.readers.eligibility import Eligibility, eligibility_from_tags
from screen.readers.frames import (
    Frame,
    borne_out,
    first_frame,
    leaps,
    samples_from_frame,
    signs_borne_out,
    stored_values,
)
from screen.readers.header import (
    LookupHeader,
    PixelHeader,
    Table,
    Window,
    aspect_from_tags,
    described_from_tags,
    identity_from_tags,
    lookup_header_from_tags,
    pixel_header_from_tags,
)
from screen.readers.limits import Limits, PixelDigest, Refusal
from screen.readers.lookup import (
    WHITE,
    full_range_pixels,
    grey_from_palette,
    grey_from_rgb,
    grey_from_ycbcr,
    lookup_from_header,
)
from screen.readers.patient import warnings_from_patient
from screen.readers.reduced import WHOLE, Aim, reduced_frame
from screen.readers.signature import Kind
from screen.readers.tags import Parsed, parse_dicom, quietly
from screen.shortcuts import Shortcut


@dataclass(frozen=True, slots=True)
class _Picture:
    pixels: Pixels
    decoder: str
    warnings: list[Warn]
    shortcut: Shortcut | None = None
    other_voi: Table | Window | None = None


def film_from_dicom(stream: BinaryIO, kind: Kind, limits: Limits, aim: Aim = WHOLE) -> Film | Unscreened:
    """A DICOM stream, from its first byte -> film, or why there is none. Raises OSError alone."""
    parsed = parse_dicom(stream, limits)
    with quietly():
        eligibility = eligibility_from_tags(described_from_tags(parsed.tags))
        identity = identity_from_tags(parsed.tags, eligibility.view)
        aspect, is_told = aspect_from_tags(parsed.tags)
        about_the_patient = warnings_from_patient(parsed.tags)
    digest = PixelDigest()
    try:
        px, lookup_header, frame = _checked(parsed, eligibility, kind, limits, digest)
        # A reduced picture's resolution was chosen for square pixels.
        aim = aim if aspect in (None, (1, 1)) else WHOLE
        picture = _reduced(parsed, px, lookup_header, frame, aim) or _whole(parsed, px, lookup_header, frame)
    except Refusal as refusal:
        return Unscreened(refusal.reason, refusal.detail, identity, eligibility.declared_chest)
    other = picture.other_voi
    if other is not None:
        digest.update(_canonical(asdict(other) if isinstance(other, Table) else other))
    pixels, warnings = picture.pixels, picture.warnings
    if is_told:
        warnings.append(Warn.PERHAPS_SQUEEZED if aspect is None else Warn.NOT_SQUARE)
    if aspect not in (None, (1, 1)):
        pixels = replace(pixels, aspect=aspect)
        digest.update(_canonical(aspect))
    if kind is Kind.DICOM_BARE:
        warnings.append(Warn.NO_PREAMBLE)
    if px.frames > 1:
        warnings.append(Warn.SEVERAL_FRAMES)
    warnings += about_the_patient
    return Film(
        identity=identity,
        pixels=pixels,
        pixel_digest=digest.digest(),
        decoder=picture.decoder,
        declared_chest=eligibility.declared_chest,
        warnings=tuple(warnings),
        hash_seconds=digest.seconds,
        shortcut=picture.shortcut,
    )


def _checked(
    parsed: Parsed, eligibility: Eligibility, kind: Kind, limits: Limits, digest: PixelDigest
) -> tuple[PixelHeader, LookupHeader, Frame]:
    """Everything that can be said without decoding, and the bytes to decode. Raises Refusal.

    digest: gets the frame as it is stored, and all that decides how it is decoded and shown.
    """
    if eligibility.reason is not None:
        raise Refusal(eligibility.reason)
    if parsed.element is None:
        if kind is Kind.DICOM_BARE and not parsed.tags.has("SOPClassUID") and not eligibility.hints_at_film:
            raise Refusal(Reason.NOT_AN_IMAGE)
        if parsed.complaint:
            raise Refusal(Reason.CORRUPT_HEADER, parsed.complaint)
        raise Refusal(
            Reason.NO_PIXELS if eligibility.hints_at_film else Reason.NOT_A_RADIOGRAPH, "no pixel data"
        )
    with quietly():
        px = borne_out(pixel_header_from_tags(parsed.tags), parsed.element.length)
        lookup_header = lookup_header_from_tags(parsed.tags, px)
    if min(px.rows, px.columns) < MIN_SIDE and not eligibility.hints_at_film:
        raise Refusal(Reason.UNLIKE_CHEST, f"{px.columns} × {px.rows} pixels")
    limits.check_shape(px.rows, px.columns, px.samples)
    frame = first_frame(parsed, px, limits, digest)
    shown = asdict(lookup_header)
    del shown["others"]  # counts only if it is used
    fields = [len(frame), parsed.syntax, asdict(px), shown]
    digest.update(_canonical(fields))
    return px, lookup_header, frame


def _reduced(
    parsed: Parsed, px: PixelHeader, lookup_header: LookupHeader, frame: Frame, aim: Aim
) -> _Picture | None:
    """The picture by a shortcut; None where it has to be decoded in full. Raises Refusal as that does."""
    if not isinstance(frame, bytes) or not aim.policy.shortcuts:
        return None
    check_frame(frame, parsed.syntax, px)
    reduced = reduced_frame(frame, parsed.syntax, px, aim)
    if reduced is None or leaps(reduced.values, px):
        return None
    lookup = lookup_from_header(reduced.values, px, lookup_header)
    if lookup.other is not None:
        return None
    pixels = Pixels(reduced.values, lookup.table, (px.rows, px.columns), lookup.opposite)
    # Padding and white, both inverted or neither, may lie at one end and be shown as the other.
    if not pixels.is_monotone:
        return None
    return _Picture(pixels, reduced.decoder, list(lookup.warnings), reduced.shortcut)


def _whole(parsed: Parsed, px: PixelHeader, lookup_header: LookupHeader, frame: Frame) -> _Picture:
    samples, decoder, warnings = samples_from_frame(frame, parsed, px)
    syntax = parsed.syntax if isinstance(frame, bytes) else str(ExplicitVRLittleEndian)
    if px.photometric.startswith("MONOCHROME"):
        told = px.signed
        px, found = signs_borne_out(samples, syntax, px)
        warnings += found
        if px.signed != told:
            with quietly():
                lookup_header = lookup_header_from_tags(parsed.tags, px)
        values, px = stored_values(samples, syntax, px)
        reach = 255 if samples.dtype == np.uint8 and not px.signed else WHITE
        lookup = lookup_from_header(values, px, lookup_header, reach)
        pixels = Pixels(values, lookup.table, opposite=lookup.opposite)
        return _Picture(pixels, decoder, [*warnings, *lookup.warnings], other_voi=lookup.other)
    is_colour, grey = _luminance(samples, syntax, decoder, px)
    pixels = full_range_pixels(grey)
    return _Picture(pixels, decoder, [*warnings, Warn.COLOUR] if is_colour else warnings)


def _luminance(
    samples: NDArray[Any], syntax: str, decoder: str, px: PixelHeader
) -> tuple[bool, NDArray[Any]]:
    """Whether there is any colour, and grey [H, W]."""
    if px.palette is not None:
        values, _ = stored_values(samples, syntax, px)
        return grey_from_palette(values, px.palette)
    if px.photometric.startswith("YBR_FULL") and decoder != JPEG_DECODER:
        return grey_from_ycbcr(samples)
    return grey_from_rgb(samples)


def _canonical(fields: Any) -> bytes:
    """The same bytes for the same fields; tables are arrays of uint16."""
    return json.dumps(fields, sort_keys=True, default=lambda a: a.astype("<u2").tobytes().hex()).encode()
