"""The page's first section: what needs a person, because the run could not settle it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from screen.decide import Case, Verdict
from screen.film import Identity
from screen.reasons import Reason, Status, Warn
from screen.report.content import Report
from screen.report.markup import count, date, name, table, text

_AT_ONCE, _LINES = 8, 80
"""Lines of each list that are seen at once, and with those that unfold; the rest is in `results.csv`."""
_FILES = 12
"""Files named for each warning."""

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
    if report.code == 1:
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
    failed = [v for v in report.verdicts if v.status is Status.FAILED]
    lines = [
        (name(verdict.row.file), _reason(verdict), _whose(verdict.row.identity))
        for verdict in failed[:_LINES]
    ]
    title = f"{count(len(failed), 'file')} could not be read"
    advice = "Each may be a film that nobody has screened. Mend or send it again, then run the same command."
    return len(failed), _block(
        title, advice, ("File", "What happened", "Patient and study"), lines, len(failed)
    )


def _unscreened_studies(report: Report) -> tuple[int, str]:
    """Studies with films that say chest, and none with a result of its own or a duplicate's."""
    declared: dict[str, list[Verdict]] = defaultdict(list)
    screened = set()
    for verdict in report.verdicts:
        study = verdict.row.identity.study_instance_uid
        if verdict.status is Status.SCREENED:
            screened.add(study)
        elif study and verdict.row.declared_chest:
            declared[study].append(verdict)
    found = [films for study, films in declared.items() if study not in screened]
    lines = [
        (_whose(films[0].row.identity), count(len(films), "film"), _reasons(films), name(films[0].row.file))
        for films in found[:_LINES]
    ]
    title = f"{count(len(found), 'chest study', 'chest studies')} without a screened film"
    advice = (
        "Their tags say chest radiograph. Nothing is known about them: read them as if there had been no run."
    )
    columns = ("Patient and study", "Films", "Why", "First file")
    return len(found), _block(title, advice, columns, lines, len(found))


def _incomplete_studies(report: Report) -> tuple[int, str]:
    found = [case for case in report.cases if case.images_unread]
    ranks = {id(case): rank for rank, case in enumerate(report.listed, 1)}
    lines = [
        (
            _whose(case.identity),
            f"{count(case.images_unread, 'film')} unread, {len(case.films):,} screened",
            _result(case, ranks),
        )
        for case in found[:_LINES]
    ]
    title = f"{count(len(found), 'study', 'studies')} screened in part"
    advice = "What is unread may show what the screened films do not."
    columns = ("Patient and study", "Films", "Result so far")
    return len(found), _block(title, advice, columns, lines, len(found))


def _result(case: Case, ranks: Mapping[int, int]) -> str:
    if id(case) in ranks:
        return f"flagged, rank {ranks[id(case)]:,}"
    return "flagged in an earlier night" if case.lead.flagged else "not flagged by what was screened"


def _warnings(report: Report) -> tuple[int, str]:
    files: dict[Warn, list[str]] = defaultdict(list)
    for verdict in report.verdicts:
        if verdict.status is Status.SCREENED:
            for code in verdict.warnings:
                files[Warn(code)].append(verdict.row.file)
    found = [(code, files[code]) for code in Warn if files[code] and code not in _QUIET]
    lines = [
        (
            f"{text(code.meaning)} <code>{code}</code>",
            _named(f"{count(len(where), 'film')}", where),
        )
        for code, where in found
    ]
    title = f"{count(len(found), 'warning')} beside scores"
    advice = "These films were screened; their scores deserve less trust."
    return len(found), _block(title, advice, ("Warning", "Films"), lines, len(lines))


def _named(summary: str, files: Sequence[str]) -> str:
    shown = "".join(f"<li>{name(file)}</li>" for file in files[:_FILES])
    more = f"<li>and {len(files) - _FILES:,} more in results.csv</li>" if len(files) > _FILES else ""
    return f"<details><summary>{summary}</summary><ul>{shown}{more}</ul></details>"


def _reason(verdict: Verdict) -> str:
    reason = verdict.reason
    words = reason.meaning if reason else ""
    detail = f'<br><span class="soft">{text(verdict.row.detail)}</span>' if verdict.row.detail else ""
    return f"{text(words)} <code>{reason or ''}</code>{detail}"


def _reasons(films: Iterable[Verdict]) -> str:
    codes: dict[Reason, None] = dict.fromkeys(film.reason for film in films if film.reason)
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
