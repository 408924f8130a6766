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
from train.data.films import LabelledFilms
from train.data.folds import Split
from train.data.readers import ABNORMAL
from train.measure.evaluation_card import INTENDED_USE
from train.network.checkpoint import load_checkpoint, save_checkpoint, under
from train.network.features import Features, features_of
from train.network.gaussian import RelativeDistance
from train.network.resnet import ResNet18
from train.progress import Progress, quiet
from train.recipes.abnormal import both_of, learnable, with_abnormal
from train.recipes.finetune import KIND as CLASSIFIER
from train.recipes.make_gate import load_gate

KIND = "model"
DISTANCE_SHRINKAGE = 0.3
_FEWEST = 2
"""Of a kind, in a split; hundreds are wanted."""


def size_of(classifier: Path) -> int:
    """Side of the squares that it learned from last, pixels; UsageError if it is no classifier."""
    size: int = _classifier(classifier)[1]["settings"]["stages"][-1][1]
    return size


def calibrate(
    classifier: Path,
    films: LabelledFilms,
    gate: Path,
    spec: PreprocessSpec,
    finding: str,
    name: str,
    version: str,
    out: Path,
    out_of_fold: tuple[Calibration, dict[str, Any]] | None = None,
    second: tuple[Calibration, dict[str, Any]] | None = None,
    progress: Callable[[str], Progress] = lambda what: quiet,
) -> None:
    """Write the model's checkpoint. gate: of `screen train gate`, for squares of this size.

    out_of_fold: the calibration that its recipe's out-of-fold predictions gave, and what was measured on
    them; without them the validation split calibrates, and `train evaluate` measures on the test split.
    second: likewise of `abnormal` (`train.recipes.abnormal`), which is then the model's second finding.
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
    gate_tensors, gate_figures = load_gate(gate, spec.size)
    network = ResNet18()
    network.load_state_dict(under(tensors, "network."))
    features = features_of(
        network, films.values, settings["mean"], settings["std"], progress("network over films")
    )
    calibration, metrics = out_of_fold or (_from_validation(features, films, judged, settings["seed"]), {})
    findings = [_finding(finding, calibration, features.logits[judged, 0], features.evidence[judged, 0])]
    if second:
        network = with_abnormal(network, films, learnable(films), features)
        both = both_of(features, network)
        findings.append(_finding(ABNORMAL, second[0], both.logits[judged, 1], both.evidence[judged, 1]))
        metrics = {**metrics, ABNORMAL: second[1]}
    distance = RelativeDistance.fit(features.fields[fitted], normal[fitted], DISTANCE_SHRINKAGE)
    distances = distance.score(features.fields)
    held_out = distances[judged & normal]
    model_card: dict[str, Any] = {
        "kind": KIND,
        "name": name,
        "version": version,
        "intended_use": INTENDED_USE,
        "preprocess": asdict(spec),
        "input_mean": settings["mean"],
        "input_std": settings["std"],
        "findings": [asdict(one) for one in findings],
        "primary": finding,
        "distance_quantiles": np.quantile(held_out, np.linspace(0, 1, 101)).tolist(),
        "gate_threshold": 0.0,
        "gate_certain": 1.0,
        "training": {
            **about["provenance"],
            "settings": settings,
            "epochs": about["epoch"],
            "classifier_sha256": about["tensors_sha256"],
            "split_seed": settings["seed"],
            "normal_films": "as the table calls them" if named else "without the finding",
        },
        "metrics": {**metrics, "gate": gate_figures, "distance": _abnormal_auc(distances, films)},
    }
    save_checkpoint(out, {**network.state_dict(), **distance.tensors(), **gate_tensors}, model_card)


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


def _finding(
    name: str, calibration: Calibration, logits: NDArray[np.float32], heatmaps: NDArray[np.float32]
) -> Finding:
    """As the card has it. logits [N], heatmaps [N, h, w]: of films that set the scale of its colours."""
    threshold = next(
        point.threshold
        for point in calibration.operating_points
        if point.name == calibration.default_operating_point
    )
    flagged = calibration.probabilities(logits.astype(np.float64)) >= threshold
    return Finding(
        name=name,
        slope=calibration.slope,
        intercept=calibration.intercept,
        prevalence=calibration.prevalence,
        operating_points=calibration.operating_points,
        default_operating_point=calibration.default_operating_point,
        heatmap_scale=_heatmap_scale(heatmaps[flagged] if flagged.any() else heatmaps),
        code=CODES.get(name),
    )


def _heatmap_scale(heatmaps: NDArray[np.float32]) -> tuple[float, float]:
    """Of flagged films, [N, h, w]: seven places of a hundred have colour, one of two hundred all of it.

    On less strict a scale both lungs are coloured; on a stricter one some flagged films have no colour.
    """
    low, high = np.quantile(heatmaps, [0.93, 0.995])
    return float(low), float(high)
