"""Pictures of an evaluation: ROC and precision–recall curves, films with their scores and heat maps."""

from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from train.metrics import Figure

mpl.use("Agg")
from matplotlib import pyplot as plt

_INK, _ACCENT, _FAINT = "#1f2933", "#b4431f", "#9aa5b1"
_DISCLAIMER = "research use only, not for clinical use"


def results(
    path: Path,
    squares: NDArray[np.uint8],
    probabilities: NDArray[np.float64],
    labels: NDArray[np.float32],
    maps: NDArray[np.float32],
    finding: dict[str, Any],
) -> None:
    """Four films with the finding and four without, at even ranks of the score, not the best ones.

    squares uint8 [N, S, S]; maps float32 [N, h, w] on the model's fixed scale.
    """
    low, high = finding["heatmap_scale"]
    threshold = _default_threshold(finding)
    figure, axes = plt.subplots(4, 4, figsize=(11, 11.8), layout="constrained")
    for block, label in enumerate((1, 0)):
        of_label = np.flatnonzero(labels == label)
        ranked = of_label[np.argsort(-probabilities[of_label], kind="stable")]
        spread = np.unique(np.linspace(0, len(ranked) - 1, 6).astype(int)[1:-1])
        for column, index in enumerate(ranked[spread]):
            size = squares.shape[-1]
            grown = cv2.resize(maps[index], (size, size), interpolation=cv2.INTER_CUBIC)
            strength = np.clip((grown - low) / (high - low), 0, 1)
            film, overlay = axes[2 * block, column], axes[2 * block + 1, column]
            film.imshow(squares[index], cmap="gray", vmin=0, vmax=255)
            overlay.imshow(squares[index], cmap="gray", vmin=0, vmax=255)
            overlay.imshow(strength, cmap="inferno", vmin=0, vmax=1, alpha=0.65 * strength)
            flagged = probabilities[index] >= threshold
            film.set_title(
                f"{'with' if label else 'without'} {finding['name']}: p = {probabilities[index]:.3f}"
                f"{', flagged' if flagged else ''}",
                fontsize=9,
                color=_INK if flagged == bool(label) else _ACCENT,
            )
    for axis in axes.flat:
        axis.axis("off")
    figure.suptitle(
        f"Test films at even ranks of the score; threshold {threshold:.3f}; wrong calls red\n{_DISCLAIMER}",
        fontsize=10,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def curves(
    folder: Path,
    probabilities: NDArray[np.float64],
    labels: NDArray[np.float32],
    finding: dict[str, Any],
    headline: Figure,
) -> None:
    """`roc.png` and `precision-recall.png` of the pooled test films, operating points marked."""
    order = np.argsort(-probabilities, kind="stable")
    hits = np.cumsum(labels[order] == 1)
    alarms = np.cumsum(labels[order] == 0)
    recall, fall_out = hits / hits[-1], alarms / alarms[-1]
    precision = hits / (hits + alarms)
    roc, axis = plt.subplots(figsize=(5.2, 5.2), layout="constrained")
    axis.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle=":")
    axis.plot(np.append(0, fall_out), np.append(0, recall), color=_INK, linewidth=1.6)
    for point in finding["operating_points"]:
        x, y = 1 - point["specificity"], point["sensitivity"]
        axis.plot(x, y, "o", color=_ACCENT)
        axis.annotate(point["name"], (x, y), textcoords="offset points", xytext=(7, -11), fontsize=8)
    axis.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.set_title(
        f"{finding['name']}, all test films; within source: AUC {headline.value:.2f} "
        f"[{headline.low:.2f}, {headline.high:.2f}]\n{_DISCLAIMER}",
        fontsize=9,
    )
    roc.savefig(folder / "roc.png", dpi=120)
    plt.close(roc)
    pr, axis = plt.subplots(figsize=(5.2, 5.2), layout="constrained")
    prevalence = float((labels == 1).mean())
    axis.axhline(prevalence, color=_FAINT, linewidth=1, linestyle=":")
    axis.plot(recall, precision, color=_INK, linewidth=1.6)
    axis.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axis.set_title(f"{finding['name']}, prevalence {prevalence:.2f} (dotted)\n{_DISCLAIMER}", fontsize=9)
    pr.savefig(folder / "precision-recall.png", dpi=120)
    plt.close(pr)


def _default_threshold(finding: dict[str, Any]) -> float:
    name = finding["default_operating_point"]
    return next(float(p["threshold"]) for p in finding["operating_points"] if p["name"] == name)
