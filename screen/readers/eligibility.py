"""Whether a DICOM object is a frontal chest radiograph, as far as its tags say: before any pixel is decoded.

Ruled out is what is known to be something else (`screen.readers.vocabulary`); what is not known says nothing,
and the picture decides. Free text (descriptions, protocol names) is not asked: it names what was ordered.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from screen.codes import Reason
from screen.readers.header import Described
from screen.readers.tags import standard_name
from screen.readers.vocabulary import (
    CAPTURES,
    CHEST_REGIONS,
    OTHER_MODALITIES,
    OTHER_REGIONS,
    RADIOGRAPHS,
    VIEW_CODES,
    Part,
    View,
)
from screen.readers.words import part_from_words, view_from_words

OWN_EQUIPMENT = "cxr-screen"
"""Stands in Manufacturer, ManufacturerModelName or SoftwareVersions of everything this project writes."""
_IS_OWN_EQUIPMENT = re.compile(rf"(?<![\w-]){OWN_EQUIPMENT.upper()}(?![\w-])")

_CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
_DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
_DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_RADIOGRAPH_CLASSES = frozenset({_CR_IMAGE, _DX_FOR_PRESENTATION, _DX_FOR_PROCESSING})
_SNOMED = frozenset({"SCT", "SRT", "SNM3", "2.16.840.1.113883.6.96"})


@dataclass(frozen=True, slots=True)
class Eligibility:
    """reason: what rules the object out, None if nothing does. view: PA, AP, LL, …, empty if unsaid.

    hints_at_film: something in the tags says radiograph or chest, so that its pixels would be missed.
    """

    reason: Reason | None
    declared_chest: bool
    hints_at_film: bool
    view: str


def eligibility_from_tags(tags: Described) -> Eligibility:
    """What the tags alone decide. Where they say nothing nothing is ruled out: the gate sees the picture."""
    coded_view = next((VIEW_CODES[code] for _, code in tags.views if code in VIEW_CODES), "")
    is_chest = _says_chest(tags)
    modality = _known_modality(tags.modality)
    is_radiograph = modality in RADIOGRAPHS if modality else tags.sop_class in _RADIOGRAPH_CLASSES
    return Eligibility(
        reason=_ruled_out(tags, modality, is_chest, coded_view or tags.view_position),
        declared_chest=is_radiograph and is_chest is True,
        hints_at_film=(is_radiograph or is_chest is True) and not _is_other_object(tags.sop_class),
        view=tags.view_position or coded_view,
    )


@lru_cache(maxsize=64)
def _known_modality(text: str) -> str:
    """The value that decides: a radiograph's before another one, a capture's last; empty if none is known."""
    values = {re.sub(r"[^A-Z0-9]", "", value) for value in re.split(r"[\\/,;&+|]", text)}
    known = (values & RADIOGRAPHS, values & OTHER_MODALITIES, values & CAPTURES)
    return next((min(found) for found in known if found), "")


def _ruled_out(tags: Described, modality: str, is_chest: bool | None, view: str) -> Reason | None:
    if tags.is_directory or tags.sop_class == _MEDIA_DIRECTORY:
        return Reason.DICOMDIR
    if _IS_OWN_EQUIPMENT.search(tags.equipment):
        return Reason.DERIVED
    if modality in CAPTURES and not is_chest:
        return Reason.DERIVED
    if modality in OTHER_MODALITIES or (not modality and _is_other_object(tags.sop_class)):
        return Reason.NOT_A_RADIOGRAPH
    if tags.sop_class == _DX_FOR_PROCESSING or tags.presentation_intent == "FOR PROCESSING":
        return Reason.FOR_PROCESSING
    if is_chest is False:
        return Reason.NOT_CHEST
    return Reason.LATERAL_VIEW if is_lateral(view) else None


def _is_other_object(sop_class: str) -> bool:
    """Whether a SOP class is one of the standard's, and neither a radiograph's nor a secondary capture's."""
    return (
        standard_name(sop_class) != ""
        and sop_class not in _RADIOGRAPH_CLASSES
        and not f"{sop_class}.".startswith(f"{_SECONDARY_CAPTURE}.")
    )


def _says_chest(tags: Described) -> bool | None:
    """AnatomicRegionSequence first, then BodyPartExamined; None where neither says what is known."""
    codes = {code for scheme, code in tags.regions if scheme in _SNOMED}
    if codes & CHEST_REGIONS:
        return True
    if codes & OTHER_REGIONS:
        return False
    part = part_from_words(tags.body_part)
    return {Part.CHEST: True, Part.OTHER: False}.get(part) if part else None


def is_lateral(view: str) -> bool:
    """Whether a view is lateral or oblique; unknown words are taken for frontal."""
    return view_from_words(view) in (View.LATERAL, View.OBLIQUE)
