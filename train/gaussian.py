"""How far a film is from a set of films: Mahalanobis distance of pooled features (Lee et al., NeurIPS 2018).

The same form serves two numbers: the distance from normal films (embedding), and what the gate is made of,
the distance from chest films, sick or well (an early map, coarsely pooled).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
