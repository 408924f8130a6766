"""The page's first section: what needs a person, because the run could not settle it."""

from collections.abc import Iterable, Mapping, Sequence

from screen.cases import Case
from screen.decide import Verdict
from screen.film import Identity
from screen.reasons import Reason, Status, Warn
from screen.report.content import Report
from screen.report.markup import count, date, name, table, text

_AT_ONCE = 8
"""Lines that are seen at once; the others unfold."""

_QUIET = frozenset({Warn.KNOWN, Warn.NO_PREAMBLE})
"""Warnings that ask nothing of anybody; they stay in the CSV and beside the case."""


def attention(report: Report) -> tuple[int, str]:
    """(number of matters, HTML). A matter is a file that failed, a study without a screened film, …"""
    blocks = [
        _doubtful_run(report),
        _unscreened_studies(report),
        _incomplete_studies(report),
        _failed_files(report),
        _warnings(report),
    ]
    return sum(number for number, _ in blocks), "".join(block for _, block in blocks)


def _doubtful_run(report: Report) -> tuple[int, str]:
    found = []
    if report.tally.exit_code == 1:
        found.append(
            "Do not use this report: films whose tags say chest radiograph were there, "
            "and not one of them could be screened."
        )
    if report.facts.preprocess_drift:
        found.append(
            "This machine prepares films slightly differently from the one that the model was exported on "
            "(within the model's bounds): scores may differ in the last digits."
        )
    return len(found), "".join(f'<p class="alarm" role="alert">{sentence}</p>' for sentence in found)


def _failed_files(report: Report) -> tuple[int, str]:
    failed = report.tally.with_status(Status.FAILED)
    lines = [
        (name(verdict.row.file), _reason(verdict), _whose(verdict.row.identity))
        for verdict in report.tally.failed
    ]
    title = f"{count(failed, 'file')} could not be read"
    advice = "Each may be a film that nobody has screened. Mend or send it again, then run the same command."
    return failed, _block(title, advice, ("File", "What happened", "Patient and study"), lines, failed)


def _unscreened_studies(report: Report) -> tuple[int, str]:
    """Studies with films that say chest, and none with a result of its own or a duplicate's."""
    found = report.totals.unscreened_studies
    lines = [
        (
            _whose(study.first.row.identity),
            count(study.films, "film"),
            _reasons(study.reasons),
            name(study.first.row.file),
        )
        for study in report.unscreened
    ]
    title = f"{count(found, 'chest study', 'chest studies')} without a screened film"
    advice = (
        "Their tags say chest radiograph. Nothing is known about them: read them as if there had been no run."
    )
    columns = ("Patient and study", "Films", "Why", "First file")
    return found, _block(title, advice, columns, lines, found)


def _incomplete_studies(report: Report) -> tuple[int, str]:
    found = report.totals.incomplete
    lines = [
        (
            _whose(case.identity),
            f"{count(case.images_unread, 'film')} unread, {case.images:,} screened",
            _result(case, report.ranks),
        )
        for case in report.incomplete
    ]
    title = f"{count(found, 'study', 'studies')} screened in part"
    advice = "What is unread may show what the screened films do not."
    columns = ("Patient and study", "Films", "Result so far")
    return found, _block(title, advice, columns, lines, found)


def _result(case: Case, ranks: Mapping[str, int]) -> str:
    if (rank := ranks.get(case.lead.row.file)) is not None:
        return f"flagged, rank {rank:,}"
    return "flagged in an earlier night" if case.lead.flagged else "not flagged by what was screened"


def _warnings(report: Report) -> tuple[int, str]:
    tally = report.tally
    found = [code for code in Warn if tally.warned[code] and code not in _QUIET]
    lines = [
        (
            f"{text(code.meaning)} <code>{code}</code>",
            _named(count(tally.warned[code], "film"), tally.warned_files[code], tally.warned[code]),
        )
        for code in found
    ]
    title = f"{count(len(found), 'warning')} beside scores"
    advice = "These films were screened; their scores deserve less trust."
    return len(found), _block(title, advice, ("Warning", "Films"), lines, len(lines))


def _named(summary: str, files: Sequence[str], total: int) -> str:
    shown = "".join(f"<li>{name(file)}</li>" for file in files)
    rest = total - len(files)
    more = f"<li>and {rest:,} more in results.csv</li>" if rest else ""
    return f"<details><summary>{summary}</summary><ul>{shown}{more}</ul></details>"


def _reason(verdict: Verdict) -> str:
    reason = verdict.reason
    words = reason.meaning if reason else ""
    detail = f'<br><span class="soft">{text(verdict.row.detail)}</span>' if verdict.row.detail else ""
    return f"{text(words)} <code>{reason or ''}</code>{detail}"


def _reasons(codes: Iterable[Reason]) -> str:
    return "<br>".join(f"{text(code.meaning)} <code>{code}</code>" for code in codes)


def _whose(identity: Identity) -> str:
    """Patient, accession number and study date, and beneath them the study: what is known of them."""
    first = (identity.patient_id, identity.accession_number, date(identity.study_date))
    lines = [" · ".join(name(value) for value in first if value)]
    if identity.study_instance_uid:
        lines.append(f'<span class="small">{name(identity.study_instance_uid)}</span>')
    return "<br>".join(line for line in lines if line) or '<span class="none">not known</span>'


def _block(
    title: str, advice: str, columns: Sequence[str], lines: Sequence[Sequence[str]], total: int
) -> str:
    if not lines:
        return ""
    html = f"<h3>{title}</h3><p>{advice}</p>{table(columns, lines[:_AT_ONCE], title)}"
    if total <= _AT_ONCE:
        return html
    rest = f'<p class="soft">and {total - len(lines):,} more in results.csv</p>' if total > len(lines) else ""
    folded = table(columns, lines[_AT_ONCE:], f"{title}, continued") + rest
    return f"{html}<details><summary>{total - _AT_ONCE:,} more</summary>{folded}</details>"
