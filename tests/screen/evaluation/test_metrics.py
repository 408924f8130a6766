"""Figures of merit against slow references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from screen.evaluation.metrics import (
    auc,
    brier,
    brier_skill,
    calibration_error,
    centred_interval,
    patient_bootstrap,
    patient_draws,
    rate_by_patient,
    sensitivity_at_specificity,
    wilson,
    within_group_auc,
    within_source_auc,
)
from screen.evaluation.operating_points import thresholds
from screen.evaluation.platt import calibration_line, cross_fitted, platt, sigmoid
from train.data.sampling import sampling_weights


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


@settings(max_examples=50, deadline=None)
@given(films, st.integers(0, 99))
def test_a_weight_is_so_many_copies_of_the_film(drawn: list[tuple[int, int, int]], seed: int) -> None:
    scores, labels, sources = (np.array(column, np.float64) for column in zip(*drawn, strict=True))
    groups = sources.astype(np.intp)
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(scores))).astype(np.float64)
    probabilities = sigmoid(scores)
    for row, times in enumerate(weights.astype(np.intp)):
        copies = np.repeat(np.arange(len(scores)), times)
        ones = np.ones((1, len(copies)))
        expected = within_source_auc(scores[copies], labels[copies], groups[copies])
        got = within_group_auc(scores, labels, groups, weights)[row]
        assert np.isnan(got) if np.isnan(expected) else got == pytest.approx(expected)
        if not len(copies):
            continue
        for share in (0.5, 0.9):
            got = sensitivity_at_specificity(scores, labels, share, weights)[row]
            expected = sensitivity_at_specificity(scores[copies], labels[copies], share, ones)[0]
            assert np.isnan(got) if np.isnan(expected) else got == pytest.approx(expected)
        assert brier(probabilities, labels, weights[row : row + 1])[0] == pytest.approx(
            brier(probabilities[copies], labels[copies], ones)[0]
        )


def test_draws_keep_a_patients_films_together() -> None:
    patients = np.array(["a", "b", "a", "c"])
    weights = patient_draws(patients, draws=50, seed=3)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert len(np.unique(weights[:, 0])) > 1


def test_sensitivity_at_a_specificity_counts_no_tie_half() -> None:
    labels = np.array([1] * 10 + [0] * 20, np.float32)
    scores = np.concatenate([np.arange(10) + 0.5, np.arange(20) * 0.5])  # 9.5 is the largest of both kinds
    ones = np.ones((1, 30))
    # Two of twenty may be wrong: a threshold just above 8.5 lets 9.0 and 9.5 through, and hits 9.5 alone.
    assert sensitivity_at_specificity(scores, labels, 0.9, ones)[0] == pytest.approx(0.1)
    tied = np.zeros(30)
    assert sensitivity_at_specificity(tied, labels, 0.9, ones)[0] == 0.0


def test_calibration_figures_in_closed_form() -> None:
    labels = np.array([1, 0, 0, 0, 0] * 40, np.float32)
    ones = np.ones((1, 200))
    half, right = np.full(200, 0.5), np.full(200, 0.2)
    assert calibration_error(half, labels, ones)[0] == pytest.approx(0.3)
    assert calibration_error(right, labels, ones)[0] == pytest.approx(0)
    assert brier(half, labels, ones)[0] == pytest.approx(0.25)
    assert brier_skill(right, labels, ones)[0] == pytest.approx(0)
    assert brier_skill(labels, labels, ones)[0] == pytest.approx(1)
    generator = np.random.default_rng(5)
    x = generator.normal(size=40_000)
    truth = (generator.random(40_000) < sigmoid(x)).astype(np.float32)
    slope, intercept = calibration_line(sigmoid(2 * x + 1), truth, np.ones((1, 40_000)))
    assert (slope[0], intercept[0]) == (pytest.approx(0.5, abs=0.03), pytest.approx(-0.5, abs=0.03))


def test_an_error_that_drawing_enlarges_keeps_its_place() -> None:
    drawn = np.random.default_rng(7).normal(0.02, 0.003, 1000)
    low, high = centred_interval(0.012, drawn)
    assert low < 0.012 < high
    assert high - low == pytest.approx(4 * 0.003, rel=0.1)
    assert centred_interval(0.001, drawn)[0] == 0


def test_a_fold_is_calibrated_by_the_others_alone() -> None:
    generator = np.random.default_rng(6)
    logits, folds = generator.normal(size=900), np.repeat(["0", "1", "2"], 300)
    labels = (generator.random(900) < sigmoid(logits)).astype(np.float32)
    before = cross_fitted(logits, labels, folds)
    labels[300:400] = 1 - labels[300:400]
    after = cross_fitted(logits, labels, folds)
    assert np.array_equal(before[folds == "1"], after[folds == "1"])
    assert not np.array_equal(before[folds == "0"], after[folds == "0"])


def test_a_rate_has_patients_for_trials() -> None:
    hits, patients = np.array([1.0] * 8 + [0.0] * 2), np.array(list("aabbccddee"))
    rate, bounds = rate_by_patient(hits, patients)
    assert rate == pytest.approx(0.8)
    assert bounds == wilson(4, 5)


def test_thresholds_lie_between_scores() -> None:
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    points = thresholds(scores, np.array([0, 1, 0, 1], np.float32))
    assert set(points.values()) <= {-1.0, 0.5, 1.5, 2.5, 4.0}
    assert points["sensitive"] == 0.5
    assert points["specific"] == 2.5
