"""Whether a DICOM object is a frontal chest radiograph, as far as its tags say: before any pixel is decoded.

Free text (descriptions, protocol names) is not asked: it names what was ordered, in any language.
"""

import re
from dataclasses import dataclass

from screen.codes import Reason
from screen.readers.header import Described
from screen.readers.tags import standard_name

OWN_EQUIPMENT = "cxr-screen"
"""Stands in Manufacturer, ManufacturerModelName or SoftwareVersions of everything this project writes."""

_CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
_DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
_DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_RADIOGRAPH_CLASSES = frozenset({_CR_IMAGE, _DX_FOR_PRESENTATION, _DX_FOR_PROCESSING})
_RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG", "DR"})
_CAPTURE_MODALITIES = frozenset({"OT", "SC"})

# Body parts are free enough in practice: PORTABLE CHEST, RIBCAGE, CHEST_ABDOMEN, TORAX, TORACE.
_CHEST = re.compile(r"CHEST|THORAX|TORAX|TORACE|LUNG|PULMO|\bRIB|HEART|CARDIAC|MEDIASTIN|BRONCH")
# Fill-ins, and parts whose films show the chest as well: the picture decides.
_SAYS_NOTHING = re.compile(
    r"^(UNKNOWN|UNDEFINED|UNSPECIFIED|OTHER|NONE|N/?A|DEFAULT|TEST|ANY|-+|\?+)$|BODY|TRUNK|STERNUM|CLAVICLE"
)
# SNOMED CT and the SRT codes that came before (PS3.16 CID 4009, 4031).
_CHEST_CODES = """
    816094009 51185008 T-D3000 39607008 T-28000 86598002 T-280A0 113197003 T-11300 80891009 T-32000 72410000
    T-D3300 416550000 R-FAB55 416775004 R-FAB56 417437006 R-FAB52 416152001 R-FAB53 416319003 R-FAB54 955009
    T-26000
"""
_VAGUE_CODES = "56873002 T-11210 38266002 T-D0010 51299004 T-12310"
_CHEST_REGIONS, _VAGUE_REGIONS = frozenset(_CHEST_CODES.split()), frozenset(_VAGUE_CODES.split())
_SNOMED = frozenset({"SCT", "SRT", "SNM3"})

# PS3.16 CID 4010, as above.
_VIEW_CODES = {
    "PA": "272479007 R-10214",
    "AP": "399348003 R-10206",
    "LL": "399173006 R-10236",
    "RL": "399198007 R-10232",
    "LATERAL": "399067008 R-102CD 399352003 R-10228 399260004 R-10224 30730003 G-A145",
    "OBLIQUE": """
        399182000 R-102C1 399312000 R-10208 399160007 R-10204 399059000 R-10216 399135007 R-10220 399006002
        R-10212 399356000 R-40985 399038007 R-10210 399184004 R-10238 399236003 R-10234 260427002 R-40783
        260426006 R-40782 399099002 R-10230 399368009 R-10226
    """,
}
_VIEWS = {code: view for view, codes in _VIEW_CODES.items() for code in codes.split()}
_NOT_FRONTAL = re.compile(r"\b(LL|RL|L?LAT|RLAT|LATERAL|[LR]LATERAL|[LR][AP]O|[LR]LO|OBL|OBLIQUE|SAGITTAL)\b")
# The patient lies on the side, the beam goes from front to back: a frontal film.
_DECUBITUS = re.compile(r"DECUB|\b[LR]LD\b")


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
    view = tags.view_position or next((_VIEWS[code] for _, code in tags.views if code in _VIEWS), "")
    is_chest = _says_chest(tags)
    is_radiograph = (
        tags.modality in _RADIOGRAPH_MODALITIES if tags.modality else tags.sop_class in _RADIOGRAPH_CLASSES
    )
    return Eligibility(
        reason=_ruled_out(tags, is_chest, view),
        declared_chest=is_radiograph and is_chest is True,
        hints_at_film=(is_radiograph or is_chest is True) and not _is_other_object(tags.sop_class),
        view=view,
    )


def _ruled_out(tags: Described, is_chest: bool | None, view: str) -> Reason | None:
    if tags.is_directory or tags.sop_class == _MEDIA_DIRECTORY:
        return Reason.DICOMDIR
    if OWN_EQUIPMENT.upper() in tags.equipment:
        return Reason.DERIVED
    if tags.modality in _CAPTURE_MODALITIES and not is_chest:
        return Reason.DERIVED
    if tags.modality not in {"", *_CAPTURE_MODALITIES, *_RADIOGRAPH_MODALITIES}:
        return Reason.NOT_A_RADIOGRAPH
    if not tags.modality and _is_other_object(tags.sop_class):
        return Reason.NOT_A_RADIOGRAPH
    if tags.sop_class == _DX_FOR_PROCESSING or tags.presentation_intent == "FOR PROCESSING":
        return Reason.FOR_PROCESSING
    if is_chest is False:
        return Reason.NOT_CHEST
    if is_lateral(view):
        return Reason.LATERAL_VIEW
    return None


def _is_other_object(sop_class: str) -> bool:
    """Whether a SOP class is one of the standard's, and neither a radiograph's nor a secondary capture's."""
    return (
        standard_name(sop_class) != ""
        and sop_class not in _RADIOGRAPH_CLASSES
        and not f"{sop_class}.".startswith(f"{_SECONDARY_CAPTURE}.")
    )


def _says_chest(tags: Described) -> bool | None:
    """None where neither BodyPartExamined nor AnatomicRegionSequence says anything that we understand."""
    part = re.sub(r"[\s_^\\,;.]+", " ", tags.body_part).strip()
    if part and not _SAYS_NOTHING.search(part):
        return bool(_CHEST.search(part))
    codes = {code for scheme, code in tags.regions if scheme in _SNOMED and code}
    if codes & _CHEST_REGIONS:
        return True
    return False if codes - _VAGUE_REGIONS else None


def is_lateral(view: str) -> bool:
    """Whether a view is lateral or oblique; unknown words are taken for frontal."""
    words = re.sub(r"[\s_^\\,;./-]+", " ", view)
    return bool(_NOT_FRONTAL.search(words)) and not _DECUBITUS.search(words)
