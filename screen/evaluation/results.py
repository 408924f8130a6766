"""A finished run's `results.csv` and `findings.csv`, read again: films with their scores, and their names."""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from screen.codes import Status
from screen.errors import UsageError
from screen.text import safe_path

_RESULTS, _FINDINGS, _SUMMARY = "results.csv", "findings.csv", "summary.json"
_RESULTS_NEEDS = ("file", "status", "reason", "duplicate_of", "finding", "probability", "logit", "flagged")
_FINDINGS_NEEDS = ("file", "finding", "probability", "flagged")


@dataclass(frozen=True, slots=True)
class Scored:
    """One film of a run; a file that repeats it is a name of it.

    study: its Study Instance UID, empty without one. status, reason: as in `results.csv`. probability: of the
    finding that was asked for, None without a score. logit: NaN where the table has none. flagged: as there.
    """

    file: str
    study: str
    status: str
    reason: str
    probability: float | None
    logit: float
    flagged: bool


@dataclass(frozen=True, slots=True)
class Results:
    """A run's films in their order. summary: `summary.json` beside them, empty if there is none.

    by_uid, by_name: places of films by SOP Instance UID, and by every end of a file's name at a slash.
    """

    path: Path
    finding: str
    films: tuple[Scored, ...]
    by_uid: Mapping[str, set[int]]
    by_name: Mapping[str, set[int]]
    files: Mapping[str, int]
    """Places of films by the whole name of each of their files."""
    summary: Mapping[str, Any]

    def named(self, name: str) -> set[int]:
        """The films that a name may mean.

        It is a file's whole name, or an end of it at a slash; else an end of it is a file's whole name.
        """
        name = safe_path(name)
        if found := self.by_name.get(name):
            return found
        while "/" in name:
            name = name.partition("/")[2]
            if name in self.files:
                return {self.files[name]}
        return set()

    @property
    def weights_digest(self) -> str:
        """Of the model that made the scores. Raises UsageError if the summary does not say it."""
        digests = self.summary.get("digests")
        digest = digests.get("weights") if isinstance(digests, dict) else None
        if not isinstance(digest, str):
            raise UsageError(
                f"{self.path.with_name(_SUMMARY)} does not say which model made the scores: keep it beside "
                f"{self.path.name}, as the run left it"
            )
        return digest


def read_results(given: Path, finding: str | None = None) -> Results:
    """given: a run's folder, its `results.csv` or its `findings.csv`. finding: None is the one that it shows.

    Other findings than that of `results.csv` are looked for in `findings.csv` beside it, and who is on its
    films in `results.csv`. Raises UsageError for tables that are not a run's.
    """
    path = given / _RESULTS if given.is_dir() else given
    rows = rows_of(path)
    by_finding: dict[str, dict[str, str]] | None = None
    if "status" not in rows[0]:
        finding, by_finding = _findings(path, rows, finding)
        beside = path.with_name(_RESULTS)
        rows = rows_of(beside) if beside.is_file() else _without_results(by_finding)
    else:
        _need(path, rows[0], _RESULTS_NEEDS)
        shown = sorted({row["finding"] for row in rows if row["finding"]})
        if len(shown) > 1:
            raise UsageError(f"{path}: scores of several findings: {', '.join(shown)}")
        if finding is None or finding in shown:
            finding = finding or (shown[0] if shown else "")
        else:
            beside = path.with_name(_FINDINGS)
            if not beside.is_file():
                raise UsageError(f"{path} has scores of {', '.join(shown) or 'nothing'}, not of '{finding}'")
            finding, by_finding = _findings(beside, rows_of(beside), finding)
    return _results(path, finding, rows, by_finding)


def rows_of(path: Path) -> list[dict[str, str]]:
    """A CSV's lines by its columns. Raises UsageError if it cannot be read or is empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if not rows:
        raise UsageError(f"{path}: no line in it")
    return rows


def _results(
    path: Path, finding: str, rows: list[dict[str, str]], by_finding: Mapping[str, dict[str, str]] | None
) -> Results:
    films: list[Scored] = []
    files: dict[str, int] = {}
    by_uid: defaultdict[str, set[int]] = defaultdict(set)
    by_name: defaultdict[str, set[int]] = defaultdict(set)
    for line, row in enumerate(rows, 2):
        place = files.get(row.get("duplicate_of") or "", len(films))
        if place == len(films):
            score = row if by_finding is None else by_finding.get(row["file"], {})
            films.append(_scored(row, score, f"{path}, line {line}"))
        files[row["file"]] = place
        if row.get("sop_instance_uid"):
            by_uid[row["sop_instance_uid"]].add(place)
        name = row["file"]
        by_name[name].add(place)
        while "/" in name:
            name = name.partition("/")[2]
            by_name[name].add(place)
    return Results(path, finding, tuple(films), by_uid, by_name, files, _summary(path.with_name(_SUMMARY)))


def _scored(row: Mapping[str, str], score: Mapping[str, str], place: str) -> Scored:
    probability = score.get("probability") or ""
    return Scored(
        file=row["file"],
        study=row.get("study_instance_uid") or "",
        status=row.get("status") or Status.SCREENED,
        reason=row.get("reason") or "",
        probability=_number(probability, place, "probability") if probability else None,
        logit=_number(score["logit"], place, "logit") if score.get("logit") else math.nan,
        flagged=score.get("flagged") == "1",
    )


def _number(cell: str, place: str, what: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if not math.isfinite(value) or (what == "probability" and not 0 <= value <= 1):
        raise UsageError(f"{place}: '{cell}' is no {what}")
    return value


def _findings(
    path: Path, rows: list[dict[str, str]], finding: str | None
) -> tuple[str, dict[str, dict[str, str]]]:
    _need(path, rows[0], _FINDINGS_NEEDS)
    names = list(dict.fromkeys(row["finding"] for row in rows))
    if finding not in names:
        if finding is not None or len(names) > 1:
            raise UsageError(f"{path} has {', '.join(names)}: name one of them with --finding")
        finding = names[0]
    return finding, {row["file"]: row for row in rows if row["finding"] == finding}


def _without_results(by_finding: Mapping[str, Mapping[str, str]]) -> list[dict[str, str]]:
    """`findings.csv` alone has the films that were screened, and nothing of who they are."""
    return [{"file": file} for file in by_finding]


def _need(path: Path, row: Mapping[str, str], columns: tuple[str, ...]) -> None:
    if missing := [column for column in columns if column not in row]:
        raise UsageError(
            f"{path} is no results.csv or findings.csv of 'screen run': no column {', '.join(missing)}"
        )


def _summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return summary if isinstance(summary, dict) else {}
