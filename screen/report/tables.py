"""The CSV files: UTF-8, LF, fixed columns, numbers as numbers, text that no spreadsheet runs."""

import re
from collections.abc import Iterator

from screen.cases import Case
from screen.decide import Decision, Score, Verdict
from screen.plain_text import escaped, visible

FLAGGED_COLUMNS = (
    "rank", "study_instance_uid", "patient_id", "accession_number", "study_date", "images", "images_unread",
    "file", "finding", "probability", "threshold", "operating_point", "warnings", "heatmap", "model",
)  # fmt: skip
RESULTS_COLUMNS = (
    "file", "status", "reason", "warnings", "duplicate_of", "study_instance_uid", "series_instance_uid",
    "sop_instance_uid", "view", "finding", "probability", "logit", "normal_distance", "flagged", "decoder",
)  # fmt: skip
FINDINGS_COLUMNS = ("file", "finding", "probability", "threshold", "flagged")

# A spreadsheet that splits at another character than ours, or strips quotes, sees a cell begin after it.
_FORMULA = re.compile(r"""(^|[;,|"'])(\s*)(?=[=+\-@＝＋－＠])""")
_SIGN = re.compile(r"[=+\-@＝＋－＠]")


def safe_text(text: str) -> str:
    """Text for a cell: no line ends or other invisible characters, and no formula wherever a cell may begin.

    A `'` goes before `= + - @` (and their full-width twins) at the start and after quotes and separators
    (OWASP, CSV injection).
    """
    text = visible(text)
    # Most cells have no such sign in them, and the search for a place is the dearest part of a line.
    return _FORMULA.sub(r"\1\2'", text) if _SIGN.search(text) else text


def safe_path(path: str) -> str:
    """A file's name for a cell: invisible characters are percent-escaped, so that names stay distinct."""
    return safe_text(escaped(path))


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
    """One file. The score is the primary finding's; `flagged` (1, 0) any one's."""
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
    """One file's findings; none unless it was screened."""
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
