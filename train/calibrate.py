"""From a classifier to a model: probabilities, operating points, distance from normal, gate.

Everything is fitted on the training and validation splits. What an operating point is worth is measured on
the test split, by `train.evaluate`.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from screen.errors import UsageError
from screen.model_card import Finding, OperatingPoint
from screen.preprocess import PreprocessSpec
from train.checkpoint import load_checkpoint, save_checkpoint, under
from train.features import Features, features_of, heatmaps
from train.films import LabelledFilms
from train.finetune import KIND as CLASSIFIER
from train.folds import Split
from train.gaussian import Gaussian
from train.model import ResNet18

KIND = "model"
INTENDED_USE = (
    "Research use only, not for clinical use. Orders frontal chest radiographs of adults by how likely they "
    "show a mass or nodule, for a reader who looks at all of them."
)
DISTANCE_SHRINKAGE = 0.05
GATE_SHRINKAGE = 0.1
GATE_KEEPS = 0.997
"""Share of held-out chest films that the gate's threshold keeps."""


def platt(logits: NDArray[np.float32], labels: NDArray[np.float32]) -> tuple[float, float]:
    """Slope and intercept of the calibrated logit (Platt 1999, smoothed targets), by Newton's method."""
    positives, negatives = float((labels == 1).sum()), float((labels == 0).sum())
    if not positives or not negatives:
        raise UsageError("calibration needs validation films with and without the finding")
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    x = np.stack([logits.astype(np.float64), np.ones(len(logits))], 1)
    beta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ beta))
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2), x.T @ (targets - p))
        beta += step
        if np.abs(step).max() < 1e-10:
            break
    if beta[0] <= 0:
        raise UsageError(
            "the network's score does not rise with the finding on the validation films: train on"
        )
    return float(beta[0]), float(beta[1])


def thresholds(probabilities: NDArray[np.float64], labels: NDArray[np.float32]) -> dict[str, float]:
    """Operating points by what they are for, chosen on validation films.

    `sensitive` finds nine of ten, `balanced` has sensitivity equal to specificity, `specific` passes nine
    of ten films without the finding.
    """
    positive, negative = np.sort(probabilities[labels == 1]), np.sort(probabilities[labels == 0])
    candidates = np.unique(probabilities)
    sensitivity = 1 - np.searchsorted(positive, candidates) / len(positive)
    specificity = np.searchsorted(negative, candidates) / len(negative)
    return {
        "sensitive": float(candidates[np.flatnonzero(sensitivity >= 0.9)[-1]]),
        "balanced": float(candidates[np.argmin(np.abs(sensitivity - specificity))]),
        "specific": float(candidates[min(int(np.searchsorted(specificity, 0.9)), len(candidates) - 1)]),
    }


def calibrate(
    classifier: Path,
    films: LabelledFilms,
    others: NDArray[np.uint8],
    spec: PreprocessSpec,
    finding: str,
    name: str,
    version: str,
    out: Path,
) -> None:
    """Write the model's checkpoint. others: uint8 [M, S, S], squares of pictures that are no chest film."""
    tensors, about = load_checkpoint(classifier)
    if about["kind"] != CLASSIFIER:
        raise UsageError(f"{classifier} is a checkpoint of the kind '{about['kind']}', not a classifier")
    settings = about["settings"]
    weights = under(tensors, "network.")
    network = ResNet18()
    network.load_state_dict(weights)
    features = features_of(network, films.values, settings["mean"], settings["std"])
    training, validation = films.of(Split.TRAIN), films.of(Split.VALIDATION)

    judged = validation & films.scorable()
    logits, labels = features.logits[judged, 0], films.labels[judged]
    slope, intercept = platt(logits, labels)
    chosen = thresholds(1 / (1 + np.exp(-(slope * logits.astype(np.float64) + intercept))), labels)

    normal = films.abnormal == 0
    distance = Gaussian.fit(features.embedding[training & normal], DISTANCE_SHRINKAGE)
    held_out = distance.score(features.embedding[validation & normal])
    gate, gate_numbers = fit_gate(
        features, training, validation, features_of(network, others, settings["mean"], settings["std"])
    )
    scale = _heatmap_scale(network, films.values[judged], settings["mean"], settings["std"])
    model_card: dict[str, Any] = {
        "kind": KIND,
        "name": name,
        "version": version,
        "intended_use": INTENDED_USE,
        "preprocess": asdict(spec),
        "input_mean": settings["mean"],
        "input_std": settings["std"],
        "findings": [
            asdict(
                Finding(
                    name=finding,
                    slope=slope,
                    intercept=intercept,
                    prevalence=float(labels.mean()),
                    operating_points=tuple(_unmeasured(label, value) for label, value in chosen.items()),
                    default_operating_point="balanced",
                    heatmap_scale=scale,
                )
            )
        ],
        "primary": finding,
        "distance_quantiles": np.quantile(held_out, np.linspace(0, 1, 101)).tolist(),
        "gate_threshold": 0.0,
        "training": {
            **about["provenance"],
            "settings": settings,
            "epochs": about["epoch"],
            "classifier_sha256": about["tensors_sha256"],
            "split_seed": settings["seed"],
        },
        "metrics": {"gate": gate_numbers},
    }
    extra = {
        "distance.mean": distance.mean,
        "distance.whiten": distance.whiten,
        "gate.mean": gate.mean,
        "gate.whiten": gate.whiten,
        "gate.scale": np.float32(gate_numbers["scale"]),
        "gate.bias": np.float32(gate_numbers["bias"]),
    }
    scores: dict[str, Tensor] = {key: torch.as_tensor(value) for key, value in extra.items()}
    save_checkpoint(out, {**weights, **scores}, model_card)


def fit_gate(
    features: Features,
    training: NDArray[np.bool_],
    validation: NDArray[np.bool_],
    others: Features,
) -> tuple[Gaussian, dict[str, float]]:
    """The gate is bias − scale × distance from chest films, sick or well; above 0 is a chest film.

    The Gaussian knows chest films only. Its zero keeps `GATE_KEEPS` of the held-out ones; other pictures set
    the scale alone: their median lies at −1, so that the number reads the same for every model.
    """
    gate = Gaussian.fit(features.gate[training], GATE_SHRINKAGE)
    chest = gate.score(features.gate[validation])
    away = gate.score(others.gate)
    edge = float(np.quantile(chest, GATE_KEEPS))
    scale = 1 / max(float(np.median(away)) - edge, 1e-3)
    return gate, {
        "scale": scale,
        "bias": scale * edge,
        "validation_films": int(validation.sum()),
        "validation_kept": float((chest < edge).mean()),
        "other_pictures": len(away),
        "other_pictures_turned_away": float((away >= edge).mean()),
    }


def _unmeasured(name: str, threshold: float) -> OperatingPoint:
    """An operating point that `train evaluate` has not measured yet: it may be worth anything."""
    return OperatingPoint(name, threshold, 0.0, (0.0, 1.0), 0.0, (0.0, 1.0), "not measured")


def _heatmap_scale(
    network: ResNet18, squares: NDArray[np.uint8], mean: float, std: float
) -> tuple[float, float]:
    """Class activation at the 85th and the 99th percentile of all places on validation films."""
    values = heatmaps(network, squares, mean, std)
    low, high = np.quantile(values, [0.85, 0.99])
    return float(low), float(high)
