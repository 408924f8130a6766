"""An evaluation as files: tables, JSON and page, each whole or not there, for their owner alone."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from screen import __version__
from screen.errors import ScreenError
from screen.evaluation.page import page
from screen.evaluation.performance import Performance, PointRates, Rate
from screen.files import csv_file, whole_file, write_whole
from screen.text import safe_path, safe_text

EVALUATION_VERSION = 1
_PRIVATE = partial(whole_file, mode=0o600)
_RATES = ("sensitivity", "specificity", "ppv", "npv")
POINT_COLUMNS = (
    "operating_point", "threshold",
    *(f"{rate}{part}" for rate in _RATES for part in ("", "_low", "_high", "_hits", "_films")),
    "promised_sensitivity", "promised_specificity",
)  # fmt: skip


def write_evaluation(performance: Performance, out: Path) -> None:
    """`metrics.csv`, `operating-points.csv`, `curves.csv`, `unmatched.csv`, `evaluation.json`, `.html`.

    Raises ScreenError if the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write(out / "metrics.csv", ("figure", "value", "low", "high", "films", "positives", "note"), (
            (f.name, _number(f.value), _number(f.low), _number(f.high), f.films, f.positives, f.note)
            for f in performance.figures
        ))  # fmt: skip
        _write(out / "operating-points.csv", POINT_COLUMNS, map(_point_line, performance.points))
        _write(out / "curves.csv", ("curve", "x", "y", "threshold"), (
            (name, _number(x), _number(y), _number(threshold))
            for name, curve in (("roc", performance.roc), ("precision_recall", performance.precision_recall))
            if curve is not None
            for x, y, threshold in zip(curve.x, curve.y, curve.thresholds, strict=True)
        ))  # fmt: skip
        _write(out / "unmatched.csv", ("line", "file", "label", "why"), (
            (each.line, safe_path(each.name), f"{each.label:.0f}", each.why)
            for each in performance.labelled.unused
        ))  # fmt: skip
        plain = json.dumps(as_json(performance), indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(out / "evaluation.json", plain.encode("utf-8", "backslashreplace") + b"\n", 0o600)
        write_whole(out / "evaluation.html", page(performance), 0o600)
    except OSError as error:
        raise ScreenError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error


def as_json(performance: Performance) -> dict[str, Any]:
    """Everything that was measured; what is no number is null."""
    labelled, summary = performance.labelled, performance.results.summary
    plain: dict[str, Any] = {
        "cxr_screen_evaluation": EVALUATION_VERSION,
        "finding": performance.results.finding,
        "films": len(labelled.labels),
        "positives": performance.positives,
        "intervals_draw": labelled.grouped_by,
        "labels_without_score": len(labelled.unused),
        "lines_without_label": labelled.unlabelled,
        "films_without_label": labelled.unlabelled_films,
        "model": summary.get("model"),
        "digests": summary.get("digests"),
        "versions": {"cxr-screen": __version__},
        "figures": [asdict(figure) for figure in performance.figures],
        "operating_points": [asdict(point) for point in performance.points],
        "reliability": [asdict(part) for part in performance.reliability],
        "unmatched": [asdict(each) for each in labelled.unused],
    }
    clean: dict[str, Any] = without_nan(plain)
    return clean


def _point_line(point: PointRates) -> Iterable[object]:
    rates: list[object] = []
    for name in _RATES:
        rate: Rate = getattr(point, name)
        value, low, high = (rate.value, *rate.interval) if rate.films else (math.nan,) * 3
        rates += [_number(value), _number(low), _number(high), rate.hits, rate.films]
    promised = (point.promised_sensitivity, point.promised_specificity)
    return (
        safe_text(point.name),
        "" if point.threshold is None else f"{point.threshold:.6f}",
        *rates,
        *("" if value is None else _number(value) for value in promised),
    )


def _write(path: Path, columns: Sequence[str], lines: Iterable[Iterable[object]]) -> None:
    with csv_file(path, columns, _PRIVATE) as writer:
        writer.writerows(lines)


def _number(value: float) -> str:
    return f"{value:z.6f}" if math.isfinite(value) else ""


def without_nan(value: Any) -> Any:
    """Plain values for JSON, which knows neither NaN nor infinity: they are null."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
