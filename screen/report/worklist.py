"""The page's worklist: flagged cases with pictures, and what a reader may do with them."""

import hashlib

from screen.codes import OF_PATIENT, Warn
from screen.decide import Case, Decision, Score
from screen.report.charts import probability_bar
from screen.report.content import QUIET, Picture, Report
from screen.report.markup import count, data_url, date, name, probability, table, text, whose
from screen.report.viewer import Viewer
from screen.text import safe_text

PAGE_CASES = 200
"""Cases on the page; the rest is in `flagged.csv`."""
SAMPLE = 30
"""Random studies that are not flagged, on the page for who reads blind."""
PICTURE_BUDGET = 13_000_000
"""Bytes of JPEG on the page: base64 adds a third, and the page stays under 20 MB with all its text."""

_COLUMNS = ("Rank", "Film and evidence", "Finding", "Patient and study", "To know")
_LONGEST = 1000
_LONGEST_URL = 20_000


def worklist(report: Report) -> str:
    """HTML of the table, or of the sentence that there is nothing in it, and of what was left out."""
    if not report.shown:
        nothing = "<p>No case reaches the threshold. That does not say that the films are normal.</p>"
        if report.totals.flagged:
            nothing = "<p>No case is flagged that an earlier night has not listed.</p>"
        return nothing + _left_out(report)
    left = PICTURE_BUDGET
    lines, attributes = [], []
    for rank, case in enumerate((*report.shown, *report.sample), 1):
        picture = report.pictures.get(case.lead.row.file)
        if picture:
            left -= len(picture.film) + len(picture.overlay)
        shown = picture if left >= 0 else None
        lines.append(
            (
                f'<span class="rank">{rank if case.lead.flagged else "–"}</span>',
                _pictures(shown, rank),
                _finding(case, report.decision) if case.lead.flagged else _not_flagged(case),
                _study(case, report.viewer),
                _notes(case),
            )
        )
        attributes.append(_for_the_script(rank, case))
    flagged = len(report.shown)
    listed = table(_COLUMNS, lines[:flagged], "Flagged cases, strongest first", attributes[:flagged])
    others = table(_COLUMNS, lines[flagged:], "Cases that are not flagged", attributes[flagged:])
    more = report.totals.listed - flagged
    rest = f"<p>{count(more, 'more case', 'more cases')} in <code>flagged.csv</code>.</p>" if more > 0 else ""
    weights = text(report.decision.card.weights_digest)
    # Nothing in a template is seen: whoever reads without a script has flagged cases alone.
    sample = f'<template id="sample">{others}</template>' if report.sample else ""
    return f'<div class="worklist" data-weights="{weights}">{listed}</div>{sample}{rest}{_left_out(report)}'


def _for_the_script(rank: int, case: Case) -> str:
    """What page.js sorts and filters a line by, and what a verdict on it is about.

    case: tells it from all others, and its films from what they will be another night; names nobody.
    """
    identity, lead = case.identity, case.lead
    whole = (identity.patient_id, identity.study_instance_uid, lead.row.file, lead.row.pixel_digest)
    values = {
        "rank": rank,
        "probability": lead.top.probability,
        "distance": lead.normal_distance or 0,
        "date": identity.study_date,
        "patient": identity.patient_id,
        "finding": safe_text(lead.top.finding),
        "warned": int(any(Warn(code) not in QUIET for code in case.warnings)),
        "unread": int(case.images_unread > 0),
        "study": safe_text(identity.study_instance_uid),
        "case": hashlib.sha256("\0".join(whole).encode("utf-8", "surrogatepass")).hexdigest()[:24],
    }
    return "".join(f' data-{key}="{text(value, _LONGEST)}"' for key, value in values.items())


def finding_choices(report: Report) -> str:
    """`<option>`s for the findings that the cases of the list are named by."""
    names = sorted({safe_text(case.lead.top.finding) for case in report.shown})
    return "".join(f'<option value="{text(each, _LONGEST)}">{text(each, 40)}</option>' for each in names)


def _left_out(report: Report) -> str:
    """What `--known` kept off the list, and why."""
    number = report.totals.flagged - report.totals.listed
    ignored = report.facts.counts.get("known_ignored", 0)
    html = ""
    if number:
        lines = [
            (
                whose(case.identity),
                f"{text(case.lead.top.finding, 40)} {probability(case.lead.top.probability)}",
            )
            for case in report.left_out
        ]
        more = number - len(lines)
        rest = (
            f'<p class="soft">and {more:,} more in results.csv (flagged 1, warning known)</p>' if more else ""
        )
        listed = table(("Patient and study", "Finding"), lines, "Flagged cases that are not listed again")
        html += (
            f'<details id="leftout"><summary>{count(number, "flagged case")} left out</summary>'
            "<p>An earlier night's finished report has listed them, and no film of theirs is new.</p>"
            f"{listed}{rest}</details>"
        )
    if ignored:
        html += (
            f'<p class="soft">{count(ignored, "earlier result was", "earlier results were")} not used: made '
            "with another model or decoding, or under other identifiers. Such films were screened anew.</p>"
        )
    return html


def _pictures(picture: Picture | None, rank: int) -> str:
    if picture is None:
        return '<span class="none">no picture</span>'
    pair = (
        f'<img src="{data_url("jpeg", picture.film)}" alt="Case {rank}: the film as the network saw it">'
        f'<img src="{data_url("jpeg", picture.overlay)}" alt="Case {rank}: the evidence in colour">'
    )
    if picture.path:
        return f'<a class="pair" href="{text(picture.path)}">{pair}</a>'
    return f'<span class="pair">{pair}</span>'


def _finding(case: Case, decision: Decision) -> str:
    lead = case.lead
    reached = (score for score in lead.scores if score.flagged)
    scores = sorted(reached, key=lambda score: (score.flagging, score.strength), reverse=True)
    bars = "".join(_score(score, decision) for score in scores)
    distance = lead.normal_distance
    if distance is None:
        return bars
    return f'{bars}<p class="soft">further from normal than {distance:.0f} % of normal films</p>'


def _not_flagged(case: Case) -> str:
    return f'<p>not flagged</p><p class="soft">probability {probability(case.lead.top.probability)}</p>'


def _score(score: Score, decision: Decision) -> str:
    point = decision.point(score.finding)
    named = f" ({text(point.name, 40)})" if point else ""
    return (
        f'<p class="score"><strong>{text(score.finding, 40)}</strong> '
        f"<b>{probability(score.probability)}</b></p>"
        f"{probability_bar(score)}"
        f'<p class="soft">threshold {probability(score.threshold)}{named}</p>'
    )


def _study(case: Case, viewer: Viewer | None) -> str:
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
    link = ""
    if viewer and (url := viewer.url(identity)):
        href = text(url, _LONGEST_URL)
        link = f'<p><a class="viewer" href="{href}" rel="noreferrer">open in the viewer</a></p>'
    return f'<dl class="facts">{lines}</dl>{link}'


def _notes(case: Case) -> str:
    notes = []
    if case.images_unread:
        notes.append(
            f'<li class="loud">{count(case.images_unread, "film")} of this study could not be read</li>'
        )
    if case.images > 1:
        notes.append(f"<li>{case.images:,} films, {case.images_flagged:,} of them flagged</li>")
    for code in map(Warn, case.warnings):
        loud = ' class="loud"' if code in OF_PATIENT else ""
        notes.append(f"<li{loud}>{text(code.meaning)}</li>")
    return f'<ul class="notes">{"".join(notes)}</ul>' if notes else '<span class="none">–</span>'
