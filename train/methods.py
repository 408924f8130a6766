"""Pre-training methods: what each puts on top of the encoder, and what it asks of two views of a film.

A method is a module that owns its heads. The trainer calls it on embeddings, gathers what it returns from all
processes, and calls `loss` on the whole batch: nothing else is known about it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from screen.errors import UsageError
from train import losses
from train.model import EMBEDDING_SIZE


class Method(nn.Module, ABC):
    """[N, 512] embeddings -> [N, D] projections; the loss on these."""

    head: nn.Module

    def forward(self, embeddings: Tensor) -> Tensor:
        """[N, 512] -> [N, D]."""
        out: Tensor = self.head(embeddings)
        return out

    @abstractmethod
    def loss(self, first: Tensor, second: Tensor, groups: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, a scalar, and its terms for the log (the same names every time).

        first, second: projections float32 [N, D]; row i of both shows one film, or one patient. groups: int64
        [N]; rows with the same number show the same film or patient.
        """


class SimCLR(Method):
    """Chen et al., ICML 2020: a film's views attract each other and repel all others (NT-Xent)."""

    def __init__(self, temperature: float = 0.2, width: int = 128) -> None:
        super().__init__()
        self.temperature = temperature
        self.head = projector(EMBEDDING_SIZE, EMBEDDING_SIZE, width)

    def loss(self, first: Tensor, second: Tensor, groups: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Films of one patient are no negatives of each other: they look alike for a reason."""
        return losses.nt_xent(first, second, self.temperature, groups), {}


class BarlowTwins(Method):
    """Zbontar et al., ICML 2021: over the batch, each feature agrees with itself and with no other."""

    def __init__(self, off_diagonal: float = 0.005, width: int = 1024) -> None:
        super().__init__()
        self.off_diagonal = off_diagonal
        self.head = projector(EMBEDDING_SIZE, width, width, width)

    def loss(self, first: Tensor, second: Tensor, groups: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of squares off the identity; its two parts are logged without their weight."""
        on, off = losses.barlow_twins(first, second)
        return on + self.off_diagonal * off, {"on_diagonal": on, "off_diagonal": off}


class VICReg(Method):
    """Bardes et al., ICLR 2022: views agree, features vary over the batch, and differ from each other."""

    def __init__(
        self, invariance: float = 25, variance: float = 25, covariance: float = 1, width: int = 1024
    ) -> None:
        super().__init__()
        self.weights = invariance, variance, covariance
        self.head = projector(EMBEDDING_SIZE, width, width, width)

    def loss(self, first: Tensor, second: Tensor, groups: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The three terms are logged without their weights."""
        terms = losses.vicreg(first, second)
        total = sum((weight * term for weight, term in zip(self.weights, terms, strict=True)), terms[0] * 0)
        return total, dict(zip(("invariance", "variance", "covariance"), terms, strict=True))


METHODS: dict[str, type[Method]] = {"simclr": SimCLR, "barlow-twins": BarlowTwins, "vicreg": VICReg}


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
