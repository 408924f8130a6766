"""What radiologists saw: read from Google's tables, learned in place of mined labels; folds go by them."""

import gzip
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from screen.errors import UsageError
from screen.preprocess import PreprocessSpec
from tests.places import SHARED
from tests.predicted import write_readers, write_table
from train.data.films import labelled_films
from train.data.folds import cross_fold_of
from train.data.readers import read_readers
from train.data.table import Columns, read_table


def test_tables_are_found_by_their_names_gzipped_or_not(tmp_path: Path) -> None:
    folder = write_readers(tmp_path / "readers", 8)
    readers = read_readers(folder)
    assert [readers.verdict(f"{index}.png") for index in range(5)] == [0, 0, 0, 0, 1]
    assert math.isnan(readers.verdict("unknown.png"))
    assert readers.majority.keys() == {f"{index}.png" for index in (0, 1, 2, 4, 5, 6)}
    plain = folder / "all_findings_expert_labels_test_labels.csv"
    (folder / f"reader_{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert read_readers(folder) == readers


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no readers' table"),
        ("Image Index,Nodule\na.png,YES\n", "no column 'Nodule or mass'"),
        ("Image Index,Nodule or mass\na.png,MAYBE\n", "YES or NO, not 'MAYBE'"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, content: str | None, complaint: str) -> None:
    table = write_readers(tmp_path / "readers", 8) / "four_findings_expert_labels_test_labels.csv"
    if content is None:
        table.unlink()
    else:
        table.write_text(content)
    with pytest.raises(UsageError, match=complaint):
        read_readers(table.parent)


def test_films_are_learned_by_what_readers_saw_and_judge_in_the_first_two_folds(tmp_path: Path) -> None:
    table = write_table(tmp_path, 60)
    for name in [*(f"{index:03}" for index in range(60)), "child"]:
        ramp = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{name}.png"), ramp)
    readers = write_readers(tmp_path / "readers", 40)
    spec, cache = PreprocessSpec(size=32), tmp_path / "cache"

    def films(columns: Columns) -> dict[str, tuple[float, bool]]:
        found = labelled_films(table, columns, spec, cache, 0, lambda *_: None)
        return dict(zip(found.files.tolist(), zip(found.labels, found.judged, strict=True), strict=True))

    plain, told = films(Columns()), films(Columns(readers=readers))
    assert not any(judged for _, judged in plain.values())
    for file, (label, judged) in told.items():
        stem = Path(file).stem
        if stem.isdecimal() and int(stem) // 2 % 3 != 2 and int(stem) < 40:
            assert (label, judged) == (float((int(stem) % 4 == 0) != (int(stem) % 10 == 0)), True)
        else:
            assert np.array_equal(label, plain[file][0], equal_nan=True)
            assert judged == ((stem.isdecimal() and int(stem) // 2 % 3 == 2) or stem == "child")


def test_judged_patients_stand_in_the_first_two_folds() -> None:
    folds = {judged: {cross_fold_of(f"P{n}", 0, judged) for n in range(200)} for judged in (False, True)}
    assert folds == {False: {0, 1, 2, 3, 4}, True: {0, 1}}


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the readers' tables")
def test_the_tables_that_google_gave_out() -> None:
    readers = read_readers(SHARED / "nih-labels")
    assert (len(readers.adjudicated), sum(readers.adjudicated.values())) == (4376, 605)
    assert (len(readers.majority), len(readers.single)) == (810, 22)


def test_readers_say_what_is_abnormal_too(tmp_path: Path) -> None:
    folder = write_readers(tmp_path / "readers", 12)
    rows = [
        ("1.png", 0, 1, "Nodule", ""),  # the majority says no
        ("4.png", 1, 1, "Mass", ""),  # it says yes
        ("7.png", 1, 1, "Mass", ""),  # no mass by the adjudicated verdict; of other things nobody was asked
        ("3.png", 1, 1, "Mass|Effusion", ""),  # likewise, but there is an effusion
        ("11.png", 0, 0, "No Finding", ""),
        ("unknown.png", 1, 1, "Mass", "conflict"),
        ("untold.png", 1, 1, "Mass", ""),
    ]
    table = tmp_path / "labels.csv"
    columns = "file,patient_id,tumor,abnormal,findings_raw,tumor_label_basis,nih_image_index"
    lines = [f"{name},P,{tumor},{sick},{names},{basis},{name}" for name, tumor, sick, names, basis in rows]
    table.write_text("\n".join([columns, *lines]) + "\n")
    found = {row.file: row.abnormal for row in read_table(table, Columns(readers=folder))}
    assert math.isnan(found.pop("7.png"))
    assert math.isnan(found.pop("unknown.png"))
    assert found == {"1.png": 0, "4.png": 1, "3.png": 1, "11.png": 0, "untold.png": 1}
    asked = read_readers(folder)
    assert asked.on("tumor") == asked
    assert asked.on("abnormal").majority == asked.abnormal
    assert not asked.on("abnormal").single
    assert not asked.on("effusion").majority
