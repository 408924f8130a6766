"""What our objects copy of a film's header: who the patient is, and which study it is.

Read where films are read, in a decode worker, and believed no more than anything else that one of these says.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR

from screen.decode import Decoded, Outcome
from screen.decode import decode as decode_film
from screen.discover import Source
from screen.preprocess import PreprocessSpec
from screen.readers import Limits
from screen.readers.tags import Tags, parse_dicom, quietly, tags_of
from screen.shortcuts import DecodePolicy
from screen.text import visible

DECODE_WITH_HEADER = "screen.archive.headers:decode"
"""What decode workers call here."""

# Patient, General Study and Patient Study modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2): what archives file by
# and readers go by. The last three name the film itself.
_TEXTS = (
    "PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "PatientBirthDate", "PatientSex",
    "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
    "StudyDescription", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID",
)  # fmt: skip
_SEQUENCES = (
    "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDsSequence", "IssuerOfAccessionNumberSequence",
    "ProcedureCodeSequence", "DeidentificationMethodCodeSequence",
)  # fmt: skip
_IN_ITEMS = (
    "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning", "LocalNamespaceEntityID",
    "UniversalEntityID", "UniversalEntityIDType", "PatientID", "IssuerOfPatientID", "TypeOfPatientID",
)  # fmt: skip
_WANTED = tags_of(" ".join(["SpecificCharacterSet", *_TEXTS, *_SEQUENCES]))
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""They must stand in every object, if only empty."""

OF_THE_FILM = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID")
"""What names the film itself, and no object of ours."""

_MOST = 16
"""Values of one tag, and items of one sequence."""
_LONGEST = 1024
"""Characters of one value."""
_FORMS = {
    "UI": r"[0-9.]{1,64}",
    "TM": r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?",
    "AS": r"\d{3}[DWMY]",
    "CS": r"[A-Z0-9 _]{1,16}",
    "DS": r"(?=.{1,16}$)[+-]?\d+(\.\d+)?([eE][+-]?\d{1,2})?",
}
"""What is no more than text (names, numbers, descriptions) is written as it stands."""


def decode(source: Source, spec: PreprocessSpec, limits: Limits, policy: DecodePolicy) -> Outcome:
    """`screen.decode.decode`, and with a film what is copied of its header."""
    outcome = decode_film(source, spec, limits, policy)
    if not isinstance(outcome.result, Decoded):
        return outcome
    with source.open() as stream:
        status = os.fstat(stream.fileno())
        if (status.st_size, status.st_mtime_ns) != (source.size, source.mtime_ns):
            return outcome
        tags = parse_dicom(stream, limits, _WANTED).tags
    with quietly():
        header: dict[str, Any] = _texts(tags, _TEXTS)
        header |= {
            name: [_texts(item, _IN_ITEMS) for item in tags.items(name)[:_MOST]] for name in _SEQUENCES
        }
    return replace(outcome, result=replace(outcome.result, header=json.dumps(header)))


def _texts(tags: Tags, keywords: Iterable[str]) -> dict[str, list[str]]:
    """The values of each, one line of visible characters each."""
    found = {name: tags.values(name)[:_MOST] for name in keywords}
    return {
        name: [visible(str(value)).strip()[:_LONGEST] for value in values if not isinstance(value, Dataset)]
        for name, values in found.items()
        if values
    }


def header_from_json(text: str) -> Dataset | None:
    """The attributes that our objects copy, in Unicode; None if there is not each UID.

    What its value representation does not allow is left empty or out: our own object would be invalid.
    """
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        return None
    ds = _data_set(header, _TEXTS)
    for keyword in _SEQUENCES:
        if items := [item for each in _list(header, keyword) if (item := _data_set(each, _IN_ITEMS))]:
            setattr(ds, keyword, items)
    if not all(ds.get(keyword) for keyword in ("StudyInstanceUID", *OF_THE_FILM)):
        return None
    for keyword in _TYPE_2:
        if keyword not in ds:
            setattr(ds, keyword, "")
    ds.SpecificCharacterSet = "ISO_IR 192"
    return ds


def _data_set(said: object, keywords: Iterable[str]) -> Dataset:
    """What a worker says is looked at as if it were anybody's."""
    ds = Dataset()
    for keyword in keywords:
        values = [
            value for value in _list(said, keyword) if isinstance(value, str) and _may_stand(keyword, value)
        ]
        if values:
            setattr(ds, keyword, values if len(values) > 1 else values[0])
    return ds


def _list(said: object, keyword: str) -> list[object]:
    values = said.get(keyword) if isinstance(said, dict) else None
    return values[:_MOST] if isinstance(values, list) else []


def _may_stand(keyword: str, value: str) -> bool:
    vr = dictionary_VR(keyword)
    if keyword == "PatientSex":
        return value in ("M", "F", "O")
    if vr == "DA":
        return re.fullmatch(r"\d{8}", value, re.ASCII) is not None and _is_date(value)
    return re.fullmatch(_FORMS[vr], value, re.ASCII) is not None if vr in _FORMS else bool(value)


def _is_date(value: str) -> bool:
    try:
        datetime.strptime(value, "%Y%m%d")
    except ValueError:
        return False
    return True
