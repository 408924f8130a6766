"""Which films an epoch sees, and which two of them are one patient's: index arrays from the epoch's seed."""

import numpy as np
from numpy.typing import NDArray

from screen.errors import UsageError

MOST = 2.0
"""Times that a film of a small source may come in one epoch."""


def groups_of(patients: NDArray[np.str_]) -> NDArray[np.int64]:
    """Patients [N] -> int64 [N], the same number for films of one patient; unknown ones ("") are alone."""
    names = np.array([patient or f"\0{index}" for index, patient in enumerate(patients.tolist())])
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def repeats(sources: NDArray[np.str_], power: float) -> NDArray[np.float64]:
    """How often a film comes in an epoch that is as long as there are films, float64 [N].

    A source of n films has a share of the epoch in proportion to n ** power: 1 takes films as they come, 0.5
    lessens the large collections, 0 makes all alike. No film comes more than `MOST` times, so that a
    collection of three films stays a small one; what it leaves goes to the others.
    """
    names, inverse, sizes = np.unique(sources, return_inverse=True, return_counts=True)
    each = np.full(len(names), MOST)
    free = np.ones(len(names), bool)
    while free.any():
        left = len(sources) - MOST * sizes[~free].sum()
        share = sizes[free] ** power
        each[free] = left * share / share.sum() / sizes[free]
        over = free & (each > MOST)
        if not over.any():
            break
        each[over] = MOST
        free &= ~over
    return each[inverse]


def epoch_order(sources: NDArray[np.str_], power: float, seed: int, epoch: int) -> NDArray[np.intp]:
    """Indices of the films of an epoch, shuffled; of every source equally many in every epoch.

    Every film comes as often as `repeats` says, rounded down or up: by lot, without replacement.
    """
    generator = np.random.default_rng((seed, epoch))
    wanted = repeats(sources, power)
    chosen = []
    for source in np.unique(sources):
        films = np.flatnonzero(sources == source)
        total = round(float(wanted[films].sum()))
        whole, rest = divmod(total, len(films))
        chosen += [np.tile(films, whole), generator.permutation(films)[:rest]]
    return generator.permutation(np.concatenate(chosen))


def partners(
    films: NDArray[np.intp], groups: NDArray[np.int64], probability: float, seed: int, epoch: int
) -> NDArray[np.intp]:
    """For each of `films` (indices, [M]) the film that its second view is made from, [M].

    With `probability` another film of the same group, if there is one (MedAug, Vu et al., MLHC 2021); else
    the film itself. groups: of all films, see `groups_of`.
    """
    generator = np.random.default_rng((seed, epoch, 1))
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    place = np.empty_like(order)
    place[order] = np.arange(len(order)) - starts[groups[order]]
    size = sizes[groups[films]]
    # 1 … size − 1 places further in the group, around its end: any other film, all alike.
    step = 1 + (generator.random(len(films)) * (size - 1)).astype(np.intp)
    step[(size == 1) | (generator.random(len(films)) >= probability)] = 0
    return order[starts[groups[films]] + (place[films] + step) % size]


def sampling_weights(labels: NDArray[np.float32], sources: NDArray[np.str_]) -> NDArray[np.float64]:
    """Weights [N] for drawing films: in every source as many positives as negatives.

    A source's share is that of its films that have a counterpart; a source with one label only gets none:
    its look alone would tell the label. With this there is no positive weight in the loss: once is enough.
    """
    weights = np.zeros(len(labels))
    for source in np.unique(sources):
        positive, negative = ((sources == source) & (labels == value) for value in (1, 0))
        pairs = min(positive.sum(), negative.sum())
        # Between the number of pairs and the number of films: few positives are not drawn to shreds.
        share = np.sqrt(float(pairs) * (positive.sum() + negative.sum()))
        for side in (positive, negative):
            if pairs:
                weights[side] = share / 2 / side.sum()
    if not weights.any():
        raise UsageError("no source has films of both labels: nothing can be learned but the source")
    return np.asarray(weights / weights.sum())
