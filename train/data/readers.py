"""What radiologists saw on NIH's films: tables that Google gave out (Majkowska 2020, Nabulsi 2021).

Worth more than any label that was mined from reports, for judging above all. A folder holds them under the
names that they came with, gzipped or not, with anything before the name.
"""

import csv
import gzip
import io
import math
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from screen.errors import UsageError

TUMOR, ABNORMAL = "tumor", "abnormal"
"""Findings that they were asked for."""
_FOUR, _ALL = "four_findings_expert_labels", "all_findings_expert_labels_test"
_ANSWERS = {"YES": 1.0, "NO": 0.0}


@dataclass(frozen=True, slots=True)
class Readers:
    """By NIH's image index, 1 with a mass or nodule, 0 without.

    adjudicated: by readers who talked it over. majority: of three who did not. single: of each reader, by
    films. abnormal: the majority's, 1 if anything is.
    """

    adjudicated: Mapping[str, float]
    majority: Mapping[str, float]
    single: Mapping[str, Mapping[str, float]]
    abnormal: Mapping[str, float]

    def on(self, finding: str) -> "Readers":
        """What they said of that finding: of `abnormal` the majority alone, of what nobody asked nothing."""
        if finding == TUMOR:
            return self
        return Readers({}, self.abnormal if finding == ABNORMAL else {}, {}, self.abnormal)

    def verdict(self, image: str) -> float:
        """The adjudicated one, else the majority's; NaN without either."""
        return self.adjudicated.get(image, self.majority.get(image, math.nan))


def read_readers(folder: Path) -> Readers:
    """Raises UsageError if a table is missing or another one, or an answer makes no sense."""
    adjudicated: dict[str, float] = {}
    for part in ("test", "validation"):
        for row in _rows(folder, f"{_FOUR}_{part}_labels.csv", "Image Index", "Nodule or mass"):
            adjudicated[row["Image Index"]] = _answer(folder, row["Nodule or mass"])
    majority, abnormal = {}, {}
    for row in _rows(folder, f"{_ALL}_labels.csv", "Image ID", "Mass", "Nodule", "Abnormal"):
        image = row["Image ID"]
        majority[image] = max(_answer(folder, row[name]) for name in ("Mass", "Nodule"))
        abnormal[image] = _answer(folder, row["Abnormal"])
    single: dict[str, dict[str, float]] = defaultdict(dict)
    for row in _rows(folder, f"{_FOUR}_individual_readers.csv", "Image ID", "Reader ID", "Nodule/mass"):
        # A film that a reader could not judge has another word.
        if row["Nodule/mass"] in _ANSWERS:
            single[row["Reader ID"]][row["Image ID"]] = _ANSWERS[row["Nodule/mass"]]
    return Readers(adjudicated, majority, single, abnormal)


def _rows(folder: Path, name: str, *columns: str) -> Iterator[dict[str, str]]:
    found = [path for ending in ("", ".gz") for path in sorted(folder.glob(f"*{name}{ending}"))]
    if not found:
        raise UsageError(f"{folder}: no readers' table …{name}[.gz] in it")
    try:
        data = found[0].read_bytes()
        text = (gzip.decompress(data) if found[0].suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UsageError(f"{found[0]} cannot be read: {error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
        raise UsageError(f"{found[0]}: no column '{missing[0]}': name the folder of Google's tables")
    # DictReader passes over the blank lines that some have.
    return iter(reader)


def _answer(folder: Path, cell: str) -> float:
    if cell not in _ANSWERS:
        raise UsageError(f"{folder}: a reader's answer is YES or NO, not '{cell}'")
    return _ANSWERS[cell]
