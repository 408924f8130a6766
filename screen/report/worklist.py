"""The page's worklist: flagged cases in reading order, with pictures."""

from screen.cases import Case
from screen.decide import Decision, Score
from screen.reasons import Warn
from screen.report.charts import probability_bar
from screen.report.content import Picture, Report
from screen.report.markup import count, data_url, date, name, probability, table, text

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
    scores = sorted((s for s in lead.scores if s.flagged), key=lambda s: s.strength, reverse=True)
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
