"""Pictures of an evaluation: curves, reliability, label efficiency, and films with their scores."""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from screen.evaluation.metrics import FEW, Figure
from train.measure.evaluation import HEADLINE, READERS, Evaluation

mpl.use("Agg")
from matplotlib import pyplot as plt

_INK, _ACCENT, _FAINT, _COOL = "#1f2933", "#b4431f", "#9aa5b1", "#2f6f8f"
_LINES = (_INK, _ACCENT, _COOL, "#7a5ea8", "#5b7f3a")
_DISCLAIMER = "research use only, not for clinical use"
_GRID = np.linspace(0, 1, 201)


def results(path: Path, evaluation: Evaluation, pictures: Callable[[int], NDArray[np.uint8]]) -> None:
    """Six films with the finding and six without, at even ranks of the score, not the best ones.

    pictures: a film of the cohort by its place, uint8 [H, W]. Marked are readers' boxes, and where the heat
    map of the first seed is highest.
    """
    cohort, finding = evaluation.cohort, evaluation.finding
    probabilities = evaluation.probabilities[0]
    default = evaluation.calibration.default_operating_point
    threshold = next(p.threshold for p in evaluation.calibration.operating_points if p.name == default)
    figure, axes = plt.subplots(4, 3, figsize=(8.4, 12.2), layout="constrained")
    for block, label in enumerate((1, 0)):
        of_label = np.flatnonzero(cohort.labels[evaluation.films] == label)
        ranked = of_label[np.argsort(-probabilities[of_label], kind="stable")]
        spread = ranked[np.linspace(0, len(ranked) - 1, 8).astype(int)[1:-1]]
        for axis, at in zip(axes[2 * block : 2 * block + 2].flat, spread, strict=True):
            film = int(evaluation.films[at])
            picture = pictures(film)
            height, width = picture.shape
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
            for box in cohort.boxes[film]:
                size = (box.right - box.left) * width, (box.bottom - box.top) * height
                corner = box.left * width, box.top * height
                axis.add_patch(Rectangle(corner, *size, fill=False, color="#e8c547", linewidth=1.2))
            x, y = evaluation.shipped.peaks[0, film]
            axis.plot(x * width, y * height, "+", color="#ff5a36", markersize=13, markeredgewidth=1.8)
            flagged = probabilities[at] >= threshold
            axis.set_title(
                f"{'with' if label else 'without'} {finding}: p = {probabilities[at]:.3f}"
                f"{', flagged' if flagged else ''}",
                fontsize=9,
                color=_INK if flagged == bool(label) else _ACCENT,
            )
    for axis in axes.flat:
        axis.axis("off")
    figure.suptitle(
        f"Films at even ranks of the score, none learned from; {default}: p ≥ {threshold:.3f}, wrong red\n"
        f"cross: where the heat map is highest; boxes: readers' (few films have any). {_DISCLAIMER}",
        fontsize=9,
    )
    _save(figure, path)


def roc(path: Path, evaluation: Evaluation) -> None:
    """Pairs of one source (their area is a figure) and all films pooled, operating points marked.

    Where it is known what radiologists saw, single readers too, by what they agreed on.
    """
    figure, axis = plt.subplots(figsize=(5.4, 5.4), layout="constrained")
    axis.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle=":")
    within, pooled = evaluation.figure(HEADLINE), evaluation.figure("auc_pooled")
    cohort, covered = evaluation.cohort, evaluation.shipped.covered
    axis.plot(
        _GRID, _within_source_curve(evaluation, cohort.labels, covered & cohort.headline), color=_INK,
        linewidth=1.8, label=f"pairs within one source: AUC {_with_interval(within)}",
    )  # fmt: skip
    if "adjudicated" in cohort.verdicts:
        seen = cohort.verdicts["adjudicated"]
        axis.plot(
            _GRID, _within_source_curve(evaluation, seen, covered & ~np.isnan(seen)), color=_ACCENT,
            linewidth=1.8,
            label=f"against readers: AUC {_with_interval(evaluation.figure(READERS))}",
        )  # fmt: skip
        readers = np.array([reader_rates(said, seen) for said in cohort.single.values()])
        axis.plot(*readers.T, "x", color=_ACCENT, markersize=5, label="single readers, against all of them")
    labels = evaluation.cohort.labels[evaluation.films]
    logits = evaluation.shipped.logits[:, evaluation.films]
    axis.plot(
        _GRID, np.mean([_sensitivity(of_seed, labels) for of_seed in logits], 0), color=_COOL, linewidth=1.2,
        label=f"all films pooled: AUC {_with_interval(pooled)}",
    )  # fmt: skip
    for point in evaluation.calibration.operating_points:
        x, y = 1 - point.specificity, point.sensitivity
        low, high = point.specificity_interval
        axis.plot([1 - high, 1 - low], [y, y], color=_ACCENT, linewidth=1)
        axis.plot([x, x], point.sensitivity_interval, color=_ACCENT, linewidth=1)
        axis.plot(x, y, "o", color=_ACCENT, markersize=4)
        # Above the curves, except where the axis leaves no room there.
        place, side = ((7, -11), "left") if x < 0.2 else ((-7, 5), "right")
        axis.annotate(
            point.name, (x, y), textcoords="offset points", xytext=place, ha=side, fontsize=8, color=_ACCENT
        )
    axis.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axis.legend(loc="lower right", fontsize=8, frameon=False)
    _title(axis, f"{evaluation.finding}: operating points (all films) with 95 % intervals")
    _save(figure, path)


def precision_recall(path: Path, evaluation: Evaluation) -> None:
    """Of all films pooled, each seed."""
    figure, axis = plt.subplots(figsize=(5.4, 5.0), layout="constrained")
    labels = evaluation.cohort.labels[evaluation.films]
    prevalence = float(labels.mean())
    axis.axhline(prevalence, color=_FAINT, linewidth=1, linestyle=":")
    axis.set_prop_cycle(color=_LINES)
    logits = evaluation.shipped.logits[:, evaluation.films]
    for seed, scores in zip(evaluation.shipped.seeds, logits, strict=True):
        hits = np.cumsum(labels[np.argsort(-scores, kind="stable")] == 1)
        axis.plot(hits / hits[-1], hits / np.arange(1, len(hits) + 1), linewidth=1.2, label=f"seed {seed}")
    axis.legend(loc="upper right", fontsize=8, frameon=False)
    axis.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    _title(axis, f"{evaluation.finding}, all films pooled; prevalence {prevalence:.2f} (dotted)")
    _save(figure, path)


def reliability(path: Path, evaluation: Evaluation) -> None:
    """Mean probability and observed share by tenths of the predictions, over how they are spread."""
    figure, (axis, below) = plt.subplots(
        2, 1, figsize=(5.4, 6.2), layout="constrained", sharex=True, height_ratios=(4, 1)
    )
    bins = evaluation.reliability
    top = 1.05 * max(max(part.interval[1], part.probability) for part in bins)
    axis.plot([0, top], [0, top], color=_FAINT, linewidth=1, linestyle=":")
    x, y = np.array([part.probability for part in bins]), np.array([part.observed for part in bins])
    low, high = np.array([part.interval for part in bins]).T
    axis.errorbar(x, y, (y - low, high - y), fmt="o", color=_INK, ecolor=_FAINT, markersize=4, capsize=2)
    axis.set(ylabel=f"share with {evaluation.finding}", xlim=(0, top), ylim=(0, top))
    error, slope = evaluation.figure("calibration_error"), evaluation.figure("calibration_slope")
    _title(axis, f"calibration error {_with_interval(error, 3)}, slope {_with_interval(slope)}")
    below.hist(evaluation.probabilities.ravel(), bins=40, range=(0, top), color=_COOL)
    below.set(xlabel="calibrated probability, from the other folds", ylabel="predictions")
    _save(figure, path)


def label_efficiency(path: Path, evaluation: Evaluation) -> None:
    """The headline over the share of labelled patients, a line for each start."""
    starts = defaultdict(list)
    for point in evaluation.efficiency:
        if not point.figure.note:
            starts[point.start].append(point)
    figure, axis = plt.subplots(figsize=(5.8, 4.6), layout="constrained")
    axis.axhline(0.5, color=_FAINT, linewidth=1, linestyle=":")
    for number, (start, points) in enumerate(starts.items()):
        shift = 1.03 ** (number - (len(starts) - 1) / 2)  # side by side, so that bars do not hide each other
        x = np.array([100 * point.share for point in points]) * shift
        y = np.array([point.figure.value for point in points])
        bars = (
            [point.figure.value - point.figure.low for point in points],
            [point.figure.high - point.figure.value for point in points],
        )
        axis.errorbar(
            x, y, bars, label=start, fmt="o-", color=_LINES[number % len(_LINES)],
            linewidth=1.4, markersize=4, capsize=2,
        )  # fmt: skip
    shares = sorted({100 * point.share for point in evaluation.efficiency})
    axis.set_xscale("log")
    axis.set_xticks(shares, [f"{share:g} %" for share in shares])
    axis.minorticks_off()
    axis.set(xlabel="patients with labels", ylabel="AUC, pairs within one source")
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    _title(axis, f"{evaluation.finding}: fine-tuned with few labels")
    _save(figure, path)


def _sensitivity(scores: NDArray[np.float64], labels: NDArray[np.float32]) -> NDArray[np.float64]:
    """At 1 − specificity of `_GRID`."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # ties are one step
    hits, alarms = np.cumsum(labels[order] == 1)[last], np.cumsum(labels[order] == 0)[last]
    return np.asarray(np.interp(_GRID, np.append(0, alarms / alarms[-1]), np.append(0, hits / hits[-1])))


def reader_rates(said: NDArray[np.float32], seen: NDArray[np.float32]) -> tuple[float, float]:
    """1 − specificity and sensitivity of a reader's answers; NaN with under `FEW` films of either kind."""
    rates = []
    for truth in (0, 1):
        answers = said[(seen == truth) & ~np.isnan(said)]
        rates.append(float(answers.mean()) if len(answers) >= FEW else float("nan"))
    return rates[0], rates[1]


def _within_source_curve(
    evaluation: Evaluation, labels: NDArray[np.float32], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean of the sources' curves by their pairs, so that the area under it is the AUC over pairs of one.

    labels: of the cohort's films, [N]; counted: mask [N].
    """
    cohort = evaluation.cohort
    films = np.flatnonzero(counted)
    total, curve = 0, np.zeros(len(_GRID))
    for source in np.unique(cohort.sources[films]):
        of_source = films[cohort.sources[films] == source]
        truth = labels[of_source]
        pairs = int((truth == 1).sum()) * int((truth == 0).sum())
        if pairs:
            logits = evaluation.shipped.logits[:, of_source]
            curve += pairs * np.mean([_sensitivity(of_seed, truth) for of_seed in logits], 0)
            total += pairs
    return curve / max(1, total)


def _with_interval(figure: Figure, digits: int = 2) -> str:
    if figure.note:
        return f"– ({figure.note})"
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def _title(axis: Any, text: str) -> None:
    axis.set_title(f"{text}\n{_DISCLAIMER}", fontsize=9)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
