"""How far a film is from a set of films: Mahalanobis distance of pooled features (Lee et al., NeurIPS 2018).

The same form serves two numbers: the distance from normal films, and what the gate is made of, the distance
from chest films, sick or well.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Gaussian:
    """mean float32 [D], whiten float32 [D, D]: score(f) = sqrt(mean(((f − mean) @ whiten)²))."""

    mean: NDArray[np.float32]
    whiten: NDArray[np.float32]

    @classmethod
    def fit(cls, features: NDArray[np.float32], shrinkage: float) -> "Gaussian":
        """Features float32 [N, D]. shrinkage: share of the unit matrix added to their correlations.

        Without it the directions in which the fitted films never varied would drown all others.
        """
        x = features.astype(np.float64)
        mean, deviation = x.mean(0), x.std(0) + 1e-6
        values, vectors = np.linalg.eigh(np.cov((x - mean) / deviation, rowvar=False))
        values = np.clip(values, 0, None) + shrinkage
        whiten = vectors / deviation[:, None] / np.sqrt(values)
        return cls(mean.astype(np.float32), whiten.astype(np.float32))

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N, D] -> float32 [N]; about 1 for films like those it was fitted on."""
        z = (features - self.mean) @ self.whiten
        return np.asarray(np.sqrt(np.square(z).mean(1)))


@dataclass(frozen=True, slots=True)
class RelativeDistance:
    """How much farther a film is from normal films than from films as they come, sick or well: a ratio.

    Most of how one film differs from another is no disease: build, exposure, detector. It makes a film as far
    from all films as from normal ones, and cancels (Ren et al., arXiv 2106.09022; see
    docs/decisions/distance.md).
    """

    normal: Gaussian
    all: Gaussian

    @classmethod
    def fit(
        cls, features: NDArray[np.float32], normal: NDArray[np.bool_], shrinkage: float
    ) -> "RelativeDistance":
        """Features float32 [N, D] of films as they come; normal: mask [N]. shrinkage: see `Gaussian.fit`."""
        return cls(Gaussian.fit(features[normal], shrinkage), Gaussian.fit(features, shrinkage))

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [N, D] -> float32 [N], about 1; more is farther from normal."""
        return self.normal.score(features) / self.all.score(features)

    def tensors(self) -> dict[str, Tensor]:
        """As a model's checkpoint keeps them."""
        return {
            f"distance.{of}.{part}": torch.from_numpy(values)
            for of, gaussian in (("normal", self.normal), ("all", self.all))
            for part, values in (("mean", gaussian.mean), ("whiten", gaussian.whiten))
        }
