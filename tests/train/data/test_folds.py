"""No patient stands on two sides."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screen.evaluation.folds import FOLDS, fold_of
from train.data.folds import Split, split_of


@given(st.text(min_size=1), st.integers(0, 1000))
def test_a_patient_has_one_fold_whatever_else_is_there(patient: str, seed: int) -> None:
    assert 0 <= fold_of(patient, seed) < FOLDS
    assert split_of(patient, seed) == split_of(patient, seed)


def test_the_split_is_pinned() -> None:
    # Another hash would move patients from the test split into training without anybody noticing.
    assert [fold_of(f"nihp_{n:08d}", 0) for n in range(8)] == [6, 8, 0, 1, 5, 2, 1, 3]


def test_a_film_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="patient"):
        fold_of("", 0)


def test_shares_are_as_documented() -> None:
    sides = [split_of(str(n), 1) for n in range(5000)]
    assert 0.17 < sides.count(Split.TEST) / 5000 < 0.23
    assert 0.17 < sides.count(Split.VALIDATION) / 5000 < 0.23


def test_real_patients_are_shared_out_as_documented(shared: Path) -> None:
    with (shared / "cxr" / "labels.csv").open(newline="") as stream:
        patients = {row["patient_id"] for row in csv.DictReader(stream)}
    sides = [split_of(patient, 0) for patient in patients]
    assert 0.17 < sides.count(Split.TEST) / len(sides) < 0.23
    assert 0.17 < sides.count(Split.VALIDATION) / len(sides) < 0.23
