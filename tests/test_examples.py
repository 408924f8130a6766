"""The example films are what `examples/README.md` says, and can be made again."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from screen.codes import Status
from screen.discover import discover
from screen.film import Film, Unscreened
from screen.preprocess import PreprocessSpec, square_from_pixels
from screen.readers import read
from tests.places import ROOT

EXAMPLES = ROOT / "examples"
FILMS = EXAMPLES / "films"
BROKEN = "study-4/film-cut-short.dcm"


def table() -> dict[str, tuple[str, str]]:
    """File -> (status, reason), from the README's table."""
    rows = re.findall(
        r"^\| `([^`]+)` \|.*\| (\w+)(?: `(\w+)`)? \|$", (EXAMPLES / "README.md").read_text(), re.M
    )
    return {file: (status, reason) for file, status, reason in rows}


@pytest.fixture(scope="module")
def films() -> dict[str, Film | Unscreened]:
    return {source.path.relative_to(FILMS).as_posix(): read(source) for source in discover([FILMS], None)}


def film(films: dict[str, Film | Unscreened], name: str) -> Film:
    found = films[name]
    assert isinstance(found, Film)
    return found


def test_the_table_lists_every_file() -> None:
    assert set(table()) == {path.relative_to(FILMS).as_posix() for path in FILMS.rglob("*") if path.is_file()}


def test_every_file_is_read_as_the_table_says(films: dict[str, Film | Unscreened]) -> None:
    found = {
        name: (str(result.status), str(result.reason)) if isinstance(result, Unscreened) else ("screened", "")
        for name, result in films.items()
    }
    assert found == table()
    assert {status for status, _ in found.values()} == {str(status) for status in Status}


def test_a_migrated_film_gives_the_same_square(films: dict[str, Film | Unscreened]) -> None:
    first, second = film(films, "study-2/film.dcm"), film(films, "study-2/film-migrated.dcm")
    spec = PreprocessSpec()
    squares = [square_from_pixels(one.pixels, spec).values for one in (first, second)]
    assert np.array_equal(*squares)
    assert first.identity.sop_instance_uid == second.identity.sop_instance_uid
    assert first.pixel_digest != second.pixel_digest, "another encoding is no duplicate but a reused UID"


def test_a_film_sent_twice_is_a_duplicate(films: dict[str, Film | Unscreened]) -> None:
    first, second = film(films, "study-3/film.dcm"), film(films, "study-3/film-sent-twice.dcm")
    assert first.pixel_digest == second.pixel_digest
    assert first.identity == second.identity


@pytest.mark.parametrize("name", ["study-1/film-1.dcm", "study-2/film.dcm", "study-3/film.dcm", "normal.png"])
def test_bones_are_bright_and_air_is_dark(films: dict[str, Film | Unscreened], name: str) -> None:
    """In any polarity: the spine and the abdomen of a frontal film are brighter than its lungs."""
    values = square_from_pixels(film(films, name).pixels, PreprocessSpec()).values
    spine = np.median(values[60:180, 102:122])
    lungs = np.median(np.hstack([values[70:120, 55:85], values[70:120, 140:170]]))
    assert spine > lungs + 40


def test_chest_films_say_so_and_belong_to_studies(films: dict[str, Film | Unscreened]) -> None:
    one, other = film(films, "study-1/film-1.dcm"), film(films, "study-1/film-2.dcm")
    assert one.declared_chest
    assert one.identity.study_instance_uid == other.identity.study_instance_uid
    assert one.identity.sop_instance_uid != other.identity.sop_instance_uid
    assert not film(films, "normal.png").declared_chest


def test_persons_are_invented_and_headers_complete() -> None:
    for path in FILMS.rglob("*.dcm"):
        if path.relative_to(FILMS).as_posix() == BROKEN:
            continue
        ds = pydicom.dcmread(path)
        assert str(ds.PatientName).startswith("Example^")
        assert ds.PatientIdentityRemoved == "YES"
        for uid in (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID):
            assert uid.is_valid
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID


def test_the_script_makes_the_same_bytes_again(shared: Path, tmp_path: Path) -> None:
    make = [sys.executable, EXAMPLES / "make_examples.py", shared, "--out", tmp_path]
    subprocess.run(make, check=True, capture_output=True)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(FILMS): path.read_bytes() for path in FILMS.rglob("*") if path.is_file()}
    assert made.keys() == kept.keys()
    assert [name for name in made if made[name] != kept[name]] == []


def test_the_script_says_what_it_needs(tmp_path: Path) -> None:
    make = [sys.executable, EXAMPLES / "make_examples.py", tmp_path, "--out", tmp_path / "films"]
    done = subprocess.run(make, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "raw-samples/images/nih_00001543_004.png" in done.stderr
