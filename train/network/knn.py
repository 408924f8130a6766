"""How much the embedding knows about a finding, without training anything: nearest neighbours vote."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from screen.evaluation.metrics import within_source_auc
from train.data.augment import plain, standardise
from train.data.films import Films
from train.data.folds import Split, split_of
from train.data.table import scorable
from train.network.resnet import ResNet18

NEIGHBOURS = 20


def knn_scores(
    memory: NDArray[np.float32],
    labels: NDArray[np.float32],
    queries: NDArray[np.float32],
    neighbours: int = NEIGHBOURS,
) -> NDArray[np.float32]:
    """Share of positives among the nearest of `memory` [M, D] by cosine, 0 … 1, for `queries` [Q, D].

    labels: 0 or 1, [M]. After Wu et al., CVPR 2018, without their weights.
    """
    known, asked = (F.normalize(torch.from_numpy(z), dim=1) for z in (memory, queries))
    nearest = (asked @ known.T).topk(min(neighbours, len(known)), dim=1).indices
    return np.asarray(torch.from_numpy(labels)[nearest].mean(1).numpy())


class KnnProbe:
    """Training patients are the memory, validation patients the queries; the figure is the AUC within source.

    It exists where films of known patients have labels and some source has both labels; else `auc` says None.
    """

    def __init__(self, films: Films, seed: int) -> None:
        usable = np.flatnonzero(scorable(films.labels, films.sources) & (films.patients != ""))
        sides = np.array([split_of(patient, seed).value for patient in films.patients[usable]])
        self._memory, self._queries = (usable[sides == side] for side in (Split.TRAIN, Split.VALIDATION))
        self._films = films

    def auc(self, network: ResNet18, size: int, mean: float, std: float) -> float | None:
        """The network's eyes as they are now, on plain films of `size` pixels."""
        films, memory, queries = self._films, self._memory, self._queries
        answers = films.labels[queries]
        # Before anything is embedded: is there a pair to tell apart at all?
        if not len(memory) or np.isnan(within_source_auc(answers, answers, films.sources[queries])):
            return None
        known, asked = (_embeddings(network, films.values, z, size, mean, std) for z in (memory, queries))
        scores = knn_scores(known, films.labels[memory], asked)
        return within_source_auc(scores, answers, films.sources[queries])


@torch.inference_mode()
def _embeddings(
    network: ResNet18,
    squares: NDArray[np.uint8],
    chosen: NDArray[np.intp],
    size: int,
    mean: float,
    std: float,
) -> NDArray[np.float32]:
    """[M, 512] of the chosen squares."""
    network.eval()
    device = next(network.parameters()).device
    parts = [
        network.embed(standardise(plain(torch.from_numpy(squares[some]).to(device), size), mean, std))
        .float()
        .cpu()
        for some in np.array_split(chosen, -(-len(chosen) // 64))
    ]
    return torch.cat(parts).numpy()
