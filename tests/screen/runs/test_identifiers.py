"""Pseudonyms: the same every night, different under another key, and nothing left of the original."""

import re
import stat
from dataclasses import fields, replace
from pathlib import Path

import pytest

from screen.errors import UsageError
from screen.film import Identity
from screen.runs.identifiers import IdentityFile, Pseudonyms, identifiers_for, key_file, site_key

WHO = Identity(
    patient_id="77",
    accession_number="77",
    study_date="20260102",
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.1",
    sop_instance_uid="1.2.3.1.1",
    view="PA",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CXR_SCREEN_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def test_full_changes_nothing() -> None:
    full = identifiers_for("full")
    assert full.identity(WHO) is WHO
    assert full.file("a/b.dcm") == "a/b.dcm"
    assert not key_file().exists()


def test_pseudonyms_are_keyed_stable_and_told_apart_by_kind() -> None:
    one, again, other = (Pseudonyms("none", key) for key in (b"k" * 16, b"k" * 16, b"l" * 16))
    hidden = one.identity(WHO)
    assert hidden == again.identity(WHO)
    assert hidden.patient_id != other.identity(WHO).patient_id
    assert hidden.patient_id != hidden.accession_number  # the same text in two tags is no link
    assert hidden.study_date == ""
    assert hidden.view == "PA"
    for value in (hidden.study_instance_uid, hidden.series_instance_uid, hidden.sop_instance_uid):
        assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", value)
        assert len(value) <= 64
    assert one.identity(Identity()) == Identity()
    assert one.setting != other.setting
    assert "1-1" not in one.token("1-1")
    assert re.fullmatch(r"[0-9a-f]{32}", one.file("jane.dcm"))


DECIDED = {
    "patient_id": "keyed",
    "accession_number": "keyed",
    "study_date": "left out",
    "study_instance_uid": "keyed",
    "series_instance_uid": "keyed",
    "sop_instance_uid": "keyed",
    "view": "known words",
    "modality": "known words",
    "manufacturer": "keyed",
    "manufacturer_model_name": "keyed",
    "software_versions": "keyed",
    "station_name": "keyed",
    "institution_name": "keyed",
    "acquisition_date": "left out",
    "patient_sex": "known words",
    "patient_age": "decades",
}


def test_every_field_has_a_treatment() -> None:
    """A new field of Identity comes with a decision. Until then it is left empty, and this fails."""
    assert {field.name for field in fields(Identity)} == DECIDED.keys()


@pytest.mark.parametrize("name", [field.name for field in fields(Identity)])
def test_free_text_shows_in_no_field(name: str) -> None:
    hidden = Pseudonyms("none", b"k" * 16).identity(replace(Identity(), **{name: "DOE^JANE"}))
    assert "DOE" not in repr(hidden)
    assert bool(getattr(hidden, name)) == (DECIDED[name] == "keyed")


@pytest.mark.parametrize(
    ("view", "shown"),
    [
        *(
            (word, word)
            for word in ("PA", "AP", "LL", "RL", "LLD", "RAO", "LATERAL", "OBLIQUE", "AP_AXIAL", "")
        ),
        *((word, "") for word in ("DOE^JANE", "PA JANE DOE", "AP PORTABLE", "PA\\DOE", "20260102")),
    ],
)
def test_views_are_known_words_or_nothing(view: str, shown: str) -> None:
    assert Pseudonyms("pseudonym", b"k" * 16).identity(Identity(view=view)).view == shown


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("modality", "DX", "DX"),
        ("modality", "DOE", ""),
        ("manufacturer", "Philips Medical Systems", "PHILIPS"),
        ("manufacturer", "GE Healthcare", "GE"),
        ("manufacturer_model_name", "DigitalDiagnost C90", "DIGITALDIAGNOST"),
        ("patient_sex", "F", "F"),
        ("patient_sex", "FRAU DOE", ""),
        ("patient_age", "045Y", "040Y"),
        ("patient_age", "011M", "000Y"),
        ("patient_age", "103Y", "090Y"),
        ("patient_age", "45", ""),
    ],
)
def test_what_nights_are_watched_by_tells_nobody(field: str, value: str, shown: str) -> None:
    hidden = Pseudonyms("pseudonym", b"k" * 16).identity(replace(Identity(), **{field: value}))
    assert getattr(hidden, field) == shown


def test_the_key_is_made_once_and_for_its_owner_alone(home: Path) -> None:
    first = site_key()
    assert site_key() == first
    assert len(first) == 64
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert list(key_file().parent.iterdir()) == [key_file()]
    assert key_file().is_relative_to(home)


def test_a_key_that_others_can_read_is_refused() -> None:
    site_key()
    key_file().chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        site_key()


def test_the_environment_has_the_first_word_and_must_be_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_SCREEN_KEY", "0123456789abcdef")
    assert site_key() == b"0123456789abcdef"
    assert not key_file().exists()
    monkeypatch.setenv("CXR_SCREEN_KEY", "short")
    with pytest.raises(UsageError, match="at least 16"):
        site_key()


def test_the_mapping_is_appended_and_survives_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "identities.csv"
    hidden = Pseudonyms("pseudonym", b"k" * 16)
    for name in ("=a.dcm", "b.dcm"):
        mapping = IdentityFile(path, tmp_path / "run")
        mapping.add(hidden.file(name), name, hidden.identity(WHO), WHO)
        assert hidden.file(name) not in path.read_text()
        mapping.flush()
        mapping.close()
        with path.open("a") as file:
            file.write("cut of")
    lines = path.read_text().splitlines()
    assert lines[0].startswith("file_pseudonym,file,patient_pseudonym,patient_id,")
    assert lines[1].startswith(f"{hidden.file('=a.dcm')},'=a.dcm,")
    assert lines[2] == "cut of"
    assert lines[3].startswith(f"{hidden.file('b.dcm')},b.dcm,")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_mapping_stays_out_of_the_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="outside"):
        IdentityFile(tmp_path / "run" / "identities.csv", tmp_path / "run")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="outside"):
        IdentityFile(tmp_path / "link" / "run" / "x.csv", tmp_path / "run")
