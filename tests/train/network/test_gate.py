"""A gate with a network of its own: what it learns from, what it is measured on, what it computes."""

from functools import partial

import cv2
import numpy as np
import pytest
import torch

from screen.errors import UsageError
from screen.preprocess import PreprocessSpec
from train.data.hospitals import KINDS as WAYS
from train.data.hospitals import shown_elsewhere
from train.network.gate import GRID, Gate, Learning, map_side, small
from train.recipes.fit_gate import (
    AS_THEY_COME,
    FOLDS,
    GateSettings,
    Given,
    Judged,
    Pictures,
    edges,
    figures,
    fit_gate,
    pictures_of,
    rounds,
    scores_of,
)

RNG = np.random.default_rng(0)
SPEC = PreprocessSpec(size=64)


def test_every_way_of_other_hospitals_changes_a_film_and_is_the_same_again() -> None:
    film = cv2.GaussianBlur(RNG.integers(0, 256, (200, 160), dtype=np.uint8), (0, 0), 9)
    for kind in WAYS:
        shown = shown_elsewhere(film, kind, (0, 1))
        assert shown.kinds[0] == kind
        assert len(set(shown.kinds)) == len(shown.kinds) <= 2
        assert shown.values.dtype == np.uint8
        assert min(shown.values.shape) >= 40
        assert not np.array_equal(shown.values, film)
        np.testing.assert_array_equal(shown.values, shown_elsewhere(film, kind, (0, 1)).values)


@pytest.mark.parametrize("size", [32, 64, 224, 320, 384])
def test_the_gate_takes_squares_of_any_size(size: int) -> None:
    image = torch.randint(0, 256, (2, 1, size, size), dtype=torch.uint8)
    gate = Gate()
    assert gate(image).shape == (2,)
    assert map_side(size) >= GRID
    moved = gate.with_edges(-2.0, 3.0)(image)
    torch.testing.assert_close(moved, (gate(image) + 2) / 5)


def test_what_has_learned_computes_the_same_without_its_normalisation() -> None:
    learning = Learning()
    for norm in learning.norms:
        torch.nn.init.uniform_(norm.running_mean, -1, 1)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.uniform_(norm.bias, -1, 1)
    learning.eval()
    x = small(torch.randint(0, 256, (3, 1, 224, 224), dtype=torch.uint8))
    torch.testing.assert_close(learning.learned().judged(learning.learned().of_small(x)), learning(x / 255))


def lungs(seed: int) -> np.ndarray:
    """Two dark ellipses on grey."""
    rng = np.random.default_rng(seed)
    film = np.full((120, 100), 170, np.uint8)
    for middle in (30, 70):
        centre, axes = (middle + int(rng.integers(-4, 5)), 60), (int(rng.integers(11, 16)), 36)
        cv2.ellipse(film, centre, axes, 0, 0, 360, 60, -1)
    return cv2.GaussianBlur(film, (0, 0), 2) + rng.integers(0, 20, film.shape, dtype=np.uint8)


def ring(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    picture = np.full((110, 110), int(rng.integers(0, 80)), np.uint8)
    cv2.circle(picture, (55, 55), int(rng.integers(15, 45)), 220, int(rng.integers(3, 9)))
    return picture


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    given = [Given(partial(lungs, i), True, f"hospital-{i % 2}", "", 2) for i in range(80)]
    given += [Given(partial(ring, i), False, "rings", f"ring-{i % 6}", 1) for i in range(60)]
    return pictures_of(given, SPEC, 0)


def test_rounds_leave_out_a_hospital_ways_and_kinds(pictures: Pictures) -> None:
    found = list(rounds(pictures))
    assert len(found) == FOLDS
    judged = np.zeros(len(pictures.chest), int)
    for one in found:
        assert not (one.training & one.judged).any()
        known = pictures.groups[one.training & pictures.chest]
        assert set(known) & set(pictures.groups[one.judged & pictures.chest]) == set()
        ways = pictures.own[one.judged & pictures.chest & (pictures.own != AS_THEY_COME)]
        left = [list(WAYS).index(way) for way in set(ways.tolist())]
        assert not pictures.shown[one.training & pictures.chest][:, left].any()
        kinds = pictures.kinds[one.judged & ~pictures.chest]
        assert not np.isin(kinds, pictures.kinds[one.training & ~pictures.chest]).any()
        judged += one.judged
    plain = pictures.own == AS_THEY_COME
    assert judged[plain | ~pictures.chest].min() >= 1
    known = [pictures.shown[one.training & pictures.chest].any(0) for one in found]
    assert not np.all(known, axis=0).any()


def test_a_gate_knows_films_of_a_hospital_that_it_never_saw(pictures: Pictures) -> None:
    plain = pictures.own == AS_THEY_COME
    training = plain & (pictures.groups != "hospital-1") & (pictures.kinds != "ring-5")
    quick = GateSettings(steps=60, batch_size=32, learning_rate=5e-3)
    gate = fit_gate(pictures, training, quick)
    scores = scores_of(gate, pictures.values)
    np.testing.assert_array_equal(scores, scores_of(fit_gate(pictures, training, quick), pictures.values))
    strangers = np.flatnonzero(plain & ~training)
    right = (scores[strangers] > 0) == pictures.chest[strangers]
    assert right.mean() > 0.9


def test_edges_lose_next_to_nothing_and_the_card_counts(pictures: Pictures) -> None:
    at = np.flatnonzero(pictures.own == AS_THEY_COME)
    scores = np.where(pictures.chest[at], 5.0, -5.0).astype(np.float32)
    films = np.flatnonzero(pictures.chest[at])
    scores[films[:3]] = -1.0
    judged = Judged(at, scores)
    low, high = edges(pictures, judged)
    assert -1.01 < low < -1  # of a hospital's forty films one may be lost
    assert high > low
    said = figures(pictures, judged, low, high)
    assert said["films"]["judged"] == 80
    assert said["films"]["turned_away"] == 0
    rings = said["others"]["rings"]
    assert (rings["judged"], rings["turned_away"], rings["doubtful"]) == (60, 60, 0)
    alone = Judged(at[~pictures.chest[at]], scores[~pictures.chest[at]])
    with pytest.raises(UsageError, match="two hospitals"):
        edges(pictures, alone)
