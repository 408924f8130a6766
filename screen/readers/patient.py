"""What the tags say of who is on a film, where it is nobody that most models are meant for.

Only the warning leaves this module: a date of birth, say, is read here and kept nowhere.
"""

import re
from datetime import date

from screen.codes import Warn
from screen.readers.tags import Tags

GROWN_UP = 18
"""Years."""
_OLDEST = 130
"""Years: beyond them a date of birth is made up."""
_DAYS = {"D": 1.0, "W": 7.0, "M": 30.44, "Y": 365.25}
_SNOMED = frozenset({"SCT", "SRT", "SNM3", "2.16.840.1.113883.6.96"})
_HUMAN = frozenset({"337915000", "L-85003", "30996001", "L-85B00"})
"""Homo sapiens (PS3.16 CID 7454)."""
_ANIMALS = re.compile(
    r"\b(DOG|CANINE|CANIS|CAT|FELINE|FELIS|HORSE|EQUINE|EQUUS|RABBIT|BOVINE|OVINE|PORCINE|RODENT|AVIAN|BIRD)\b"
)


def warnings_from_patient(tags: Tags) -> list[Warn]:
    """`child` and `not_human`; never raises: a tag that makes no sense says nothing."""
    found = []
    if _is_child(tags):
        found.append(Warn.CHILD)
    if _is_animal(tags) or tags.word("QualityControlImage") == "YES":
        found.append(Warn.NOT_HUMAN)
    return found


def _is_child(tags: Tags) -> bool:
    """By PatientAge; where that is missing, no age, or 0 (which some devices write for unknown), by dates."""
    years = years_from_age(tags.word("PatientAge"))
    if not years:
        born = _date(tags.text("PatientBirthDate"))
        taken = _date(tags.text("StudyDate")) or _date(tags.text("AcquisitionDate"))
        by_dates = (taken - born).days / _DAYS["Y"] if born and taken else -1.0
        years = by_dates if 0 <= by_dates < _OLDEST else years
    return years is not None and years < GROWN_UP


def years_from_age(age: str) -> float | None:
    """PatientAge (PS3.5 6.2, AS) in years: 045Y -> 45.0, 030M -> 2.5; 17Y, too. None for what is no age.

    A number alone is taken for years, as it is mostly meant: below 18 it is a child's in any unit.
    """
    match = re.fullmatch(r"0*([0-9]{1,3}) ?([DWMY]?)", age)
    return int(match[1]) * _DAYS[match[2] or "Y"] / _DAYS["Y"] if match else None


def _date(text: str) -> date | None:
    """Of YYYYMMDD, or YYYY.MM.DD as it once was (PS3.5 6.2, DA)."""
    match = re.fullmatch(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})", text)
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None


def _is_animal(tags: Tags) -> bool:
    """By its species, in code or in words, or by PatientSexNeutered, which people do not have."""
    species = [
        item.word("CodeValue")
        for item in tags.items("PatientSpeciesCodeSequence")
        if item.word("CodingSchemeDesignator") in _SNOMED
    ]
    if any(species):
        return not _HUMAN & set(species)
    if tags.word("PatientSexNeutered") in ("ALTERED", "UNALTERED"):
        return True
    return _ANIMALS.search(tags.word("PatientSpeciesDescription")) is not None
