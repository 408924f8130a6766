"""The regression that is the head of a network which does not learn."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from screen.errors import UsageError
from screen.evaluation.metrics import auc
from train.data.sampling import sampling_weights
from train.network.head import fit_film

FILMS, FEATURES = 400, 12


class Known(NamedTuple):
    """What is known of films."""

    cells: NDArray[np.float64]
    embedding: NDArray[np.float64]
    labels: NDArray[np.float64]
    sources: NDArray[np.str_]


@pytest.fixture
def known() -> Known:
    """Feature 0 of the embedding says as much as the cells do, the others nothing; b has more positives."""
    generator = np.random.default_rng(3)
    sources = np.where(np.arange(FILMS) % 4, "a", "b")
    embedding = generator.normal(5, 3, (FILMS, FEATURES))
    cells = generator.normal(-2, 2, FILMS)
    logits = cells + 2 + (embedding[:, 0] - 5) * 2 / 3 + np.where(sources == "b", 1, -1)
    labels = (generator.random(FILMS) < 1 / (1 + np.exp(-logits))).astype(np.float64)
    return Known(cells, embedding, labels, sources)


def test_it_is_the_regression_that_it_says(known: Known) -> None:
    """Against the same objective, written out and minimised by another method."""
    weights = sampling_weights(known.labels.astype(np.float32), known.sources)
    film, bias = fit_film(*known, weights, 20.0)
    assert bias == pytest.approx(-float(known.embedding.mean(0) @ film))

    def spread(x: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy((x - x.mean(0)) / x.std(0))

    cells, features = spread(known.cells), spread(known.embedding)
    of_source = torch.from_numpy(np.stack([known.sources == "a", known.sources == "b"], 1).astype(float))
    share, labels = torch.from_numpy(weights * FILMS), torch.from_numpy(known.labels)
    coefficients = torch.zeros(FEATURES, dtype=torch.float64, requires_grad=True)
    rest = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [coefficients, rest], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
    )

    def objective() -> torch.Tensor:
        solver.zero_grad()
        logits = features @ coefficients + cells * rest[0] + of_source @ rest[1:]
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        loss = (
            share @ entropy
            + 10 * coefficients.square().sum()
            + rest[1:].square().sum() / 2
            + 50 * (rest[0] - 0.5).square()
        )
        torch.autograd.backward(loss)
        return loss

    solver.step(objective)  # type: ignore[no-untyped-call]
    expected = coefficients / rest[0] * known.cells.std() / torch.from_numpy(known.embedding.std(0))
    assert film == pytest.approx(expected.detach().numpy(), abs=1e-6)


def test_the_film_adds_to_its_cells_and_the_less_the_more_it_is_shrunk(known: Known) -> None:
    def judged(shrinkage: float) -> float:
        film, bias = fit_film(*known, np.ones(FILMS), shrinkage)
        of_a = known.sources == "a"
        return auc((known.cells + known.embedding @ film + bias)[of_a], known.labels[of_a])

    of_a = known.sources == "a"
    alone = auc(known.cells[of_a], known.labels[of_a])
    assert judged(10) > alone + 0.05
    assert judged(10) > judged(300) > judged(1e7) == pytest.approx(alone, abs=1e-3)


def test_a_look_of_the_source_is_no_sign_of_the_finding(known: Known) -> None:
    known.embedding[:, 1] = 5 + 3 * (known.sources == "b")
    weights = sampling_weights(known.labels.astype(np.float32), known.sources)
    film, _ = fit_film(*known, weights, 20.0)
    assert abs(film[1]) < 0.2 * film[0]


def test_films_without_weight_teach_nothing(known: Known) -> None:
    weights = (np.arange(FILMS) % 3 > 0).astype(np.float64)
    before, _ = fit_film(*known, weights, 20.0)
    known.labels[weights == 0] = np.nan
    known.embedding[weights == 0] *= 9
    after, _ = fit_film(*known, 7 * weights, 20.0)
    assert np.array_equal(before, after)


def test_a_handful_of_labels_does_not_turn_the_cells_round(known: Known) -> None:
    """By chance they say the contrary."""
    weights = np.zeros(FILMS)
    weights[:12] = 1
    known.labels[:12] = known.cells[:12] < np.median(known.cells[:12])
    film, bias = fit_film(*known, weights, 1000.0)
    logits = known.cells + known.embedding @ film + bias
    assert auc(logits[12:], known.labels[12:]) > auc(known.cells[12:], known.labels[12:]) - 0.03


def test_cells_that_say_nothing_leave_it_to_the_film(known: Known) -> None:
    known.cells[:] = -3
    film, bias = fit_film(*known, np.ones(FILMS), 20.0)
    assert auc(known.embedding @ film + bias, known.labels) > 0.65


def test_labels_that_contradict_pretraining_are_refused(known: Known) -> None:
    with pytest.raises(UsageError, match="label column"):
        fit_film(*known._replace(labels=1 - known.labels), np.ones(FILMS), 20.0)
