"""What `screen monitor` writes: `drift.csv` and `drift.html`, whole or not there, for their owner alone."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from screen import __version__
from screen.decide.rates import wilson
from screen.errors import ScreenError
from screen.evaluation.charts import Week, weeks_chart
from screen.evaluation.drift import ENOUGH, FALSE_ALARMS, Device, Drift, Watched
from screen.evaluation.html import filled
from screen.files import csv_file, whole_file, write_whole
from screen.report.markup import count, table, text
from screen.text import safe_text

COLUMNS = (
    "week", "institution_name", "manufacturer", "manufacturer_model_name", "films", "failed", "unlike_chest",
    "flagged", "flagged_low", "flagged_high", "probability_p10", "p50", "p90", "normal_distance_p50", "psi",
    "psi_by_chance", "alarm", "agree", "disagree",
)  # fmt: skip
_CHARTS = 12
"""Devices with a chart, those with most films."""
_LINES = 300
"""Weeks and devices in the page's table, the latest."""
_ALARMS = 50


def write_drift(drift: Drift, out: Path) -> None:
    """Both files into a folder that is made if need be. Raises ScreenError if it cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with csv_file(out / "drift.csv", COLUMNS, partial(whole_file, mode=0o600)) as writer:
            writer.writerows(map(drift_line, drift.lines))
        write_whole(out / "drift.html", _page(drift), 0o600)
    except OSError as error:
        raise ScreenError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error


def drift_line(line: Watched) -> tuple[str, ...]:
    """One week of one device. `flagged` is films, `flagged_low` and `flagged_high` shares of films."""
    films = line.films
    low, high = line.flagged_interval
    return (
        line.week,
        *map(safe_text, line.device),
        *map(str, (films.films, films.failed, films.unlike_chest, films.flagged)),
        *map(_number, (low, high, *line.percentiles(10, 50, 90), line.distance, line.psi, line.chance)),
        ";".join(line.alarms),
        str(films.agree),
        str(films.disagree),
    )


def told(line: Watched) -> str:
    """An alarm in words: week, device, and what differs."""
    what = ", ".join(_WORDS[alarm] for alarm in line.alarms)
    return f"{line.week}, {device_name(line.device)}: {what}"


_WORDS = {
    "distance": "films lie nearer to normal films, or further from them, than before",
    "failed": "more files that could not be read",
    "flagged": "more or fewer films flagged than before",
    "scores": "other scores than before",
    "unlike_chest": "more films that do not look like a chest film",
}


def device_name(device: Device) -> str:
    """Its tags in one line."""
    return " · ".join(safe_text(part) for part in device if part) or "unnamed device"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:z.6f}"


def _page(drift: Drift) -> bytes:
    weeks = sorted({line.week for line in drift.lines})
    films = sum(line.films.films for line in drift.lines)
    alarms = drift.alarms
    between = f", {weeks[0]} to {weeks[-1]}" if weeks else ""
    return filled(
        "drift.html",
        headline=count(len(alarms), "alarm") if alarms else "No alarm",
        subline=f"{count(films, 'film')} of {count(len(weeks), 'week')}{between}.",
        alarms=_alarms(alarms),
        charts=_charts(drift),
        charts_note="Points: share of films that are flagged. Lines: its 95 % interval. Large: an alarm. "
        f"Shown are the {_CHARTS} devices with most films.",
        feedback=_feedback(drift),
        figures=_figures(drift.lines),
        provenance=_provenance(drift),
    )


def _alarms(alarms: Sequence[Watched]) -> str:
    said = (
        f"If nothing has changed, at most {FALSE_ALARMS * 100:.0f} of 100 such reports have an alarm. Each "
        "week of a device is compared with all earlier films of that device. If these are fewer than "
        f"{ENOUGH}, it is compared with the earlier films of all devices."
    )
    if not alarms:
        return f"<section><p>{said}</p></section>"
    lines = "".join(f"<li>{text(told(line), 400)}</li>" for line in alarms[-_ALARMS:])
    return f'<section class="loud"><ul>{lines}</ul><p class="small">{said}</p></section>'


def _charts(drift: Drift) -> str:
    by_device: dict[Device, list[Watched]] = {}
    for line in drift.lines:
        if line.films.films:
            by_device.setdefault(line.device, []).append(line)
    largest = sorted(by_device, key=lambda device: -sum(line.films.films for line in by_device[device]))
    charts = []
    for device in largest[:_CHARTS]:
        weeks = [
            Week(line.week, line.films.flagged / line.films.films, *line.flagged_interval, bool(line.alarms))
            for line in by_device[device]
        ]
        label = f"Share of flagged films by week: {device_name(device)}"
        charts.append(
            f"<div><h3>{text(device_name(device))}</h3>{weeks_chart(weeks, 'films flagged', label)}</div>"
        )
    return "".join(charts) or "<p>No film was screened.</p>"


def _feedback(drift: Drift) -> str:
    """Positive predictive value by week: of flags that a reader agreed or disagreed with."""
    weeks: dict[str, list[int]] = {}
    for line in drift.lines:
        if line.films.agree + line.films.disagree:
            found = weeks.setdefault(line.week, [0, 0])
            found[0] += line.films.agree
            found[1] += line.films.disagree
    left_out = "".join(
        f'<p class="small">{count(number, "verdict")} {why}.</p>'
        for number, why in (
            (drift.other_weights, "on another model's flags left out"),
            (drift.unmatched, "on studies that are not flagged in these nights left out"),
        )
        if number
    )
    if not weeks:
        return f"<p>No verdict was given (<code>--feedback</code>).</p>{left_out}"
    values = [
        Week(week, agree / (agree + disagree), *wilson(agree, agree + disagree))
        for week, (agree, disagree) in weeks.items()
    ]
    lines = [
        (w.name, f"{agree} of {agree + disagree}", f"{w.value:.0%} ({w.low:.0%} – {w.high:.0%})")
        for w, (agree, disagree) in zip(values, weeks.values(), strict=True)
    ]
    note = "These verdicts say nothing about films that were missed: choose no threshold by them."
    chart = weeks_chart(values, "flags that were right", "Positive predictive value by week")
    figures = table(("Week", "Agreed", "Right among flagged (95 %)"), lines, "What readers said")
    both = f'<div class="charts"><div>{chart}</div><div>{figures}</div></div>'
    return f'{both}<p class="small">{note}</p>{left_out}'


def _figures(lines: Iterable[Watched]) -> str:
    shown = list(lines)
    cells = [[text(cell, 60) for cell in drift_line(line)] for line in shown[-_LINES:]]
    columns = [column.replace("_", " ") for column in COLUMNS]
    more = len(shown) - len(cells)
    rest = f'<p class="small">{more:,} earlier lines are in drift.csv.</p>' if more else ""
    meaning = (
        '<p class="small">psi says how far the scores lie from earlier ones: 0 is no difference. If nothing '
        "has changed, it stays under psi by chance in 95 of 100 weeks. All columns: docs/watching.md.</p>"
    )
    return f'<div class="wide">{table(columns, cells, "By week and device")}</div>{rest}{meaning}'


def _provenance(drift: Drift) -> str:
    card = drift.decision.card
    points = ", ".join(f"{name} at {drift.decision.thresholds[name]:.4f}" for name in drift.decision.flagging)
    entries = [
        ("Ledgers", f"{drift.ledgers:,}"),
        ("Model", text(f"{card.name} {card.version}")),
        ("Weights", text(card.weights_digest)),
        ("Thresholds, of the last night, used for all", text(points, 400)),
        ("Version", f"cxr-screen {__version__}"),
    ]
    return table(("What", ""), entries, "How it was made")
