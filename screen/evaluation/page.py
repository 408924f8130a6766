"""`evaluation.html`: one page with the figures, the curves, and what they do not rest on."""

from collections.abc import Sequence

from screen import __version__
from screen.evaluation.charts import Mark, curve_chart, reliability_chart
from screen.evaluation.html import filled
from screen.evaluation.metrics import DRAWS, Figure
from screen.evaluation.performance import AS_FLAGGED, Performance, PointRates, Rate
from screen.report.markup import count, name, table, text

_NAMED = 20
"""Labels without a film that the page names; the rest is in `unmatched.csv`."""


def page(performance: Performance) -> bytes:
    """The whole page, UTF-8."""
    labelled = performance.labelled
    films = len(labelled.labels)
    return filled(
        "page.html",
        headline=f"{text(performance.results.finding, 40)} on {count(films, 'labelled film')}",
        subline=f"{performance.positives:,} with the finding, {films - performance.positives:,} without. "
        + headline(performance),
        leftover=_leftover(performance),
        figures=_figures(performance.figures),
        intervals=f"95 % intervals: {_DRAWN.get(labelled.grouped_by, 'patients')} drawn {DRAWS:,} times.",
        points=_points(performance.points),
        points_note="95 % intervals are Wilson's, patients as trials. What the model says of a point was "
        "measured elsewhere, or is an expectation. Predictive values follow the share of films with the "
        "finding, which is these films', not a ward's.",
        charts=_charts(performance),
        provenance=_provenance(performance),
    )


_DRAWN = {"study": "studies (the table names no patients)", "film": "films (the table names no patients)"}


def headline(performance: Performance) -> str:
    """The first figure in words."""
    auc = performance.figures[0]
    if auc.note:
        return f"No AUC: {auc.note}."
    return f"AUC {auc.value:.3f}, 95 % interval {auc.low:.3f} to {auc.high:.3f}."


def _leftover(performance: Performance) -> str:
    labelled = performance.labelled
    if not labelled.unused:
        return ""
    lost = sum(each.label == 1 for each in labelled.unused)
    lines = [
        (f"{each.line:,}", name(each.name), f"{each.label:.0f}", text(each.why))
        for each in labelled.unused[:_NAMED]
    ]
    more = len(labelled.unused) - len(lines)
    return (
        f'<section class="loud"><h2>{count(len(labelled.unused), "label")} without a score, '
        f"{lost:,} of them with the finding</h2><p>No figure counts them.</p>"
        + table(("Line", "File", "Label", "Why"), lines, "Labels without a score")
        + (f'<p class="small">{more:,} more are in unmatched.csv.</p>' if more else "")
        + "</section>"
    )


def _figures(figures: Sequence[Figure]) -> str:
    lines = [
        (
            text(figure.name.replace("_", " ")),
            text(figure.note) if figure.note else f"{figure.value:.3f}",
            "" if figure.note else f"{figure.low:.3f} to {figure.high:.3f}",
        )
        for figure in figures
    ]
    return table(("Figure", "Value", "95 % interval"), lines, "Figures")


def _points(points: Sequence[PointRates]) -> str:
    lines = [
        (
            text(point.name, 40),
            "" if point.threshold is None else f"{point.threshold:.4f}",
            _rate(point.sensitivity),
            _rate(point.specificity),
            _promised(point),
            _rate(point.ppv),
            _rate(point.npv),
        )
        for point in points
    ]
    columns = ("Point", "Threshold", "Sensitivity", "Specificity", "The model says", "Right among flagged",
               "Right among others")  # fmt: skip
    return table(columns, lines, "Operating points")


def _promised(point: PointRates) -> str:
    if point.promised_sensitivity is None or point.promised_specificity is None:
        return ""
    return f"{point.promised_sensitivity:.1%}, {point.promised_specificity:.1%}"


def _rate(rate: Rate) -> str:
    if not rate.films:
        return '<span class="none">no film</span>'
    low, high = rate.interval
    share = f'<span class="small">{rate.hits:,} of {rate.films:,}</span>'
    return f"{rate.value:.1%} ({low:.1%} – {high:.1%})<br>{share}"


def _charts(performance: Performance) -> str:
    charts = []
    points = [point for point in performance.points if point.name != AS_FLAGGED]
    if performance.roc is not None:
        marks = [Mark(1 - p.specificity.value, p.sensitivity.value, p.name) for p in points]
        axes = ("1 − specificity", "sensitivity")
        charts.append(curve_chart(performance.roc.x, performance.roc.y, marks, axes, (0.0, 1.0), "ROC curve"))
    if performance.precision_recall is not None:
        share = performance.positives / len(performance.labelled.labels)
        marks = [Mark(p.sensitivity.value, p.ppv.value, p.name) for p in points if p.ppv.films]
        curve, axes = performance.precision_recall, ("recall (sensitivity)", "precision")
        charts.append(curve_chart(curve.x, curve.y, marks, axes, (share, share), "Precision and recall"))
    if performance.reliability:
        charts.append(reliability_chart(performance.reliability, "Reliability of the probabilities"))
    return "".join(charts) or "<p>Curves need films with and without the finding.</p>"


def _provenance(performance: Performance) -> str:
    results, labelled = performance.results, performance.labelled
    model = results.summary.get("model")
    digests = results.summary.get("digests")
    entries = [
        ("Scores", name(results.path)),
        ("Labels", name(labelled.path)),
        ("Films of the run with a score and no label", f"{labelled.unlabelled_films:,}"),
        ("Lines of the table without a label", f"{labelled.unlabelled:,}"),
        ("Model", text(f"{model.get('name')} {model.get('version')}") if isinstance(model, dict) else ""),
        ("Weights", text(digests.get("weights")) if isinstance(digests, dict) else ""),
        ("Decision", text(digests.get("decision")) if isinstance(digests, dict) else ""),
        ("Version", f"cxr-screen {__version__}"),
    ]
    return table(("What", ""), [(what, value) for what, value in entries if value], "Provenance")
