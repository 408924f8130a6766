"""What a patient's other films say of a film's label.

Labels that were mined from reports err, one film at a time; what is in a chest mostly stays there. So whether
the films before and after say the same tells right labels from wrong ones, without anybody looking at a film
(docs/decisions.md has how well, by what radiologists saw).
"""

from collections import defaultdict
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

from screen.errors import UsageError
from train.boxes import NIH_TUMOR
from train.table import read_nih_index


class Standing(StrEnum):
    """Of a label among those of the patient's other films."""

    BORNE_OUT = "borne out"
    CONTRADICTED = "contradicted"
    OPEN = ""


def standings(table: Path) -> dict[str, Standing]:
    """NIH's table (`Data_Entry_2017*.csv`, `.gz` too): image index -> how its label, Mass or Nodule, stands.

    With the finding it is borne out if the film before or after has it, contradicted if no other film of the
    patient does. Without it, it is borne out if no other film has the finding, contradicted if the one
    before or after does. Patients with one film leave it open. Raises UsageError if it is not that table.
    """
    films: dict[str, list[tuple[int, str, bool]]] = defaultdict(list)
    columns = ("Finding Labels", "Follow-up #", "Patient ID")
    for line, (index, findings, number, patient) in read_nih_index(table, columns):
        if not number.isdecimal():
            raise UsageError(f"{table}, line {line}: a follow-up's number must be one")
        films[patient].append((int(number), index, not NIH_TUMOR.isdisjoint(findings.split("|"))))
    result = {}
    for of_patient in films.values():
        of_patient.sort()
        count = sum(found for _, _, found in of_patient)
        beside = dict.fromkeys((index for _, index, _ in of_patient), False)
        for (_, before, found_before), (_, after, found_after) in pairwise(of_patient):
            beside[before] |= found_after
            beside[after] |= found_before
        for _, index, found in of_patient:
            if len(of_patient) == 1:
                standing = Standing.OPEN
            elif beside[index]:
                standing = Standing.BORNE_OUT if found else Standing.CONTRADICTED
            elif count == found:  # no other film has it
                standing = Standing.CONTRADICTED if found else Standing.BORNE_OUT
            else:
                standing = Standing.OPEN
            result[index] = standing
    return result
