"""Two ways to scores, compared on the same films."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from screen.agreement import Scores, figure, scores_from_backend
from screen.agreement import agreement as unlabelled_agreement
from screen.backends import open_backend
from screen.certificates import Agreement
from screen.cpus import usable_cpus
from screen.model_card import ModelCard
from screen.modelfile import Model
from train.metrics import auc, scorable, within_source_auc

BATCH = 16


@dataclass(frozen=True, slots=True)
class Labels:
    """values: float32 [N], 1 with the primary finding, 0 without, NaN unknown; sources: str [N]."""

    values: NDArray[np.float32]
    sources: NDArray[np.str_]


def scores_from_squares(model: Model, device: str, squares: Iterable[NDArray[np.uint8]]) -> Scores:
    """Each uint8 [S, S] through the model on `device`, in order. Raises what opening a backend raises."""
    with open_backend(model, device, BATCH, usable_cpus()) as backend:
        return scores_from_backend(backend, squares)


def agreement(card: ModelCard, first: Scores, second: Scores, labels: Labels) -> Agreement:
    """How far `second` is from `first`, on one film or more; AUC changes are 0 where nothing is labelled."""
    found = unlabelled_agreement(card, first, second)
    measurable = scorable(labels.values, labels.sources)
    if not measurable.any():
        return found
    primary = [finding.name for finding in card.findings].index(card.primary)
    values, sources = labels.values[measurable], labels.sources[measurable]
    before, after = first.logits[measurable, primary], second.logits[measurable, primary]
    within = within_source_auc(after, values, sources) - within_source_auc(before, values, sources)
    return replace(
        found,
        labelled=int(measurable.sum()),
        auc_within_source_change=figure(within),
        auc_pooled_change=figure(auc(after, values) - auc(before, values)),
    )
