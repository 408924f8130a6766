"""From a classifier to a model: probabilities, operating points, distance from normal, gate.

Everything is fitted on the training and validation splits; calibration and operating points on out-of-fold
predictions instead, where there are any.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from screen.errors import UsageError
from screen.evaluation.folds import fold_of
from screen.evaluation.metrics import auc, patient_bootstrap, within_source_auc
from screen.evaluation.platt import Calibration, calibrated
from screen.model import Finding
from screen.model.card import CODES
from screen.preprocess import PreprocessSpec
from train.data.boxes import lesion_sizes
from train.data.films import LabelledFilms
from train.data.folds import Split
from train.measure.evaluation_card import INTENDED_USE
from train.network.checkpoint import load_checkpoint, save_checkpoint, under
from train.network.features import DISTANCE_WIDTH, Features, features_of
from train.network.gate import Gate, Others, fit_gate, gaussian_of, in_another_pose, passed, unknown_kinds
from train.network.gaussian import RelativeDistance
from train.network.resnet import ResNet18
from train.progress import Progress, quiet
from train.recipes.finetune import KIND as CLASSIFIER

KIND = "model"
DISTANCE_SHRINKAGE = 0.3
_FEWEST = 2
"""Of a kind, in a split; hundreds are wanted."""
_POSED = 3
"""Every third film is also turned or inverted, for the gate."""


def size_of(classifier: Path) -> int:
    """Side of the squares that it learned from last, pixels; UsageError if it is no classifier."""
    size: int = _classifier(classifier)[1]["settings"]["stages"][-1][1]
    return size


def calibrate(
    classifier: Path,
    films: LabelledFilms,
    others: Others,
    spec: PreprocessSpec,
    finding: str,
    name: str,
    version: str,
    out: Path,
    out_of_fold: tuple[Calibration, dict[str, Any]] | None = None,
    progress: Callable[[str], Progress] = lambda what: quiet,
) -> None:
    """Write the model's checkpoint. others: pictures that are no chest film, for the gate.

    out_of_fold: the calibration that its recipe's out-of-fold predictions gave, and what was measured on
    them; without them the validation split calibrates, and `train evaluate` measures on the test split.
    progress: told what begins, gives what to tell of its films. Normal films are those that the table calls
    so; if it calls none, those without the finding.
    Raises UsageError, before anything is computed, if a split has too few films.
    """
    tensors, about = _classifier(classifier)
    settings = about["settings"]
    training, validation = films.of(Split.TRAIN), films.of(Split.VALIDATION)
    judged = validation & films.scorable()
    # Of those whom the finding is looked for in: children of another hospital are another kind of normal.
    fitted = training & films.scorable()
    named = not np.isnan(films.abnormal).all()
    normal = films.abnormal == 0 if named else films.labels == 0
    _check_enough(films, judged, normal, named)
    weights = under(tensors, "network.")
    network = ResNet18()
    network.load_state_dict(weights)
    features = features_of(
        network, films.values, settings["mean"], settings["std"], progress("network over films")
    )
    calibration, metrics = out_of_fold or (_from_validation(features, films, judged, settings["seed"]), {})

    fields = features.gate[:, :DISTANCE_WIDTH]
    distance = RelativeDistance.fit(fields[fitted], normal[fitted], DISTANCE_SHRINKAGE)
    held_out = distance.score(fields[judged & normal])
    gate, gate_metrics = _gate(network, films, features, others, settings, progress)
    distances = distance.score(fields)
    scale = _heatmap_scale(features.evidence[judged, 0])
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
                    code=CODES.get(finding),
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
            "normal_films": "as the table calls them" if named else "without the finding",
        },
        "metrics": {**metrics, "gate": gate_metrics, "distance": _abnormal_auc(distances, films)},
    }
    save_checkpoint(out, {**weights, **distance.tensors(), **gate.tensors()}, model_card)


def _check_enough(
    films: LabelledFilms, judged: NDArray[np.bool_], normal: NDArray[np.bool_], named: bool
) -> None:
    """Raises UsageError if the splits that calibrate have too few films of a kind."""
    training = films.of(Split.TRAIN) & films.scorable()
    words = "normal films" if named else "films without the finding (the table names no normal ones)"
    for split, count, what in (
        (Split.TRAIN, int((training & normal).sum()), words),
        (Split.VALIDATION, int((judged & normal).sum()), words),
        (Split.VALIDATION, int((films.labels[judged] == 1).sum()), "films with the finding"),
    ):
        if count < _FEWEST:
            raise UsageError(
                f"the {split} split has {count} {what}, at least {_FEWEST} are needed: give a table with "
                "more patients; --abnormal-column names the column in which 0 is a normal film"
            )


def _classifier(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, about = load_checkpoint(path)
    if about["kind"] != CLASSIFIER:
        raise UsageError(f"{path} is a checkpoint of the kind '{about['kind']}', not a classifier")
    return tensors, about


def _gate(
    network: ResNet18,
    films: LabelledFilms,
    features: Features,
    others: Others,
    settings: dict[str, Any],
    progress: Callable[[str], Progress],
) -> tuple[Gate, dict[str, Any]]:
    """The gate, and what it lets pass: of films of the test split, and of pictures of kinds it did not know.

    Fitted on the training split's films, upright and in other poses; its edges are the validation split's.
    """
    mean, std, seed = settings["mean"], settings["std"], settings["seed"]
    chosen = np.arange(0, len(films.values), _POSED)
    posed = in_another_pose(films.values[chosen], [films.geometry[film] for film in chosen], seed)
    turned = features_of(network, posed, mean, std, progress("gate: films in other poses")).gate
    other = features_of(network, others.values, mean, std, progress("gate: other pictures")).gate

    def of(split: Split) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        mask = films.of(split)
        return features.gate[mask], turned[mask[chosen]]

    training, held_out = np.concatenate(of(Split.TRAIN)), of(Split.VALIDATION)
    gaussian = gaussian_of(training)
    gate = fit_gate(gaussian, training, other, others.collections, seed).with_edges(held_out)
    test = films.of(Split.TEST)
    upright, turned_test = (gate.score(values) for values in of(Split.TEST))
    unknown = unknown_kinds(gaussian, training, held_out, other, others, seed)
    made = others.collections == "made"
    sizes = lesion_sizes([films.boxes[film] for film in np.flatnonzero(test)])
    found = {
        name: passed(upright[of_it], np.full(of_it.sum(), name))
        for index, name in enumerate(films.side_findings)
        for of_it in [films.side_labels[test, index] == 1]
    }
    return gate, {
        "films": passed(upright, np.full(len(upright), "upright"))
        | passed(turned_test, np.full(len(turned_test), "turned or inverted")),
        "films_by_source": passed(upright, films.sources[test]),
        "films_by_lesion": passed(upright[sizes != ""], sizes[sizes != ""]),
        "films_by_finding": {name: share for each in found.values() for name, share in each.items()},
        "others_of_unknown_kinds": passed(unknown, others.collections),
        "made_of_unknown_kinds": passed(unknown[made], others.kinds[made]),
    }


def _abnormal_auc(distances: NDArray[np.float32], films: LabelledFilms) -> dict[str, Any]:
    """How well the distance, which knows normal films alone, tells abnormal from normal ones of one source.

    On the test split's films that the finding is looked for in, and in each source, others too; empty if it
    does not hold both.
    """
    judged = films.of(Split.TEST) & ~np.isnan(films.abnormal)
    chosen = np.flatnonzero(judged & films.scorable())
    labels, sources = films.abnormal[chosen], films.sources[chosen]
    if not np.isfinite(value := within_source_auc(distances[chosen], labels, sources)):
        return {}

    def statistic(index: NDArray[np.intp]) -> float:
        return within_source_auc(distances[chosen][index], labels[index], sources[index])

    by_source = {
        source: auc(distances[of_it], films.abnormal[of_it])
        for source in sorted(set(films.sources[judged].tolist()))
        for of_it in [judged & (films.sources == source)]
        if len(set(films.abnormal[of_it].tolist())) == 2
    }
    interval = patient_bootstrap(films.patients[chosen], statistic)
    return {
        "auc_within_source": value,
        "interval": list(interval),
        "films": len(chosen),
        "by_source": by_source,
    }


def _from_validation(
    features: Features, films: LabelledFilms, judged: NDArray[np.bool_], seed: int
) -> Calibration:
    """From the validation split, whose two folds measure each other's thresholds."""
    logits, patients = features.logits[judged, 0].astype(np.float64), films.patients[judged]
    folds = np.array([str(fold_of(patient, seed)) for patient in patients])
    measured_on = f"validation split: {len(patients):,} films; thresholds chosen on the other half"
    return calibrated(logits[None], films.labels[judged], folds[None], patients, measured_on)


def _heatmap_scale(heatmaps: NDArray[np.float32]) -> tuple[float, float]:
    """The 85th and the 99th percentile of all places on validation films. heatmaps: [N, h, w]."""
    low, high = np.quantile(heatmaps, [0.85, 0.99])
    return float(low), float(high)
