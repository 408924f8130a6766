"""An evaluation as files: metrics, plots and the model card, all from one set of figures."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from screen.discover import discover
from screen.evaluation.files import without_nan
from screen.files import csv_file, whole_file, write_whole
from screen.film import Film
from screen.model import ModelCard
from screen.readers import read
from train.measure import plots
from train.measure.evaluation import Comparison, Evaluation
from train.measure.evaluation_card import model_card

METRICS_VERSION = 1
COLUMNS = ("recipe", "figure", "group", "value", "low", "high", "films", "positives", "note")

Pictures = Callable[[int], NDArray[np.uint8]]
"""A film of the cohort by its place: uint8 [H, W]."""


def write_evaluation(evaluation: Evaluation, pictures: Pictures, model: ModelCard | None, out: Path) -> None:
    """Write `metrics.csv`, `metrics.json`, the plots and `model-card.md` to a folder.

    model: of the model file that was made by the first recipe, if it is there already.
    """
    out.mkdir(parents=True, exist_ok=True)
    _write_csv(out / "metrics.csv", evaluation)
    metrics = json.dumps(as_json(evaluation, model), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(out / "metrics.json", metrics.encode() + b"\n")
    write_whole(out / "model-card.md", model_card(evaluation, model).encode())
    plots.results(out / "results.png", evaluation, pictures)
    plots.roc(out / "roc.png", evaluation)
    plots.precision_recall(out / "precision-recall.png", evaluation)
    plots.reliability(out / "reliability.png", evaluation)
    if evaluation.efficiency:
        plots.label_efficiency(out / "label-efficiency.png", evaluation)


def pictures_from_files(paths: Sequence[Path]) -> Pictures:
    """Films through the reader that screening uses; longer side at most 512 pixels."""

    def picture(index: int) -> NDArray[np.uint8]:
        (source,) = discover([paths[index]], None)
        film = read(source)
        if not isinstance(film, Film):  # it was read for its prediction, so something changed since
            return np.zeros((512, 512), np.uint8)
        grey = (np.asarray(cv2.LUT(film.pixels.values, film.pixels.lookup), np.uint16) >> 8).astype(np.uint8)
        scale = min(1.0, 512 / max(grey.shape))
        return np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))

    return picture


def as_json(evaluation: Evaluation, model: ModelCard | None) -> dict[str, Any]:
    """Everything that was measured, as `metrics.json` has it; NaN as null."""
    cohort, calibration = evaluation.cohort, evaluation.calibration
    everything = {
        "cxr_screen_metrics": METRICS_VERSION,
        "finding": evaluation.finding,
        "model": {"name": model.name, "version": model.version, "weights": model.weights_digest}
        if model
        else None,
        "recipe": evaluation.shipped.name,
        "recipes": {
            recipe.name: {
                "predictions_sha256": recipe.digest,
                "seeds": list(recipe.seeds),
                "folds": len(np.unique(recipe.folds[:, recipe.covered])),
                "films": int(recipe.covered.sum()),
                "positives": int(cohort.labels[recipe.covered].sum()),
                "patients": len(np.unique(cohort.patients[recipe.covered])),
            }
            for recipe in evaluation.recipes
        },
        "films_without_prediction": int((~evaluation.shipped.covered).sum()),
        "figures": [
            {"recipe": recipe, **asdict(figure)}
            for recipe, figures in evaluation.figures.items()
            for figure in figures
        ],
        "comparisons": [{**asdict(c), "excludes_zero": c.excludes_zero} for c in evaluation.comparisons],
        "calibration": asdict(calibration),
        "reliability": [asdict(part) for part in evaluation.reliability],
        "pointing": {
            "groups": [asdict(group) for group in evaluation.pointing],
            "fixed_point": list(evaluation.fixed_point),
        },
        "label_efficiency": [
            {"start": point.start, "share": point.share, **asdict(point.figure)}
            for point in evaluation.efficiency
        ],
    }
    plain: dict[str, Any] = without_nan(everything)
    return plain


def headlines(evaluation: Evaluation) -> list[str]:
    """What the command says on standard output."""
    lines = [
        f"{recipe}: {figure}"
        for recipe, figures in evaluation.figures.items()
        for figure in figures
        if not figure.group
    ]
    return [*lines, *map(_difference, evaluation.comparisons)]


def _difference(comparison: Comparison) -> str:
    clear = "" if comparison.excludes_zero else ", may be chance"
    return (
        f"{comparison.recipe} − {comparison.other}, {comparison.figure}: {comparison.difference:+.3f} "
        f"[{comparison.low:+.3f}, {comparison.high:+.3f}] ({comparison.films} films{clear})"
    )


def _write_csv(path: Path, evaluation: Evaluation) -> None:
    with csv_file(path, COLUMNS, whole_file) as writer:
        for recipe, figures in evaluation.figures.items():
            for figure in figures:
                numbers = (
                    "" if math.isnan(n) else f"{n:.4f}" for n in (figure.value, figure.low, figure.high)
                )
                writer.writerow(
                    [recipe, figure.name, figure.group, *numbers, figure.films, figure.positives, figure.note]
                )
