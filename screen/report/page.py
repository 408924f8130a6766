"""`report.html`: one page for a person, with everything in it and nothing that it asks the network for."""

import base64
import hashlib
import re
from importlib import resources
from string import Template

from screen import __version__
from screen.codes import Reason, Status, Warn
from screen.decide import expected
from screen.decide.decision import FILMS, THRESHOLD
from screen.model import OperatingPoint
from screen.report.charts import histogram_chart, share_bar
from screen.report.content import NO_IMAGE, Report
from screen.report.markup import count, data_url, name, probability, table, text
from screen.report.night_table import nights_section, unlike_before
from screen.report.overlays import scale_bar
from screen.report.sections import attention
from screen.report.summary import DISCLAIMER
from screen.report.worklist import finding_choices, worklist


def page(report: Report) -> bytes:
    """The whole page, UTF-8."""
    files = resources.files("screen.report")
    template, script = (files.joinpath(each).read_text("utf-8") for each in ("page.html", "page.js"))
    style = re.search(r"<style>(.*?)</style>", template, re.DOTALL)
    if style is None:
        raise ValueError("page.html has no <style>")
    matters, attention_html = attention(report)
    html = Template(template).substitute(
        # Style sheet and script are allowed by their hashes: what is slipped into the page can bring none.
        style_hash=_hash(style[1]),
        script_hash=_hash(script),
        script=script,
        notice=DISCLAIMER,
        eyebrow=_eyebrow(report),
        headline=_headline(report),
        subline=_subline(report),
        unexpected=_unexpected(report) + unlike_before(report),
        matters=_matters(report, matters),
        attention=attention_html or _nothing_to_do(report),
        attention_kind="loud" if matters or not report.tally.files else "calm",
        funnel=_funnel(report),
        nights=nights_section(report),
        nights_link='<a href="#nights">Earlier nights</a>' if nights_section(report) else "",
        findings=finding_choices(report),
        worklist=worklist(report),
        legend=_legend(report),
        histogram=_histogram(report),
        points=_points(report),
        provenance=_provenance(report),
        glossary=_glossary(report),
    )
    return html.encode("utf-8", "backslashreplace")


def _hash(content: str) -> str:
    return base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _eyebrow(report: Report) -> str:
    card, facts = report.decision.card, report.facts
    return " · ".join(
        [text(facts.finished[:16].replace("T", " ")), f"{text(card.name)} {text(card.version)}"]
    )


def _headline(report: Report) -> str:
    if not report.totals.cases:
        return "No film was screened"
    return f"{report.totals.listed:,} of {count(report.totals.cases, 'case')} flagged"


def _subline(report: Report) -> str:
    decision = report.decision
    parts = []
    for name_of in (finding.name for finding in decision.card.findings):
        flags = name_of in decision.flagging
        point = decision.point_name(name_of)
        named = "" if point == THRESHOLD else f" (operating point <b>{text(point, 40)}</b>)"
        parts.append(
            f"{'Flagged' if flags else 'Not flagged, but shown'} for {text(name_of, 40)}: probability of "
            f"{probability(decision.thresholds[name_of])} or more{named}."
        )
    if known := report.totals.flagged - report.totals.listed:
        parts.append(f"{count(known, 'flagged case')} of an earlier night left out.")
    return " ".join(parts)


def _unexpected(report: Report) -> str:
    """A sentence for each finding of which more, or fewer, films are flagged than its point lets expect."""
    sentences = []
    for finding, rate in report.rates.items():
        found = expected(report.decision.point(finding), report.decision.card.finding(finding).prevalence)
        if found is None or not rate.outside:
            continue
        low, high = (share / FILMS for share in found.flags_range)
        sentences.append(
            f"{'More' if rate.low > high else 'Fewer'} films flagged for {text(finding, 40)} than expected: "
            f"{rate.flagged:,} of {rate.films:,}, {rate.flagged / rate.films:.1%} (95 %: {rate.low:.1%} – "
            f"{rate.high:.1%}). Expected are {low:.1%} to {high:.1%}, as for the films that the model was "
            "measured on.<br>"
        )
    if not sentences:
        return ""
    return (
        f'<p class="note">{"".join(sentences)}Are the patients or the devices others here? '
        "<code>screen calibrate</code> finds a threshold for this site.</p>"
    )


def _matters(report: Report, number: int) -> str:
    if not report.tally.files:
        return '<a class="badge loud" href="#attention">no file was found</a>'
    if not number:
        return '<a class="badge calm" href="#attention">nothing needs a person</a>'
    things = count(number, "thing needs", "things need")
    return f'<a class="badge loud" href="#attention">{things} a person</a>'


def _nothing_to_do(report: Report) -> str:
    if not report.tally.files:
        return "<p>No file was found. Is this the right folder, and is its disk there?</p>"
    if not report.totals.cases:
        return "<p>Nothing. But no film was screened: every file was skipped, the codes below say why.</p>"
    return "<p>Nothing. Every file was screened, or skipped for a good reason.</p>"


def _funnel(report: Report) -> str:
    """Found → images → frontal chest films → screened → flagged, each with what was left behind."""
    tally = report.tally
    images = tally.files - sum(map(tally.with_reason, NO_IMAGE))
    turned_away = sum(
        number
        for (status, reason), number in tally.outcomes.items()
        if status is Status.SKIPPED and reason not in NO_IMAGE
    )
    steps = [
        ("files found", tally.files, None),
        ("images", images, "no image or cannot be opened"),
        ("frontal chest films", images - turned_away - tally.unknown_kind, ""),
        ("screened", tally.with_status(Status.SCREENED), "could not be read"),
        ("flagged", tally.images_flagged, None),
    ]
    lines = []
    before = tally.files
    for label, left, loss in steps:
        lost = before - left
        note = f"{lost:,} {loss}" if loss and lost else ""
        if label == "frontal chest films":
            losses = ((turned_away, "turned away"), (tally.unknown_kind, "of unknown kind could not be read"))
            note = ", ".join(f"{number:,} {why}" for number, why in losses if number)
        if label == "screened" and (repeated := tally.screened_duplicates):
            note += f"{', ' if note else ''}{count(repeated, 'duplicate')} among them"
        lines.append(
            f"<li><b>{left:,}</b> <span>{label}</span>"
            f'{share_bar(left / max(1, tally.files))}<span class="soft">{note}</span></li>'
        )
        before = left
    return f'<ol class="funnel">{"".join(lines)}</ol>'


def _legend(report: Report) -> str:
    if not report.pictures or not report.shown:
        return ""
    bar = data_url("png", scale_bar(120, 10))
    return (
        '<p class="legend soft">Colour shows where the score comes from. It is no outline of a lesion. '
        f'Little <img src="{bar}" alt="pale amber to magenta"> much: the same scale for all films.</p>'
    )


def _histogram(report: Report) -> str:
    return histogram_chart(report.histogram) if report.histogram else "<p>No film was screened.</p>"


def _points(report: Report) -> str:
    lines = []
    for finding in report.decision.card.findings:
        point = report.decision.point(finding.name)
        threshold = f"{report.decision.thresholds[finding.name]:.4f}"
        figures = ("not measured at this threshold", "", "")
        if point:
            figures = (
                _measured(point.sensitivity, point.sensitivity_interval),
                _measured(point.specificity, point.specificity_interval),
                text(point.measured_on),
            )
        lines.append(
            (
                text(finding.name, 40),
                text(report.decision.point_name(finding.name), 40),
                threshold,
                *figures,
                *_expected(point, finding.prevalence),
            )
        )
    columns = ("Finding", "Operating point", "Threshold", "Sensitivity (95 %)", "Specificity (95 %)",
               "Measured on", "Prevalence assumed", "Flags in 1,000 films", "Right among them")  # fmt: skip
    return table(columns, lines, "Operating points in force")


def _expected(point: OperatingPoint | None, prevalence: float) -> tuple[str, str, str]:
    """The prevalence that probabilities are calibrated for, and what to expect of a night like that."""
    share = f"{prevalence:.1%}" if prevalence >= 0.01 else f"{prevalence:.2%}"
    found = expected(point, prevalence)
    if found is None:
        return share, "", ""
    low, high = found.flags_range
    return share, f"{found.flags:.0f} ({low:.0f} – {high:.0f})", _measured(found.ppv, found.ppv_range)


def _measured(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.1%} ({interval[0]:.1%} – {interval[1]:.1%})"


def _provenance(report: Report) -> str:
    card, facts = report.decision.card, report.facts
    site = facts.card_json != card.to_json()
    device = facts.device
    speed = f"{facts.images_inferred / facts.seconds:.1f} films a second" if facts.seconds > 0 else ""
    versions = {"cxr-screen": __version__, **facts.versions}
    in_parts = f" in {facts.parts:,} parts, added up" if facts.parts > 1 else ""
    entries = [
        ("Model", f"{text(card.name)} {text(card.version)}"),
        ("Meant for", text(card.intended_use, 1000)),
        ("Weights", _digest(card.weights_digest)),
        ("Decision", _digest(report.decision.digest) + (" (a decision file)" if site else "")),
        ("Preprocessing", _digest(card.preprocess_digest)),
        ("Model file", _digest(facts.model_file_digest)),
        ("Device", " · ".join(text(value) for key, value in device.items() if value)),
        ("Run", f"{text(facts.started)} to {text(facts.finished)}, {facts.seconds:,.1f} s{in_parts}"),
        ("Films", f"{facts.images_inferred:,} inferred, {facts.images_reused:,} reused; {speed}"),
        ("Settings", f"batch size {facts.batch_size}, {count(facts.workers, 'worker')}, "
                     f"decoding {text(facts.decode_policy)}, identifiers {text(facts.identifiers)}"),
        ("Input", "<br>".join(name(source) for source in facts.inputs[:20])),
        ("Seconds by stage", " · ".join(f"{text(k)} {v:,.1f}" for k, v in facts.stage_seconds.items())),
        ("Versions", " · ".join(f"{text(k)} {text(v)}" for k, v in versions.items())),
    ]  # fmt: skip
    return "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in entries if value)


def _digest(digest: str) -> str:
    return f"<code>{text(digest)}</code>"


def _glossary(report: Report) -> str:
    """The codes that occur, in the order of the table in `screen.codes`."""
    tally = report.tally
    lines = [
        (f"<code>{code}</code>", str(code.status), text(code.meaning), f"{number:,}")
        for code in Reason
        if (number := tally.with_reason(code))
    ]
    lines += [
        (f"<code>{code}</code>", "warning", text(code.meaning), f"{tally.warnings[code]:,}")
        for code in Warn
        if tally.warnings[code]
    ]
    if not lines:
        return "<p>No reason and no warning occurs.</p>"
    return table(("Code", "Kind", "Meaning", "Files"), lines, "Codes in this report")
