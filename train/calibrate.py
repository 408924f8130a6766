"""From a classifier to a model: probabilities, operating points, distance from normal, gate.

Everything is fitted on the training and validation splits; calibration and operating points on out-of-fold
predictions instead, where there are any.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from screen.errors import UsageError
from screen.model_card import Finding
from screen.preprocess import PreprocessSpec
from train.calibration import Calibration, calibrated
from train.card import INTENDED_USE
from train.checkpoint import load_checkpoint, save_checkpoint, under
from train.features import Features, features_of, heatmaps
from train.films import LabelledFilms
from train.finetune import KIND as CLASSIFIER
from train.folds import Split, fold_of
from train.gaussian import Gaussian
from train.model import ResNet18

KIND = "model"
DISTANCE_SHRINKAGE = 0.05
GATE_SHRINKAGE = 0.1
GATE_KEEPS = 0.997
"""Share of held-out chest films that the gate's threshold keeps."""


def calibrate(
    classifier: Path,
    films: LabelledFilms,
    others: NDArray[np.uint8],
    spec: PreprocessSpec,
    finding: str,
    name: str,
    version: str,
    out: Path,
    out_of_fold: tuple[Calibration, dict[str, Any]] | None = None,
) -> None:
    """Write the model's checkpoint. others: uint8 [M, S, S], squares of pictures that are no chest film.

    out_of_fold: the calibration that its recipe's out-of-fold predictions gave, and what was measured on
    them; without them the validation split calibrates, and `train evaluate` measures on the test split.
    """
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
    calibration, metrics = out_of_fold or (_from_validation(features, films, judged, settings["seed"]), {})

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
                    slope=calibration.slope,
                    intercept=calibration.intercept,
                    prevalence=calibration.prevalence,
                    operating_points=calibration.operating_points,
                    default_operating_point=calibration.default_operating_point,
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
        "metrics": {**metrics, "gate": gate_numbers},
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


def _from_validation(
    features: Features, films: LabelledFilms, judged: NDArray[np.bool_], seed: int
) -> Calibration:
    """From the validation split, whose two folds measure each other's thresholds."""
    logits, patients = features.logits[judged, 0].astype(np.float64), films.patients[judged]
    folds = np.array([str(fold_of(patient, seed)) for patient in patients])
    measured_on = f"validation split: {len(patients):,} films; thresholds chosen on the other half"
    return calibrated(logits[None], films.labels[judged], folds[None], patients, measured_on)


def _heatmap_scale(
    network: ResNet18, squares: NDArray[np.uint8], mean: float, std: float
) -> tuple[float, float]:
    """Class activation at the 85th and the 99th percentile of all places on validation films."""
    values = heatmaps(network, squares, mean, std)
    low, high = np.quantile(values, [0.85, 0.99])
    return float(low), float(high)
