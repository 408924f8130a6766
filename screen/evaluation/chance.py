"""How far two sets of films differ, and how often chance alone would have them differ as much."""

import math

import numpy as np
from numpy.typing import NDArray

BINS = 10
_LEAST_SHARE = 1e-4
"""Of an empty bin: its logarithm has to be a number."""
_FIRST_DRAWS = 2_000
_DRAWS_AT_ONCE = 20_000
_MOST_DRAWS = 1_000_000
_CLEAR = 20
"""So many draws beyond what was seen, and it is no rare thing."""


def counts_by_quantile(
    reference: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of both sets, how many lie between the reference's deciles: int [BINS] each."""
    edges = np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1])
    old, new = (np.bincount(np.searchsorted(edges, x), minlength=BINS) for x in (reference, values))
    return old, new


def psi(reference: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Population stability index of counts [..., BINS] beside a reference [BINS]: 0 for equal shares."""
    a = np.maximum(reference / reference.sum(), _LEAST_SHARE)
    b = np.maximum(counts / counts.sum(axis=-1, keepdims=True), _LEAST_SHARE)
    index: NDArray[np.float64] = ((b - a) * np.log(b / a)).sum(axis=-1)
    return index


def psi_by_chance(
    reference: NDArray[np.int64], counts: NDArray[np.int64], least: float
) -> tuple[float, float, float]:
    """PSI; what it stays under in 95 of 100 draws by chance, at that many films; the share that reach it.

    By chance: films of one distribution, of which the reference's counts are all that is known. least: shares
    as small as this are to be told from larger ones; those far above it are coarse. Drawn alike every time.
    """
    seen, films = float(psi(reference, counts)), int(counts.sum())
    rng = np.random.default_rng([films, int(reference.sum())])

    def drawn(number: int) -> NDArray[np.float64]:
        shares = rng.dirichlet(reference + 1e-9, number)
        return psi(reference, rng.multinomial(films, shares))

    first = drawn(_FIRST_DRAWS)
    beyond, draws = int((first >= seen).sum()), _FIRST_DRAWS
    while beyond < _CLEAR and draws < min(_MOST_DRAWS, 10 / least):
        beyond += int((drawn(_DRAWS_AT_ONCE) >= seen).sum())
        draws += _DRAWS_AT_ONCE
    return seen, float(np.quantile(first, 0.95)), (beyond + 1) / (draws + 1)


def more_by_chance(hits: int, films: int, reference_hits: int, reference_films: int) -> float:
    """How often chance gives so many hits or more, if both sets have the same share (Fisher's exact test)."""
    all_hits, all_films = hits + reference_hits, films + reference_films
    whole = _choices(all_films, films)
    return math.fsum(
        math.exp(_choices(all_hits, k) + _choices(all_films - all_hits, films - k) - whole)
        for k in range(hits, min(films, all_hits) + 1)
    )


def other_by_chance(hits: int, films: int, reference_hits: int, reference_films: int) -> float:
    """The same for so many or more, or so few or fewer: twice the rarer side, 1 at most."""
    more = more_by_chance(hits, films, reference_hits, reference_films)
    fewer = more_by_chance(films - hits, films, reference_films - reference_hits, reference_films)
    return min(1.0, 2 * min(more, fewer))


def _choices(of: int, taken: int) -> float:
    """Logarithm of a binomial coefficient; -∞ if there are not so many."""
    if not 0 <= taken <= of:
        return -math.inf
    return math.lgamma(of + 1) - math.lgamma(taken + 1) - math.lgamma(of - taken + 1)
