"""Figures of merit against slow references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.calibration import platt
from train.finetune import sampling_weights
from train.metrics import auc, patient_bootstrap, wilson, within_source_auc
from train.operating_points import thresholds


def slow_pairs(scores: list[int], labels: list[int]) -> list[float]:
    return [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p, one in zip(scores, labels, strict=True)
        for n, zero in zip(scores, labels, strict=True)
        if one == 1 and zero == 0
    ]


films = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(films)
def test_auc_counts_pairs(drawn: list[tuple[int, int, int]]) -> None:
    scores, labels, sources = (np.array(column) for column in zip(*drawn, strict=True))
    pairs = slow_pairs(scores.tolist(), labels.tolist())
    got = auc(scores.astype(np.float32), labels.astype(np.float32))
    assert np.isnan(got) if not pairs else got == pytest.approx(np.mean(pairs))
    within = [
        won
        for source in set(sources.tolist())
        for won in slow_pairs(scores[sources == source].tolist(), labels[sources == source].tolist())
    ]
    names = sources.astype(str)
    got = within_source_auc(scores.astype(np.float32), labels.astype(np.float32), names)
    assert np.isnan(got) if not within else got == pytest.approx(np.mean(within))


def test_a_score_that_knows_only_the_source_gets_half() -> None:
    sources = np.array(["a"] * 50 + ["b"] * 50)
    labels = np.array([1] * 40 + [0] * 10 + [1] * 5 + [0] * 45, np.float32)
    source_score = (sources == "a").astype(np.float32)
    assert auc(source_score, labels) > 0.8
    assert within_source_auc(source_score, labels, sources) == 0.5


def test_bootstrap_draws_patients_not_films() -> None:
    # Ten patients with 30 equal films each: by films the interval would be a fifth of what it is.
    values = np.repeat(np.random.default_rng(0).normal(size=10), 30)
    patients = np.repeat(np.arange(10).astype(str), 30)
    low, high = patient_bootstrap(patients, lambda index: float(values[index].mean()), draws=400)
    assert high - low > 3 * values.std() / np.sqrt(10)
    assert low < values.mean() < high


def test_wilson_interval() -> None:
    low, high = wilson(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 0) == (0.0, 1.0)


def test_sampling_balances_labels_within_every_source() -> None:
    sources = np.array(["a"] * 100 + ["b"] * 50 + ["children"] * 200 + ["tumors"] * 20)
    labels = np.array([1] * 10 + [0] * 90 + [1] * 25 + [0] * 25 + [0] * 200 + [1] * 20, np.float32)
    weights = sampling_weights(labels, sources)
    assert weights.sum() == pytest.approx(1)
    for source in ("a", "b"):
        of_source = sources == source
        assert weights[of_source & (labels == 1)].sum() == pytest.approx(
            weights[of_source & (labels == 0)].sum()
        )
    assert not weights[(sources == "children") | (sources == "tumors")].any()


def test_platt_finds_the_line_that_made_the_labels() -> None:
    generator = np.random.default_rng(1)
    logits = generator.normal(size=20000).astype(np.float32)
    labels = (generator.random(20000) < 1 / (1 + np.exp(-(1.7 * logits - 2)))).astype(np.float32)
    slope, intercept = platt(logits, labels)
    assert slope == pytest.approx(1.7, abs=0.1)
    assert intercept == pytest.approx(-2, abs=0.1)


def test_operating_points_do_what_their_names_say() -> None:
    generator = np.random.default_rng(2)
    labels = (generator.random(2000) < 0.2).astype(np.float32)
    p = 1 / (1 + np.exp(-(generator.normal(size=2000) + 1.5 * labels - 2)))
    points = thresholds(p, labels)
    assert points["sensitive"] < points["balanced"] < points["specific"]
    assert (p[labels == 1] >= points["sensitive"]).mean() >= 0.9
    assert (p[labels == 0] < points["specific"]).mean() >= 0.9
    sensitivity = (p[labels == 1] >= points["balanced"]).mean()
    assert sensitivity == pytest.approx((p[labels == 0] < points["balanced"]).mean(), abs=0.01)
