"""Folds of patients: decided by the patient's identifier alone.

A hash, not a list: a patient lands in the same fold in every data set, in every order, with any films added
or removed, so no patient can ever stand on two sides.
"""

import hashlib

FOLDS = 10


def fold_of(patient_id: str, seed: int) -> int:
    """0 … FOLDS − 1, uniform over patients, the same on every machine.

    Raises ValueError for an empty identifier: films of unknown patients cannot be split.
    """
    if not patient_id:
        raise ValueError("a film without a patient identifier cannot be put on one side of a split")
    digest = hashlib.sha256(f"{seed}\0{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % FOLDS
