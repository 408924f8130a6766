"""`feedback.csv`, as the page of a run saves it: what readers said of flagged cases."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from screen.errors import UsageError
from screen.files import read_bounded

COLUMNS = ("study_instance_uid", "weights_digest", "finding", "verdict", "at")
VERDICTS = ("agree", "disagree", "unsure")
_LARGEST = 64 << 20
"""Bytes: half a million verdicts."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """Verdicts by study and finding, as both stand in a run's tables; the latest of each counts.

    other_weights: verdicts on another model's flags, left out.
    """

    verdicts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    other_weights: int = 0


def read_feedback(paths: Iterable[Path], weights_digest: str) -> Feedback:
    """What readers said of this model's flags. Raises UsageError for a file that is none."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    other = 0
    for path in paths:
        for number, line in enumerate(_lines(path), 2):
            study, weights, finding, verdict, at = (line.get(column) or "" for column in COLUMNS)
            if verdict not in VERDICTS or not study:
                raise UsageError(f"{path}: line {number}: no verdict ({', '.join(VERDICTS)}) on a study")
            if weights != weights_digest:
                other += 1
            # ISO 8601 in UTC: the later one is the larger text.
            elif at >= found.get((study, finding), ("", ""))[0]:
                found[study, finding] = (at, verdict)
    return Feedback({case: verdict for case, (_, verdict) in found.items()}, other)


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        data = read_bounded(path, _LARGEST)
    except OSError as error:
        raise UsageError(f"--feedback {path}: cannot be read ({error.strerror})") from error
    if data is None:
        raise UsageError(f"--feedback {path}: larger than {_LARGEST >> 20} MiB")
    try:
        table = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        lines = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--feedback {path}: no CSV in UTF-8 ({error})") from error
    if missing := [column for column in COLUMNS if column not in (table.fieldnames or ())]:
        raise UsageError(f"--feedback {path}: no feedback.csv: no column {', '.join(missing)}")
    return lines
