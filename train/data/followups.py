"""Which labels a patient's other films bear out.

Labels that were mined from reports err, one film at a time; what is in a chest mostly stays there. So a label
that other films' reports repeat is likelier to be right, without anybody looking at a film. How
much likelier, by what radiologists saw, and what that does not prove: docs/decisions/labels-borne-out.md.
"""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from screen.errors import UsageError
from train.data.boxes import NIH_TUMOR
from train.data.table import read_nih_index

_COLUMNS = ("Patient ID", "Follow-up #", "Finding Labels")


def borne_out(table: Path) -> dict[str, str]:
    """Of the films whose label, Mass or Nodule, is borne out: image index -> how many films the patient has.

    With the finding it is borne out if the film before or after has it too; without it, if no other film of
    the patient has it. Numbers of films come as `2`, `3 to 4`, `5 to 8`, … : who is filmed often is sicker,
    so films are compared with those of patients that have about as many. table: NIH's
    (`Data_Entry_2017*.csv`, `.gz` too); UsageError if it is not that, or says something twice or not at all.
    """
    result: dict[str, str] = {}
    for films in _films_of_patients(table):
        none = not any(found for _, found in films)
        repeated = set[str]()
        for (before, found_before), (after, found_after) in pairwise(films):
            if found_before and found_after:
                repeated |= {before, after}
        if len(films) > 1:
            result |= {index: _about(len(films)) for index, _ in films if none or index in repeated}
    return result


def _films_of_patients(table: Path) -> list[list[tuple[str, bool]]]:
    """Each patient's films in their order: image index, and whether it is said to show the finding."""
    patients: dict[str, dict[int, tuple[str, bool]]] = defaultdict(dict)
    seen: set[str] = set()
    for line, (index, patient, number, findings) in read_nih_index(table, _COLUMNS):
        if not patient or not findings or not number.isdecimal() or len(number) > 9:
            raise UsageError(f"{table}, line {line}: a film needs a patient, a follow-up number and a label")
        if index in seen or int(number) in patients[patient]:
            raise UsageError(
                f"{table}, line {line}: a film, or a patient's follow-up number, is listed twice"
            )
        seen.add(index)
        patients[patient][int(number)] = index, not NIH_TUMOR.isdisjoint(findings.split("|"))
    return [[films[number] for number in sorted(films)] for films in patients.values()]


def _about(films: int) -> str:
    """`2`, `3 to 4`, `5 to 8`, `9 to 16`, …"""
    most = 1 << (films - 1).bit_length()
    return f"{most // 2 + 1} to {most}" if most > 2 else "2"
