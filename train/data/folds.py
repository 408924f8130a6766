"""Which side of the split a patient is on: decided by the patient's fold (`screen.evaluation.folds`).

Folds 0 and 1 are the test split, 2 and 3 validation, the others training.
"""

import hashlib
from enum import StrEnum

from screen.evaluation.folds import FOLDS, fold_of

CROSS_FOLDS = 5
"""Of cross-validation: each holds two of the folds above, the first of them the test split."""

JUDGED_FOLDS = 2
"""The first of them hold all patients of whom more is known than a text says."""


class Split(StrEnum):
    """What a patient's films may be used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    LEFT_OUT = "left out"


def split_of(patient_id: str, seed: int) -> Split:
    """The side of the split that this patient's films are on."""
    fold = fold_of(patient_id, seed)
    if fold < 2:
        return Split.TEST
    return Split.VALIDATION if fold < 4 else Split.TRAIN


def cross_fold_of(patient_id: str, seed: int, judged: bool = False) -> int:
    """0 … CROSS_FOLDS − 1: the fold of a cross-validation in which this patient is held out.

    judged: by more than a text, so that recipes are judged by this patient: one of the first two folds, and
    a recipe need be fitted no more than twice.
    """
    fold = fold_of(patient_id, seed)
    return fold % JUDGED_FOLDS if judged else fold * CROSS_FOLDS // FOLDS


def label_rank(patient_id: str, seed: int) -> float:
    """0 … 1, uniform over patients and independent of their folds.

    The patients below .1 are a tenth of them, and part of those below .25: label-efficiency curves grow by
    adding patients.
    """
    digest = hashlib.sha256(f"label\0{seed}\0{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
