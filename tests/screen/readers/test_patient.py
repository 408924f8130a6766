"""Whom a film shows, by its tags: children, animals, phantoms, and what says nothing of the kind."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from tests.phantoms import dicom_file, film, film_values, read_from_bytes


def warned(folder: Path, **tags: Any) -> set[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of what it is asked to write
        data = dicom_file(film_values(), **tags)
    return {"child", "not_human"} & set(film(read_from_bytes(folder, data)).warnings)


@pytest.mark.parametrize("age", ["017Y", "17Y", "030M", "215M", "900W", "000D", "000Y", "8", "17"])
def test_a_child_by_its_age(tmp_path: Path, age: str) -> None:
    assert warned(tmp_path, PatientAge=age) == {"child"}


@pytest.mark.parametrize("age", ["018Y", "030Y", "103Y", "216M", "34", "", "old", "Y", "-5Y", "1e1Y"])
def test_no_child_by_its_age(tmp_path: Path, age: str) -> None:
    assert warned(tmp_path, PatientAge=age) == set()


@pytest.mark.parametrize(
    ("born", "taken", "age", "is_child"),
    [
        ("20140422", "20200125", None, True),
        ("2014.04.22", "20200125", "", True),
        ("20080125", "20260125", "", False),  # eighteen that day
        ("20080126", "20260125", "", True),
        ("19400305", "20040826", "000Y", False),  # 0 stands for unknown on some devices
        ("20260101", "20260105", "000D", True),
        ("20140422", "20200125", "034Y", False),  # the age is what was written for this exam
        ("18000101", "20080504", "", False),  # made up
        ("20200101", "20080504", "", False),
        ("20200231", "20200301", "", False),
        ("20140422", "", "", False),
    ],
)
def test_a_child_by_its_dates(tmp_path: Path, born: str, taken: str, age: str | None, is_child: bool) -> None:
    tags = {} if age is None else {"PatientAge": age}
    found = warned(tmp_path, PatientBirthDate=born, StudyDate=taken, **tags)
    assert found == ({"child"} if is_child else set())


def species(code: str, scheme: str = "SCT") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, scheme, "-"
    return [item]


@pytest.mark.parametrize(
    ("tags", "is_other"),
    [
        ({"PatientSpeciesDescription": "Canine"}, True),
        ({"PatientSpeciesDescription": "Felis catus"}, True),
        ({"PatientSpeciesCodeSequence": species("448771007")}, True),
        ({"PatientSexNeutered": "UNALTERED"}, True),
        ({"QualityControlImage": "YES"}, True),
        ({"QualityControlImage": "NO"}, False),
        ({"PatientSpeciesDescription": "Homo sapiens"}, False),
        ({"PatientSpeciesDescription": "Mensch"}, False),
        ({"PatientSpeciesCodeSequence": species("337915000")}, False),
        ({"PatientSpeciesCodeSequence": species("L-85003", "SRT")}, False),
        ({"PatientSpeciesCodeSequence": species("X1", "99LOCAL")}, False),
        ({"PatientSpeciesCodeSequence": []}, False),
        ({"PatientSpeciesDescription": ""}, False),
    ],
)
def test_no_person(tmp_path: Path, tags: dict[str, Any], is_other: bool) -> None:
    assert warned(tmp_path, **tags) == ({"not_human"} if is_other else set())
