"""The page's sections: what needs a person, and the worklist of flagged cases with pictures."""

from collections.abc import Iterable, Mapping, Sequence

from screen.codes import Reason, Status, Warn
from screen.decide import Case, Decision, Score, Verdict
from screen.film import Identity
from screen.report.charts import probability_bar
from screen.report.content import Picture, Report
from screen.report.markup import count, data_url, date, name, probability, table, text

_AT_ONCE = 8
"""Lines that are seen at once; the others unfold."""

_QUIET = frozenset({Warn.KNOWN, Warn.NO_PREAMBLE, Warn.NOT_SQUARE})
"""Warnings that ask nothing of anybody; they stay in the CSV and beside the case."""


def attention(report: Report) -> tuple[int, str]:
    """(number of matters, HTML). A matter is a file that failed, a study without a screened film, …"""
    blocks = [
        _doubtful_run(report),
        _unscreened_studies(report),
        _incomplete_studies(report),
        _failed_files(report),
        _blank_films(report),
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
    if report.facts.counts.get("parts_listed_otherwise"):
        found.append(
            "The parts of this run did not list the same files: some came or went in between, or one machine "
            "does not see all of INPUT. Run the parts again: what was left out is screened then."
        )
    return len(found), "".join(f'<p class="alarm" role="alert">{sentence}</p>' for sentence in found)


def _failed_files(report: Report) -> tuple[int, str]:
    failed = report.tally.with_status(Status.FAILED)
    tally = report.tally
    lines = [
        (name(verdict.row.file), _reason(verdict), _whose(verdict.row.identity))
        for verdict in [*tally.failed, *tally.known_failures]
    ]
    known = f", {tally.failed_known:,} of them as in an earlier night" if tally.failed_known else ""
    title = f"{count(failed, 'file')} could not be read{known}"
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
    title = f"{count(found, 'study', 'studies')} without a screened film"
    advice = (
        "Their tags say chest radiograph, or do not say what they show. Nothing is known about them: "
        "read them as if there had been no run."
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


def _blank_films(report: Report) -> tuple[int, str]:
    """Films that have a number like any other, and nothing that it could be about."""
    found = report.tally.warned[Warn.BLANK]
    lines = [(name(file),) for file in report.tally.warned_files[Warn.BLANK]]
    title = f"{count(found, 'film')} with nothing on {'it' if found == 1 else 'them'}"
    advice = (
        "All pixels of such a film are (nearly) equal. It was screened, but its number says nothing about "
        "the patient: look at it, and have it sent or taken again."
    )
    return found, _block(title, advice, ("File",), lines, found)


def _warnings(report: Report) -> tuple[int, str]:
    tally = report.tally
    found = [code for code in Warn if tally.warned[code] and code not in _QUIET and code is not Warn.BLANK]
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
    detail += "<br>as in an earlier night" if Warn.KNOWN in verdict.warnings else ""
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


PAGE_CASES = 200
"""Cases on the page; the rest is in `flagged.csv`."""
PICTURE_BUDGET = 13_000_000
"""Bytes of JPEG on the page: base64 adds a third, and the page stays under 20 MB with all its text."""

_COLUMNS = ("Rank", "Film and evidence", "Finding", "Patient and study", "To know")


def worklist(report: Report) -> str:
    """HTML of the table, or of the sentence that there is nothing in it."""
    if not report.shown:
        return "<p>No case reaches the threshold. That is no statement that the films are normal.</p>"
    left = PICTURE_BUDGET
    lines = []
    for rank, case in enumerate(report.shown, 1):
        picture = report.pictures.get(case.lead.row.file)
        if picture:
            left -= len(picture.film) + len(picture.overlay)
        shown = picture if left >= 0 else None
        lines.append(
            (
                f'<span class="rank">{rank}</span>',
                _pictures(shown, rank),
                _finding(case, report.decision),
                _study(case),
                _notes(case),
            )
        )
    more = report.totals.listed - len(lines)
    rest = f"<p>{count(more, 'more case', 'more cases')} in <code>flagged.csv</code>.</p>" if more > 0 else ""
    return f'<div class="worklist">{table(_COLUMNS, lines, "Flagged cases, strongest first")}</div>{rest}'


def _pictures(picture: Picture | None, rank: int) -> str:
    if picture is None:
        return '<span class="none">no picture</span>'
    pair = (
        f'<img src="{data_url("jpeg", picture.film)}" alt="Case {rank}: the film as the network saw it">'
        f'<img src="{data_url("jpeg", picture.overlay)}" alt="Case {rank}: the evidence in colour">'
    )
    if picture.path:
        return f'<a class="pair" href="{text(picture.path)}" title="open larger">{pair}</a>'
    return f'<span class="pair">{pair}</span>'


def _finding(case: Case, decision: Decision) -> str:
    lead = case.lead
    reached = (score for score in lead.scores if score.flagged)
    scores = sorted(reached, key=lambda score: (score.flagging, score.strength), reverse=True)
    bars = "".join(_score(score, decision) for score in scores)
    distance = lead.normal_distance
    if distance is None:
        return bars
    return f'{bars}<p class="soft">distance from normal: percentile {distance:.0f}</p>'


def _score(score: Score, decision: Decision) -> str:
    point = decision.point(score.finding)
    named = f" ({text(point.name, 40)})" if point else ""
    return (
        f'<p class="score"><strong>{text(score.finding, 40)}</strong> '
        f"<b>{probability(score.probability)}</b></p>"
        f"{probability_bar(score)}"
        f'<p class="soft">threshold {probability(score.threshold)}{named}</p>'
    )


def _study(case: Case) -> str:
    identity = case.identity
    parts = [
        ("Patient", identity.patient_id),
        ("Accession", identity.accession_number),
        ("Date", date(identity.study_date)),
    ]
    lines = "".join(f"<dt>{label}</dt><dd>{name(value)}</dd>" for label, value in parts if value)
    long = [("Study", identity.study_instance_uid), ("File", case.lead.row.file)]
    lines += "".join(
        f'<dt>{label}</dt><dd class="small">{name(value)}</dd>' for label, value in long if value
    )
    return f'<dl class="facts">{lines}</dl>'


def _notes(case: Case) -> str:
    notes = []
    if case.images_unread:
        notes.append(
            f'<li class="loud">{count(case.images_unread, "film")} of this study could not be read</li>'
        )
    if case.images > 1:
        notes.append(f"<li>{case.images:,} films, {case.images_flagged:,} of them flagged</li>")
    notes.extend(f"<li>{text(Warn(code).meaning)}</li>" for code in case.warnings)
    return f'<ul class="notes">{"".join(notes)}</ul>' if notes else '<span class="none">–</span>'
