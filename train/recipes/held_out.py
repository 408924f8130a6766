"""A calibrated model on the test split: films of patients that neither training nor calibration saw."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from screen.errors import UsageError
from screen.evaluation.operating_points import measured
from screen.evaluation.platt import Calibration
from screen.model import OperatingPoint
from screen.preprocess import PreprocessSpec
from train.data.films import LabelledFilms
from train.data.folds import Split
from train.measure.evaluation import Evaluation, evaluate
from train.measure.evaluation_files import Pictures
from train.measure.predictions import Cohort, Recipe
from train.network.checkpoint import load_checkpoint, save_checkpoint
from train.network.features import features_of
from train.network.resnet import ResNet18
from train.progress import Progress, quiet
from train.recipes.calibrate import KIND


def spec_of(checkpoint: Path) -> PreprocessSpec:
    """How the squares of a calibrated model are made; UsageError if it is not calibrated."""
    return PreprocessSpec(**_calibrated(checkpoint)[1]["preprocess"])


def evaluate_test_split(
    checkpoint: Path, films: LabelledFilms, progress: Progress = quiet
) -> tuple[Evaluation, Pictures]:
    """Measure the model; its checkpoint gets the figures, and what its operating points are worth.

    The pictures are the squares that the network got.

    Raises UsageError if it is not calibrated, or the table holds no films to measure on.
    """
    tensors, about = _calibrated(checkpoint)
    network = ResNet18(num_classes=len(about["findings"]))
    network.load_state_dict({name: tensors[name] for name in network.state_dict()})
    test = np.flatnonzero(films.of(Split.TEST) & films.scorable())
    if not len(test):
        raise UsageError("the table holds no labelled film of the test split")
    mean, std = about["input_mean"], about["input_std"]
    logits = features_of(network, films.values[test], mean, std, progress).logits[:, 0]
    recipe = Recipe(
        name=about["name"],
        seeds=(str(about["training"]["split_seed"]),),
        logits=logits[None].astype(np.float64),
        folds=np.full((1, len(test)), Split.TEST.value),
        peaks=np.full((1, len(test), 2), np.nan),
        digest=films.digest,
    )
    cohort = _cohort(films, test)
    finding = about["findings"][0]
    calibration = _measured(finding, recipe, cohort)
    evaluation = evaluate(cohort, [recipe], {}, finding["name"], calibration)
    finding["operating_points"] = [asdict(point) for point in calibration.operating_points]
    about["metrics"] |= {**evaluation.for_model(), "test_data_digest": films.digest}
    save_checkpoint(checkpoint, tensors, {k: v for k, v in about.items() if k != "tensors_sha256"})
    return evaluation, lambda index: films.values[test[index]]


def _calibrated(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, about = load_checkpoint(checkpoint)
    if about["kind"] != KIND:
        raise UsageError(f"{checkpoint} is not calibrated: run `screen train calibrate` first")
    return tensors, about


def _measured(finding: dict[str, object], recipe: Recipe, cohort: Cohort) -> Calibration:
    """The model's calibration with its operating points measured on these films."""
    fields = {name: finding[name] for name in Calibration.__dataclass_fields__}
    points = [OperatingPoint(**point) for point in fields["operating_points"]]  # type: ignore[attr-defined]
    calibration = Calibration(**fields)  # type: ignore[arg-type]
    probabilities = calibration.probabilities(recipe.logits[0])
    where = f"test split: {len(probabilities):,} films"
    return replace(
        calibration,
        operating_points=tuple(
            measured(
                point.name,
                point.threshold,
                (probabilities >= point.threshold).astype(np.float64),
                cohort.labels,
                cohort.patients,
                where,
            )
            for point in points
        ),
    )


def _cohort(films: LabelledFilms, chosen: np.ndarray) -> Cohort:
    """The chosen films; of views, ages, boxes nothing is known here."""
    count, sources = len(chosen), films.sources[chosen]
    return Cohort(
        files=tuple(films.files[chosen]),
        paths=(),
        labels=films.labels[chosen],
        patients=films.patients[chosen],
        sources=sources,
        licences=np.full(count, ""),
        headline=np.isin(sources, np.unique(sources[films.labels[chosen] == 0])),
        slices={},
        borne_out=np.full(count, ""),
        boxes=((),) * count,
    )
