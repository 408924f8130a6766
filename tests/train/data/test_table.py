"""Tables of labels: any column names, and the NIH's own layout."""

import gzip
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from screen.errors import UsageError
from train.data.table import Columns, read_table, read_true_shapes


def test_any_column_names(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("png,who,nodule\na.png,P1,1\nb.png,P2,0\nc.png,P2,\n")
    rows = read_table(table, Columns(file="png", patient="who", label="nodule"))
    assert [row.path for row in rows] == [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    assert [row.patient_id for row in rows] == ["P1", "P2", "P2"]
    assert [row.label for row in rows[:2]] == [1, 0]
    assert math.isnan(rows[2].label)
    assert math.isnan(rows[0].abnormal)


def test_a_missing_column_says_which_option_names_it(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("file,patient,tumor\na.png,P1,1\n")
    with pytest.raises(UsageError, match="--patient-column"):
        read_table(table, Columns())


def test_a_label_that_is_no_label_names_its_line(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("file,patient_id,tumor\na.png,P1,1\nb.png,P1,maybe\n")
    with pytest.raises(UsageError, match="line 3"):
        read_table(table, Columns())


def test_nih_layout(tmp_path: Path) -> None:
    images = tmp_path / "images_001" / "images"
    images.mkdir(parents=True)
    for name in ("00000001_000.png", "00000002_000.png"):
        cv2.imwrite(str(images / name), np.zeros((40, 40), np.uint8))
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID\n"
        "00000001_000.png,Effusion|Mass,0,1\n"
        "00000002_000.png,No Finding,0,2\n"
        "00000003_000.png,Nodule,0,3\n"
    )
    rows = read_table(tmp_path, Columns())
    assert [(row.path.name, row.patient_id, row.label, row.abnormal) for row in rows] == [
        ("00000001_000.png", "1", 1.0, 1.0),
        ("00000002_000.png", "2", 0.0, 0.0),
    ]


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Data_Entry_2017"):
        read_table(tmp_path, Columns())


def test_other_findings_are_read_where_they_are_given(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text(
        "file,patient_id,tumor,findings_raw\na.png,P1,1,Effusion|Mass\nb.png,P2,0,No Finding\nc.png,P3,0,\n"
    )
    said = [row.findings for row in read_table(table, Columns())]
    assert said == [{"Effusion", "Mass"}, frozenset(), None]


TRUE_SIZES = (
    "Image Index,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
    "00000001_000.png,PA,2500,2048,0.168,0.168\n"
)


@pytest.mark.parametrize("name", ["sizes.csv", "sizes.csv.gz"])
def test_true_shapes_are_found_by_nih_index_or_file_name(tmp_path: Path, name: str) -> None:
    sizes = tmp_path / name
    sizes.write_bytes(gzip.compress(TRUE_SIZES.encode()) if name.endswith(".gz") else TRUE_SIZES.encode())
    table = tmp_path / "mine.csv"
    table.write_text(
        "file,patient_id,tumor,nih_image_index\n"
        "a.jpg,P1,1,00000001_000.png\nimages/00000001_000.png,P1,1,\nb.png,P2,0,\n"
    )
    shapes = [row.true_shape for row in read_table(table, Columns(true_sizes=sizes))]
    assert shapes == [(2048, 2500), (2048, 2500), None]
    assert {row.true_shape for row in read_table(table, Columns())} == {None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,patient_id\n", "Data_Entry_2017"),
        (TRUE_SIZES.replace("2500", "wide"), "line 2"),
        (TRUE_SIZES.replace("2048", "0"), "line 2"),
        (TRUE_SIZES.replace(",2048,0.168,0.168", ""), "line 2"),
    ],
)
def test_a_table_of_other_things_has_no_true_shapes(tmp_path: Path, text: str, said: str) -> None:
    sizes = tmp_path / "sizes.csv"
    sizes.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_true_shapes(sizes)


def test_a_broken_archive_has_no_true_shapes(tmp_path: Path) -> None:
    sizes = tmp_path / "sizes.csv.gz"
    sizes.write_bytes(gzip.compress(TRUE_SIZES.encode())[:-20])
    with pytest.raises(UsageError, match="Data_Entry_2017"):
        read_true_shapes(sizes)
