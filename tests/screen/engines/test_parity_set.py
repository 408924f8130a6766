"""The squares that an engine is certified on in a hospital."""

import json
from pathlib import Path

import numpy as np
import pytest

import screen
from export.choose_parity_set import COUNT, chosen_films, write_parity_set
from screen.backends import open_backend
from screen.backends.agreement import probabilities, scores_from_backend
from screen.engines.parity import parity_squares
from screen.errors import UsageError
from screen.model import load_model


def test_most_squares_are_next_to_a_threshold_and_some_are_everywhere() -> None:
    scores = np.random.default_rng(0).permutation(np.linspace(0, 1, 5000))[:, None]
    chosen = chosen_films(scores, [(0, 0.2), (0, 0.7)])
    assert len(chosen) == COUNT
    near = [i for i in chosen if min(abs(scores[i, 0] - 0.2), abs(scores[i, 0] - 0.7)) < 0.007]
    assert len(near) > 0.8 * COUNT
    assert scores[list(chosen), 0].min() == 0
    assert scores[list(chosen), 0].max() == 1


def test_too_few_films_are_refused(tmp_path: Path) -> None:
    squares = np.zeros((COUNT, 224, 224), np.uint8)
    with pytest.raises(UsageError, match="256 or more"):
        write_parity_set(load_model(None), squares, ["a"] * COUNT, tmp_path / "set.npz")


def test_the_shipped_set_is_of_the_shipped_model() -> None:
    model = load_model(None)
    squares = parity_squares(model)
    assert 100 <= len(squares) <= 200
    listed = json.loads((Path(screen.__file__).parent / "models" / "parity.json").read_text())
    assert len(listed["films"]) == len(squares)
    with open_backend(model, "cpu", 16, 2) as backend:
        scores = probabilities(model.card, scores_from_backend(backend, squares[::4]).logits)[:, 0]
    points = [point.threshold for point in model.card.findings[0].operating_points]
    nearest = np.abs(scores[:, None] - np.array(points)).min(1)
    assert np.median(nearest) < 0.005
