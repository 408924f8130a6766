"""The head of a network that stays as pre-training left it: one regression, fitted at once.

Nothing is drawn at random: the same labels give the same head.
"""

import numpy as np
from numpy.typing import NDArray

from screen.errors import UsageError
from screen.evaluation.platt import sigmoid

_STEPS = 50
_BELIEF = 0.5, 100.0
"""Mean and precision of the cells' slope, in units of their spread, before any label: a handful of labels
must not turn round what pre-training found.
"""


def fit_film(
    cells: NDArray[np.floating],
    embedding: NDArray[np.floating],
    labels: NDArray[np.floating],
    sources: NDArray[np.str_],
    weights: NDArray[np.float64],
    shrinkage: float,
) -> tuple[NDArray[np.float64], float]:
    """What the whole film adds to what its cells say, from labels: weights [512] and a bias.

    The logit of a film is cells + embedding · weights + bias, in the cells' units. A ridge logistic
    regression (le Cessie & van Houwelingen 1992): a slope for the cells, an intercept for each source, so
    that its look tells nothing, and for each of the embedding's features, in units of its spread, a
    coefficient that is normal a priori, with the variance 1 / shrinkage (about 0; the slope's is about .5).

    cells: logits [N]. embedding: [N, 512]. labels: 0 or 1. weights: of the films, ≥ 0; they are taken to add
    up to the number of films that have one. Cells that are alike on all films, which pre-training did not
    teach, count for nothing. Raises UsageError if the finding goes with lower logits of the cells.
    """
    learnt = weights > 0
    share = weights[learnt] * learnt.sum() / weights[learnt].sum()
    own, values, targets = (np.asarray(part[learnt], np.float64) for part in (cells, embedding, labels))
    mean, spread = values.mean(0), values.std(0)
    spread = np.where(spread > 0, spread, 1)
    own_spread = own.std()
    silent = own_spread < 1e-6 * (1 + np.abs(own).max())
    slope = np.zeros(len(own)) if silent else (own - own.mean()) / own_spread
    names = np.unique(sources[learnt])
    columns = np.column_stack([(values - mean) / spread, slope, sources[learnt][:, None] == names])
    # One for the intercepts, which is next to nothing: it keeps them finite where labels are few.
    penalty = np.concatenate([np.full(len(mean), shrinkage), [_BELIEF[1]], np.ones(len(names))])
    prior = np.zeros(columns.shape[1])
    prior[len(mean)] = _BELIEF[0]
    beta = prior.copy()
    for _ in range(_STEPS):
        p = sigmoid(np.clip(columns @ beta, -30, 30))
        gradient = columns.T @ (share * (targets - p)) - penalty * (beta - prior)
        curvature = (columns.T * (share * p * (1 - p))) @ columns + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    features, said = beta[: len(mean)], beta[len(mean)]
    if not silent and said <= 0:
        raise UsageError(
            "pre-training's head says less of the finding where the labels say that it is: "
            "is the label column the right one?"
        )
    film = features / spread if silent else features / spread * (own_spread / said)
    return film, float(-mean @ film)
