"""What a patient's other films say of a label: made patients with known answers, and NIH's own table."""

import gzip
from pathlib import Path

import pytest

from screen.errors import UsageError
from train.followups import Standing, standings

DATA = Path(__file__).resolve().parent.parent.parent / "shared/data"
HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID"


def table(folder: Path, *lines: str) -> Path:
    path = folder / "Data_Entry_2017.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def of(folder: Path, *findings: str) -> list[str]:
    """The standings of one patient's films, in their order; listed in none, among another patient's."""
    lines = [f"a{at}.png,{found},{at},1" for at, found in enumerate(findings)]
    found = standings(table(folder, *lines[1::2], "b.png,Mass,1,2", *lines[::2]))
    return [found[f"a{at}.png"].value for at in range(len(findings))]


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        (["Mass"], [""]),
        (["No Finding"], [""]),
        (["Mass", "Effusion|Nodule"], ["borne out", "borne out"]),
        (["No Finding", "Edema"], ["borne out", "borne out"]),
        (["No Finding", "Mass"], ["contradicted", "contradicted"]),
        (["Edema", "Edema", "Mass"], ["", "contradicted", "contradicted"]),
        # Elsewhere, but not beside it: as good a reason for as against.
        (["Mass", "Edema", "Mass"], ["", "contradicted", ""]),
        (["Mass", "Mass", "Edema", "Edema"], ["borne out", "borne out", "contradicted", ""]),
    ],
)
def test_films_before_and_after(tmp_path: Path, findings: list[str], expected: list[str]) -> None:
    assert of(tmp_path, *findings) == expected


def test_the_tenth_film_comes_after_the_ninth(tmp_path: Path) -> None:
    # By name, or by number as text, 10 would stand beside 1.
    assert of(tmp_path, *["Edema"] * 9, "Mass", "Mass")[1:] == [""] * 7 + ["contradicted"] + ["borne out"] * 2


def test_a_follow_up_without_a_number_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="line 3"):
        standings(table(tmp_path, "a.png,Mass,0,1", "b.png,Mass,later,1"))


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv.gz"
    path.write_bytes(gzip.compress(b"file,patient_id\n"))
    with pytest.raises(UsageError, match="Data_Entry_2017"):
        standings(path)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_all_of_chest_xray14() -> None:
    found = standings(DATA / "nih-labels/NIH_Data_Entry_2017_v2020.csv.gz")
    assert len(found) == 112_120
    assert {standing: list(found.values()).count(standing) > 5000 for standing in Standing} == dict.fromkeys(
        Standing, True
    )
