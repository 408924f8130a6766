"""The CSV files: UTF-8, LF, fixed columns, numbers as numbers, text that no spreadsheet runs."""

from collections.abc import Iterator
from pathlib import Path

from screen.decide import Case, Decision, Score, Verdict
from screen.files import csv_file, whole_file
from screen.ledger import Ledger
from screen.text import safe_path, safe_text

FLAGGED_COLUMNS = (
    "rank", "study_instance_uid", "patient_id", "accession_number", "study_date", "images", "images_unread",
    "file", "finding", "probability", "threshold", "operating_point", "warnings", "heatmap", "model",
)  # fmt: skip
RESULTS_COLUMNS = (
    "file", "status", "reason", "warnings", "duplicate_of", "study_instance_uid", "series_instance_uid",
    "sop_instance_uid", "view", "finding", "probability", "logit", "normal_distance", "flagged", "decoder",
)  # fmt: skip
FINDINGS_COLUMNS = ("file", "finding", "probability", "threshold", "flagged")
TIMINGS_NAME = "timings.csv"
TIMINGS_COLUMNS = ("file", "read_seconds", "preprocess_seconds")


def number(value: float) -> str:
    """Six decimals, never a negative zero."""
    return f"{value:z.6f}"


def flagged_line(rank: int, case: Case, decision: Decision, heatmap: str) -> tuple[str, ...]:
    """One case. heatmap: path of the leading film's picture, empty if there is none."""
    lead, top = case.lead, case.lead.top
    return (
        str(rank),
        safe_text(case.identity.study_instance_uid),
        safe_text(case.identity.patient_id),
        safe_text(case.identity.accession_number),
        safe_text(case.identity.study_date),
        str(case.images),
        str(case.images_unread),
        safe_path(lead.row.file),
        safe_text(top.finding),
        number(top.probability),
        number(top.threshold),
        safe_text(decision.point_name(top.finding)),
        ";".join(case.warnings),
        heatmap,
        safe_text(f"{decision.card.name} {decision.card.version}"),
    )


def results_line(verdict: Verdict) -> tuple[str, ...]:
    """One file. The score is the primary finding's; `flagged` (1, 0) that of any that flags."""
    row, identity, score = verdict.row, verdict.row.identity, verdict.primary
    return (
        safe_path(row.file),
        str(verdict.status),
        str(verdict.reason or ""),
        ";".join(verdict.warnings),
        safe_path(verdict.duplicate_of),
        safe_text(identity.study_instance_uid),
        safe_text(identity.series_instance_uid),
        safe_text(identity.sop_instance_uid),
        safe_text(identity.view),
        *(_score_cells(score) if score else ("", "", "")),
        "" if verdict.normal_distance is None else number(verdict.normal_distance),
        str(int(verdict.flagged)) if score else "",
        safe_text(row.decoder),
    )


def finding_lines(verdict: Verdict) -> Iterator[tuple[str, ...]]:
    """One file's findings, none unless it was screened. `flagged` (1, 0): reaches its threshold."""
    for score in verdict.scores:
        yield (
            safe_path(verdict.row.file),
            safe_text(score.finding),
            number(score.probability),
            number(score.threshold),
            str(int(score.flagged)),
        )


def _score_cells(score: Score) -> tuple[str, str, str]:
    return safe_text(score.finding), number(score.probability), number(score.logit)


def write_timings(folder: Path, ledger: Ledger) -> None:
    """What each file cost its worker, in INPUT order; for those who look for slow files."""
    with csv_file(folder / TIMINGS_NAME, TIMINGS_COLUMNS, whole_file) as writer:
        for name, read, square in ledger.listed_timings():
            writer.writerow((safe_path(name), f"{read:.6f}", f"{square:.6f}"))
