"""Which labels a patient's other films bear out: made patients with known answers, and NIH's own table."""

import gzip
from pathlib import Path

import pytest

from screen.errors import UsageError
from tests.places import SHARED
from train.data.followups import borne_out

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID"


def table(folder: Path, *lines: str) -> Path:
    path = folder / "Data_Entry_2017.csv.gz"
    # As a spreadsheet writes it, with a mark of the byte order.
    path.write_bytes(gzip.compress("\n".join(["\ufeff" + HEADER, *lines, ""]).encode()))
    return path


def of(folder: Path, *findings: str) -> dict[int, str]:
    """Those of one patient's films, by their numbers; listed in no order, among another patient's."""
    lines = [f"a{at}.png,{found},{at},1" for at, found in enumerate(findings)]
    found = borne_out(table(folder, *lines[1::2], "b.png,Mass,1,2", *lines[::2]))
    assert "b.png" not in found
    return {at: found[f"a{at}.png"] for at in range(len(findings)) if f"a{at}.png" in found}


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        (["Mass"], {}),
        (["No Finding"], {}),
        (["Mass", "Effusion|Nodule"], {0: "2", 1: "2"}),
        (["No Finding", "Edema"], {0: "2", 1: "2"}),
        (["No Finding", "Mass"], {}),
        (["Edema", "Edema", "Mass"], {}),
        (["Mass", "Edema", "Mass"], {}),
        (["Mass", "Mass", "Edema", "Edema"], {0: "3 to 4", 1: "3 to 4"}),
        (["Edema"] * 5, dict.fromkeys(range(5), "5 to 8")),
    ],
)
def test_films_before_and_after(tmp_path: Path, findings: list[str], expected: dict[int, str]) -> None:
    assert of(tmp_path, *findings) == expected


def test_the_tenth_film_comes_after_the_ninth(tmp_path: Path) -> None:
    # By name, or by number as text, 10 would stand beside 1, and 9 last of all.
    assert of(tmp_path, *["Edema"] * 9, "Mass", "Mass") == {9: "9 to 16", 10: "9 to 16"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("b.png,Mass,later,1", "line 3"),
        ("b.png,Mass,,1", "line 3"),
        ("b.png,Mass,1,", "line 3"),
        ("b.png,,1,1", "line 3"),
        ("b.png", "line 3"),
        ("b.png,Mass," + "9" * 5000 + ",1", "line 3"),
        ("a.png,Mass,1,1", "line 3.*twice"),
        ("b.png,Mass,0,1", "line 3.*twice"),
        ("b.png," + "x" * 200_000 + ",1,1", "Data_Entry_2017"),
    ],
)
def test_what_would_bear_out_by_mistake_is_refused(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        borne_out(table(tmp_path, "a.png,Mass,0,1", line))


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,patient_id\n")
    with pytest.raises(UsageError, match="Data_Entry_2017"):
        borne_out(path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_chest_xray14() -> None:
    found = borne_out(SHARED / "nih-labels/NIH_Data_Entry_2017_v2020.csv.gz")
    # Counted another way: a patient's films as + and -, all of them without a +, else its runs of ++ or more.
    assert len(found) == 56_181
    assert found["00000001_000.png"] == "3 to 4"
