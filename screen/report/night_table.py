"""The page's section of tonight beside the nights given with `--known`."""

from screen.decide.rates import wilson
from screen.report.charts import interval_bar
from screen.report.content import Report
from screen.report.markup import count, table, text
from screen.report.nights import NewFiles, Night, digest_of

_AT_ONCE = 7
"""Nights that are seen at once, the latest; others unfold."""
_MOST = 30
_COLUMNS = ("Night", "New films", "Flagged (95 %)", "New files that could not be read")


def nights_section(report: Report) -> str:
    """HTML; empty if nothing was given with `--known`."""
    nights, ignored = report.facts.nights, report.facts.counts.get("known_ledgers_ignored", 0)
    if not nights and not ignored:
        return ""
    left_out = ""
    if ignored:
        left_out = (
            f'<p class="soft">{count(ignored, "ledger is", "ledgers are")} not compared: made with another '
            "model or decoding, or under other identifiers.</p>"
        )
    body = f"{_usual(report)}{_table(report)}" if nights else ""
    return (
        '<section id="nights" aria-labelledby="h-nights"><h2 id="h-nights">Tonight beside earlier nights</h2>'
        f"{body}{left_out}</section>"
    )


def unlike_before(report: Report) -> str:
    """A note for the top of the page; empty if tonight is like the nights before."""
    new, found = report.tally.new, report.beside
    said = []
    if "films" in found.unusual and found.films:
        fewest, most = found.films
        met = new.films + new.failed
        said.append(
            f"{'More' if met > most else 'Fewer'} new films than usual: {met:,}. "
            f"Earlier nights had {fewest:,} to {most:,}.{'' if met > most else ' Did all films arrive?'}"
        )
    if "flagged" in found.unusual and found.flagged:
        low, high = found.flagged
        more = new.flagged > high * new.films
        said.append(
            f"{'More' if more else 'Fewer'} films flagged than in earlier nights: {new.flagged:,} of "
            f"{new.films:,} ({new.flagged / new.films:.1%}). Usual: {low:.1%} to {high:.1%}."
        )
    if "failed" in found.unusual and found.failed:
        said.append(
            f"More files than in earlier nights could not be read: {new.failed:,} of "
            f"{new.films + new.failed:,}. Usual: {found.failed[1]:.1%} at most."
        )
    if not said:
        return ""
    return f'<p class="note">{"<br>".join(said)}<br>See <a href="#nights">earlier nights</a>.</p>'


def _usual(report: Report) -> str:
    """In words, what the band behind the bars is."""
    found, decision = report.beside, digest_of(report.decision)
    said = ["What each night brought for the first time."]
    if any(night.decision != decision for night in report.facts.nights):
        said.append("Flags counted under another decision than this page's are not shown.")
    if found.flagged:
        low, high = found.flagged
        said.append(
            f"Usual: {low:.1%} to {high:.1%} of tonight's new films are flagged. This is the band behind the "
            "bars. By chance alone 1 night of 100 lies outside it."
        )
    elif not report.tally.new.films:
        said.append("Tonight brought no new film.")
    else:
        said.append("They have too few films to say what is usual.")
    return f"<p>{' '.join(said)}</p>"


def _table(report: Report) -> str:
    nights, found, decision = report.facts.nights, report.beside, digest_of(report.decision)
    comparable: list[NewFiles | Night] = [report.tally.new]
    comparable += [night for night in nights if night.decision == decision]
    top = max((wilson(each.flagged, each.films)[1] for each in comparable if each.films), default=1.0)
    hot = "flagged" in found.unusual
    lines = [("<b>tonight</b>", *_cells(report.tally.new, found.flagged, top, hot=hot))]
    for night in nights[: -_MOST - 1 : -1]:
        part = f", part {text(night.part)}" if night.part else ""
        name = f"{text(night.started[:16].replace('T', ' '))}{part}"
        cells = _cells(night, found.flagged, top)
        lines.append((name, *(cells if night.decision == decision else (cells[0], "–", cells[2]))))
    html = table(_COLUMNS, lines[: _AT_ONCE + 1], "Tonight and the nights before")
    if folded := lines[_AT_ONCE + 1 :]:
        before = table(_COLUMNS, folded, "Nights before these")
        html += f"<details><summary>{count(len(folded), 'earlier night')}</summary>{before}</details>"
    more = len(nights) - _MOST
    return html + (f'<p class="soft">{count(more, "earlier night")} in summary.json.</p>' if more > 0 else "")


def _cells(
    each: NewFiles | Night, usual: tuple[float, float] | None, top: float, *, hot: bool = False
) -> tuple[str, str, str]:
    """Films, flagged, failed. top: the axis' end."""
    flagged, met = "–", each.films + each.failed
    if each.films:
        share, interval = each.flagged / each.films, wilson(each.flagged, each.films)
        said = f"{each.flagged:,} · {share:.1%} ({interval[0]:.1%} – {interval[1]:.1%})"
        flagged = f"{said}{interval_bar(share, interval, usual, top, hot=hot)}"
    return f"{each.films:,}", flagged, f"{each.failed:,} · {each.failed / met:.1%}" if met else "–"
