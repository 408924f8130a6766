"""The distance from normal films, on features whose truth is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from screen.evaluation.metrics import auc
from train.network.gaussian import Gaussian, RelativeDistance

RNG = np.random.default_rng(0)
SIDE = 30


def films(count: int, sick: bool) -> NDArray[np.float32]:
    """Heavy tails everywhere, as build and exposure have; disease moves a film a little in one direction."""
    x = RNG.standard_normal((count, SIDE)) * np.exp(0.6 * RNG.standard_normal((count, 1)))
    x[:, 0] += 2.0 * sick
    return x.astype(np.float32)


def test_what_is_no_disease_cancels() -> None:
    features = np.concatenate([films(2000, sick=False), films(2000, sick=True)])
    normal = np.arange(4000) < 2000
    relative = RelativeDistance.fit(features, normal, 0.3)
    judged = np.concatenate([films(1000, sick=False), films(1000, sick=True)])
    labels = np.repeat(np.float32([0, 1]), 1000)
    plain = auc(Gaussian.fit(features[normal], 0.3).score(judged), labels)
    assert auc(relative.score(judged), labels) > plain + 0.15


def test_a_distance_is_a_ratio_about_one() -> None:
    features = films(3000, sick=False)
    relative = RelativeDistance.fit(features, np.arange(3000) % 2 == 0, 0.3)
    assert np.median(relative.score(films(500, sick=False))) == pytest.approx(1, abs=0.05)
    scores = relative.score(features[:5])
    np.testing.assert_array_equal(
        scores, relative.normal.score(features[:5]) / relative.all.score(features[:5])
    )
    # Both are of the films that they are named after: none is called sick.
    np.testing.assert_array_equal(relative.all.whiten, Gaussian.fit(features, 0.3).whiten)
    np.testing.assert_array_equal(relative.normal.whiten, Gaussian.fit(features[::2], 0.3).whiten)
    assert set(relative.tensors()) == {
        f"distance.{of}.{part}" for of in ("normal", "all") for part in ("mean", "whiten")
    }
