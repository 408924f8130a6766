"""Which side of the split a patient is on: decided by the patient's identifier alone.

A hash, not a list: a patient lands on the same side in every data set, in every order, with any films
added or removed, so no patient can ever stand on two sides.
"""

import hashlib
from enum import StrEnum

FOLDS = 10
"""Folds 0 and 1 are the test split, 2 and 3 validation, the others training."""

CROSS_FOLDS = 5
"""Of cross-validation: each holds two of the folds above, the first of them the test split."""


class Split(StrEnum):
    """What a patient's films may be used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    LEFT_OUT = "left out"


def fold_of(patient_id: str, seed: int) -> int:
    """0 … FOLDS − 1, uniform over patients, the same on every machine.

    Raises ValueError for an empty identifier: films of unknown patients cannot be split.
    """
    if not patient_id:
        raise ValueError("a film without a patient identifier cannot be put on one side of a split")
    digest = hashlib.sha256(f"{seed}\0{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % FOLDS


def split_of(patient_id: str, seed: int) -> Split:
    """The side of the split that this patient's films are on."""
    fold = fold_of(patient_id, seed)
    if fold < 2:
        return Split.TEST
    return Split.VALIDATION if fold < 4 else Split.TRAIN


def cross_fold_of(patient_id: str, seed: int) -> int:
    """0 … CROSS_FOLDS − 1: the fold of a cross-validation in which this patient is held out."""
    return fold_of(patient_id, seed) * CROSS_FOLDS // FOLDS


def label_rank(patient_id: str, seed: int) -> float:
    """0 … 1, uniform over patients and independent of their folds.

    The patients below .1 are a tenth of them, and part of those below .25: label-efficiency curves grow by
    adding patients.
    """
    digest = hashlib.sha256(f"label\0{seed}\0{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
