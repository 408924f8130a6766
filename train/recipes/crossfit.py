"""Cross-validation by patient: every film is judged by a network that never saw its patient's labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from screen.errors import UsageError
from screen.files import csv_file, whole_file
from screen.preprocess import Geometry
from train.data.films import LabelledFilms
from train.data.folds import CROSS_FOLDS, Split, cross_fold_of, label_rank
from train.measure.predictions import PREDICTION_COLUMNS
from train.network.checkpoint import load_checkpoint, under
from train.network.compute import CPU, Compute
from train.network.features import Features, features_of, with_film
from train.network.resnet import ResNet18
from train.recipes.finetune import CELLS, begin_with, finetune, fits_head, seen_by
from train.recipes.settings import FinetuneSettings

PREDICTIONS = "predictions.csv"


@dataclass(frozen=True, slots=True)
class CrossSettings:
    """What is compared on equal folds.

    split_seed: of the folds. seeds: one fine-tuning each in every fold; with `head_alone`, where nothing is
    random, each divides the patients anew. folds: those that are held out in turn.
    label_share: share of the other folds' patients whose labels are used, 0 … 1; with 0 nothing is
    fine-tuned, and the head of pre-training judges.
    """

    split_seed: int = 0
    seeds: tuple[int, ...] = (0,)
    folds: tuple[int, ...] = tuple(range(CROSS_FOLDS))
    label_share: float = 1.0


def cross_validate(
    films: LabelledFilms,
    settings: FinetuneSettings,
    cross: CrossSettings,
    encoder: dict[str, Tensor] | None,
    folder: Path,
    about: Mapping[str, Any],
    report: Callable[[str], None],
    compute: Compute = CPU,
) -> Path:
    """Fine-tune once per seed and fold, judge the fold that was held out; write `folder`/predictions.csv.

    No validation films: the recipe is fixed, its last epoch counts. What is there is not made again: a
    folder of another recipe is refused with UsageError, and so is judging without labels if pre-training left
    no head.
    """
    if cross.label_share == 0 and not under(encoder or {}, CELLS):
        raise UsageError("without labels only a network of 'pretrain --method planted' can judge: --weights")
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[list[object]] = []
    judged = judged_patients(films)
    seen = None
    for seed in cross.seeds:
        division = seed if settings.head_alone else cross.split_seed
        for fold in cross.folds:
            checkpoint = folder / f"fold{fold}-seed{seed}"
            report(f"{checkpoint.name}: held out {fold} of {CROSS_FOLDS}")
            divided = films.divided(fold_rule(division, fold, cross.label_share, judged))
            untouched = None
            if encoder is not None and cross.label_share and fits_head(divided, settings):
                # The network is the same in all of these folds.
                untouched = seen = seen or seen_by(encoder, films, settings, compute)
            network = ResNet18()
            if cross.label_share == 0:
                begin_with(network, encoder or {})
            else:
                seeded = replace(settings, seed=seed)
                finetune(divided, seeded, encoder, checkpoint, dict(about), report, compute, untouched)
                network.load_state_dict(under(load_checkpoint(checkpoint)[0], "network."))
            chosen = np.flatnonzero(divided.of(Split.TEST) & divided.scorable())
            if untouched is None:
                found = features_of(network, divided.values[chosen], settings.mean, settings.std)
            else:
                found = with_film(untouched.of(chosen), network)
            rows += _judged(divided, chosen, found, fold, seed)
    out = folder / PREDICTIONS
    with csv_file(out, PREDICTION_COLUMNS, whole_file) as writer:
        writer.writerows(rows)
    return out


def judged_patients(films: LabelledFilms) -> frozenset[str]:
    """Those who stand in the first two folds, see `train.data.folds.cross_fold_of`."""
    return frozenset(films.patients[films.judged & films.scorable()].tolist())


def fold_rule(
    split_seed: int, held_out: int, label_share: float, judged: frozenset[str]
) -> Callable[[str], Split]:
    """On which side of a fold a patient is."""

    def side(patient: str) -> Split:
        if cross_fold_of(patient, split_seed, patient in judged) == held_out:
            return Split.TEST
        labelled = label_rank(patient, split_seed) < label_share
        return Split.TRAIN if labelled else Split.LEFT_OUT

    return side


def _judged(
    films: LabelledFilms, chosen: NDArray[np.intp], found: Features, fold: int, seed: int
) -> Sequence[list[object]]:
    return [
        [
            films.files[film],
            films.patients[film],
            fold,
            seed,
            f"{logit:.6f}",
            *(f"{place:.4f}" for place in peak(heatmap, films.geometry[film])),
        ]
        for film, logit, heatmap in zip(chosen, found.logits[:, 0], found.evidence[:, 0], strict=True)
    ]


def peak(heatmap: NDArray[np.float32], geometry: Geometry) -> tuple[float, float]:
    """Where a heat map [h, w] of a square is highest on the film: x and y, 0 … 1 from its upper left corner.

    Cells whose middle lies in the padding do not count.
    """
    height, width = heatmap.shape
    x = ((np.arange(width) + 0.5) / width * geometry.size - geometry.left) / geometry.content_width
    y = ((np.arange(height) + 0.5) / height * geometry.size - geometry.top) / geometry.content_height
    inside = ((y > 0) & (y < 1))[:, None] & ((x > 0) & (x < 1))[None, :]
    row, column = np.unravel_index(np.argmax(np.where(inside, heatmap, -np.inf)), heatmap.shape)
    return float(x[column]), float(y[row])
