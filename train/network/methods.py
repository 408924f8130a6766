"""Pre-training methods: what each puts on top of the encoder, and what it asks of two views of a film.

A method is a module that owns its heads. The trainer lets it change the views, calls it on the encoder's last
maps, gathers what it returns from all processes, and calls `loss` on the whole batch: nothing else is known
about it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from screen.errors import UsageError
from train.data.augment import PRETRAIN, WHOLE_FILMS, Augmentation, Draws
from train.data.planting import Planting, plant
from train.network import losses
from train.network.resnet import EMBEDDING_SIZE


class Method(nn.Module, ABC):
    """The encoder's last maps [N, 512, h, w] -> projections [N, D]; the loss on these."""

    head: nn.Module
    augmentation: Augmentation = PRETRAIN

    def prepare(self, views: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Views float32 [N, 1, S, S], 0 … 1 -> those to show, and what is to be said of each, [N, T]."""
        return views, views.new_zeros(len(views), 0)

    def forward(self, maps: Tensor) -> Tensor:
        """[N, 512, h, w] -> [N, D]."""
        out: Tensor = self.head(maps.mean((2, 3)))
        return out

    @abstractmethod
    def loss(
        self, first: Tensor, second: Tensor, groups: Tensor, targets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, and its terms for the log (the same names every time).

        first, second: projections float32 [N, D]; row i of both shows one film, or one patient. groups: int64
        [N]; rows with the same number show the same film or patient. targets: [2N, T], of first and second.
        """


class SimCLR(Method):
    """Chen et al., ICML 2020: a film's views attract each other and repel all others (NT-Xent)."""

    def __init__(self, temperature: float = 0.2, width: int = 128) -> None:
        super().__init__()
        self.temperature = temperature
        self.head = projector(EMBEDDING_SIZE, EMBEDDING_SIZE, width)

    def loss(
        self, first: Tensor, second: Tensor, groups: Tensor, targets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Films of one patient are no negatives of each other: they look alike for a reason."""
        return losses.nt_xent(first, second, self.temperature, groups), {}


class Planted(Method):
    """Say of every cell of the last map whether a lesion was drawn into it (`train.data.planting`).

    What is learned is what the finding looks like, not what tells one film from another.
    """

    augmentation = WHOLE_FILMS

    def __init__(self, positive_weight: float = 2.0, faintest: float = Planting.contrast[0]) -> None:
        super().__init__()
        self.recipe = Planting(contrast=(faintest, Planting.contrast[1]))
        self.positive_weight = positive_weight
        self.head = nn.Conv2d(EMBEDDING_SIZE, 1, 1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, -3)  # few cells hold one

    def prepare(self, views: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Lesions and what resembles them, and the cells that hold a lesion (1, 0, NaN)."""
        return plant(views, self.recipe, draws)

    def forward(self, maps: Tensor) -> Tensor:
        """[N, 512, h, w] -> logits of the cells, [N, h · w]."""
        cells: Tensor = self.head(maps).flatten(1)
        return cells

    def loss(
        self, first: Tensor, second: Tensor, groups: Tensor, targets: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy; logged beside it how well cells with a lesion are told from cells without (AUC)."""
        known = ~targets.isnan()
        logits, answers = torch.cat([first, second])[known], targets[known]
        weight = first.new_tensor(self.positive_weight)
        loss = F.binary_cross_entropy_with_logits(logits, answers, pos_weight=weight)
        return loss, {"cell_auc": _auc(logits.detach(), answers)}


METHODS: dict[str, type[Method]] = {"simclr": SimCLR, "planted": Planted}


def method_named(name: str, options: Mapping[str, float]) -> Method:
    """A method with its options by name, its heads at random.

    Raises UsageError for a name or an option that is not known.
    """
    if name not in METHODS:
        raise UsageError(f"method {name}: it is one of {', '.join(METHODS)}")
    try:
        return METHODS[name](**options)
    except TypeError as error:
        raise UsageError(f"method {name} has no such option: {error}") from error


def projector(*widths: int) -> nn.Sequential:
    """Linear layers from width to width, BatchNorm and ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def _auc(scores: Tensor, labels: Tensor) -> Tensor:
    """As a scalar on the scores' device; ties, which hardly occur, as they fall."""
    ranks = torch.empty_like(scores)
    ranks[scores.argsort()] = torch.arange(1, len(scores) + 1, device=scores.device, dtype=scores.dtype)
    positive = labels.sum()
    area = (ranks * labels).sum() - positive * (positive + 1) / 2
    return area / (positive * (len(labels) - positive)).clamp(min=1)
