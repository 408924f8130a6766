"""`abnormal`, a second finding: what it learns from, that nobody judges himself, that `tumor` stays."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from screen.errors import UsageError
from screen.evaluation.metrics import auc
from screen.preprocess import Geometry
from train.data.films import LabelledFilms
from train.data.folds import Split, cross_fold_of
from train.measure.predictions import PREDICTION_COLUMNS
from train.network.checkpoint import save_checkpoint
from train.network.features import features_of
from train.network.resnet import ResNet18, round_to_storage
from train.recipes.abnormal import both_of, judge_out_of_fold, learnable, with_abnormal

SIZE, COUNT = 64, 96


@pytest.fixture(scope="module")
def films() -> LabelledFilms:
    """Abnormal films are coarser; those of one hospital are all abnormal, and those of another all well."""
    rng = np.random.default_rng(0)
    abnormal = (np.arange(COUNT) % 3 == 0).astype(np.float32)
    sources = np.array(["nih_a", "nih_b"])[np.arange(COUNT) // 2 % 2].astype("<U9")
    sources[:4], sources[4:8] = "sick_only", "well_only"
    abnormal[:4], abnormal[4:8], abnormal[8] = 1, 0, np.nan
    values = rng.integers(60, 200, (COUNT, SIZE, SIZE), dtype=np.uint8)
    for film in np.flatnonzero(abnormal == 1):
        values[film] = np.kron(values[film, ::8, ::8], np.ones((8, 8), np.uint8))
    patients = np.array([f"P{index // 2}" for index in range(COUNT)])
    return LabelledFilms(
        values=values,
        labels=(np.arange(COUNT) % 4 == 0).astype(np.float32),
        abnormal=abnormal,
        side_findings=(),
        side_labels=np.zeros((COUNT, 0), np.float32),
        patients=patients,
        sources=sources,
        files=np.array([f"{index}.png" for index in range(COUNT)]),
        geometry=(Geometry(SIZE, SIZE, SIZE, 0, 0, SIZE, SIZE),) * COUNT,
        boxes=((),) * COUNT,
        disputed=np.zeros(COUNT, np.bool_),
        judged=np.zeros(COUNT, np.bool_),
        splits=np.full(COUNT, Split.TRAIN.value),
        training_only=np.zeros(COUNT, np.bool_),
        digest="",
        dropped={},
    )


@pytest.fixture(scope="module")
def network() -> ResNet18:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = ResNet18()
    round_to_storage(made)
    return made.eval()


@pytest.fixture
def folds(network: ResNet18, tmp_path: Path) -> Path:
    settings = {"stages": [[1, SIZE, 5]], "head_alone": False, "mean": 0.5, "std": 0.25}
    about = {"kind": "classifier", "epoch": 1, "settings": settings, "label_share": 1.0}
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for fold in range(2):
        save_checkpoint(tmp_path / f"fold{fold}-seed0", tensors, about)
    return tmp_path


def predicted(path: Path) -> dict[str, tuple[int, float]]:
    with path.open(newline="") as stream:
        reader = csv.DictReader(stream)
        assert tuple(reader.fieldnames or ()) == PREDICTION_COLUMNS
        return {row["file"]: (int(row["fold"]), float(row["logit"])) for row in reader}


def test_a_source_with_one_kind_of_film_says_nothing(films: LabelledFilms) -> None:
    assert (~learnable(films)).nonzero()[0].tolist() == list(range(9))


def test_the_first_finding_stays_and_places_are_shown(films: LabelledFilms, network: ResNet18) -> None:
    first = features_of(network, films.values, 0.5, 0.25)
    both = with_abnormal(network, films, learnable(films), first)
    found = features_of(both, films.values, 0.5, 0.25)
    np.testing.assert_allclose(found.logits[:, 0], first.logits[:, 0], atol=1e-5)
    np.testing.assert_array_equal(found.embedding, first.embedding)
    known = learnable(films)
    assert auc(found.logits[known, 1], films.abnormal[known]) > 0.8
    told = both_of(first, both)
    np.testing.assert_allclose(told.logits, found.logits, atol=1e-4)
    np.testing.assert_allclose(told.evidence, found.evidence, atol=1e-4)
    # The same cells as the first finding's; the film as a whole adds another part.
    apart = found.evidence[:, 1] - found.evidence[:, 0]
    np.testing.assert_allclose(apart, np.broadcast_to(apart[:, :1, :1], apart.shape), atol=1e-4)


def test_nobody_is_judged_by_a_head_that_knew_the_patients_label(films: LabelledFilms, folds: Path) -> None:
    found = predicted(judge_out_of_fold(films, folds, 0))
    for file, (fold, _) in found.items():
        patient = films.patients[films.files.tolist().index(file)]
        assert cross_fold_of(str(patient), 0) == fold
    # A source that lacks the first finding is not judged; one without both kinds neither.
    assert not {f"{index}.png" for index in range(9)} & found.keys()
    held_out = np.array([cross_fold_of(str(patient), 0) == 0 for patient in films.patients])
    known = learnable(films) & held_out
    lied = replace(films, abnormal=np.where(known, 1 - films.abnormal, films.abnormal))
    again = predicted(judge_out_of_fold(lied, folds, 0))
    for file, (fold, logit) in found.items():
        assert (again[file][1] == logit) == (fold == 0)


def test_what_cannot_be_judged_is_said(films: LabelledFilms, network: ResNet18, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="foldN-seedM"):
        judge_out_of_fold(films, tmp_path, 0)
    sick = replace(films, abnormal=np.ones(COUNT, np.float32))
    with pytest.raises(UsageError, match="abnormal"):
        with_abnormal(network, sick, learnable(sick), features_of(network, films.values, 0.5, 0.25))
