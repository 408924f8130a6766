"""What is copied of a film's header: read by a worker, and believed no further than DICOM allows."""

import json
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest

from screen.archive.headers import decode, header_from_json
from screen.decode import Decoded
from screen.discover import discover
from screen.preprocess import PreprocessSpec
from screen.readers import Limits
from screen.readers.tags import quietly
from screen.shortcuts import FULL
from tests.places import EXAMPLES

GOOD: dict[str, Any] = {
    "PatientName": ["Doe^Jane"],
    "PatientID": ["P-1"],
    "StudyInstanceUID": ["1.2.3"],
    "SeriesInstanceUID": ["1.2.3.4"],
    "SOPClassUID": ["1.2.840.10008.5.1.4.1.1.1.1"],
    "SOPInstanceUID": ["1.2.3.4.5"],
    **{
        name: []
        for name in (
            "IssuerOfPatientIDQualifiersSequence",
            "OtherPatientIDsSequence",
            "IssuerOfAccessionNumberSequence",
            "ProcedureCodeSequence",
            "DeidentificationMethodCodeSequence",
        )
    },
}


def header(**changes: Any) -> pydicom.Dataset | None:
    with warnings.catch_warnings(), quietly():
        return header_from_json(json.dumps(GOOD | changes))


def test_a_film_gives_its_header(tmp_path: Path) -> None:
    ds = pydicom.dcmread(EXAMPLES / "study-1" / "film-1.dcm")
    issuer = pydicom.Dataset()
    issuer.LocalNamespaceEntityID = "Krankenhaus Süd"
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.IssuerOfAccessionNumberSequence = [issuer]
    ds.StudyDescription = "Thorax p.a., Rücken"
    ds.OtherPatientNames = "not copied"
    ds.save_as(tmp_path / "film.dcm")
    (source,) = discover([tmp_path / "film.dcm"], None)
    outcome = decode(source, PreprocessSpec(), Limits(), FULL)
    assert isinstance(outcome.result, Decoded)
    copied = header_from_json(outcome.result.header)
    assert copied is not None
    assert copied.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "Krankenhaus Süd"
    assert copied.StudyDescription == "Thorax p.a., Rücken"
    assert copied.PatientName == ds.PatientName
    assert copied.SpecificCharacterSet == "ISO_IR 192"
    assert copied.PatientBirthDate == ""
    assert "OtherPatientNames" not in copied


@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("PatientSex", "F", True),
        ("PatientSex", "female", False),
        ("PatientBirthDate", "19700229", False),
        ("PatientBirthDate", "1970-01-01", False),
        ("PatientBirthDate", "19720229", True),
        ("StudyTime", "235959.123456", True),
        ("StudyTime", "25", False),
        ("PatientAge", "057Y", True),
        ("PatientAge", "57", False),
        ("PatientSize", "1.75", True),
        ("PatientSize", "1,75", False),
        ("PatientSize", "1" * 17, False),
        ("PatientIdentityRemoved", "yes", False),
        ("PatientID", "=1+1", True),
        ("PatientName", "O'Neil^\N{SNOWMAN}", True),
    ],
)
def test_what_dicom_does_not_allow_is_left_out(keyword: str, value: str, kept: bool) -> None:
    copied = header(**{keyword: [value]})
    assert copied is not None
    assert (str(copied.get(keyword, "")) == value) is kept


@pytest.mark.parametrize("keyword", [name for name in GOOD if name.endswith("UID")])
@pytest.mark.parametrize("value", [[], [""], ["1.2.x"], ["1" * 65], ["../../etc"]])
def test_without_each_uid_there_is_none(keyword: str, value: list[str]) -> None:
    assert header(**{keyword: value}) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "5",
        "[" * 100_000,
        json.dumps(GOOD | {"PatientName": [5]}),
        json.dumps(GOOD | {"PatientName": "Doe"}),
        json.dumps(GOOD | {"PatientName": [{"PatientID": ["1"]}]}),
        json.dumps(GOOD | {"ProcedureCodeSequence": [5]}),
        json.dumps(GOOD | {"ProcedureCodeSequence": {"CodeValue": ["1"]}}),
        json.dumps({name: value for name, value in GOOD.items() if name != "ProcedureCodeSequence"}),
    ],
)
def test_what_no_worker_says_is_no_header_or_harmless(text: str) -> None:
    copied = header_from_json(text)
    assert copied is None or copied.PatientName == "" or "ProcedureCodeSequence" not in copied
