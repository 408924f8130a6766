"""What a network makes of films: logits, heat maps, pooled features. Batched, without augmentation."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from train.data.augment import plain, standardise
from train.network.resnet import WIDTHS, ResNet18
from train.progress import Progress, quiet

GRID = 3
DISTANCE_WIDTH = WIDTHS[0] * GRID**2


@dataclass(frozen=True, slots=True)
class Features:
    """logits [N, K], evidence [N, K, h, w] (the heat maps, see `ResNet18.evidence`), embedding [N, 512],
    fields [N, DISTANCE_WIDTH], what the distance from normal films is measured in: float32, of N films.
    """

    logits: NDArray[np.float32]
    evidence: NDArray[np.float32]
    embedding: NDArray[np.float32]
    fields: NDArray[np.float32]

    def of(self, films: NDArray[np.intp]) -> "Features":
        """Those of some films."""
        return Features(
            *(values[films] for values in (self.logits, self.evidence, self.embedding, self.fields))
        )


def field_pooling(side: int) -> tuple[int, int]:
    """Kernel and stride that average a map into GRID × GRID fields which cover all of it."""
    stride = side // GRID
    return side - (GRID - 1) * stride, stride


def fields_of(early: torch.Tensor) -> torch.Tensor:
    """The map after layer1 -> [N, DISTANCE_WIDTH]: what edges and textures lie where.

    An early one, with places kept: later layers have learned from labels, and know chests only
    (docs/decisions/distance.md).
    """
    return F.avg_pool2d(early, *field_pooling(early.shape[-1])).flatten(1)


@torch.inference_mode()
def features_of(
    network: ResNet18, squares: NDArray[np.uint8], mean: float, std: float, progress: Progress = quiet
) -> Features:
    """uint8 [N, S, S] -> features, without augmentation, at their own size. progress: told of films."""
    network.eval()
    device = next(network.parameters()).device
    parts: list[tuple[torch.Tensor, ...]] = []
    for i in range(0, len(squares), 64):
        x = plain(torch.from_numpy(squares[i : i + 64].copy()).to(device), squares.shape[-1])
        maps = network.features(standardise(x, mean, std))
        evidence, embedding = network.evidence(maps[-1]), maps[-1].mean((2, 3))
        parts.append((network.pool(evidence), evidence, embedding, fields_of(maps[0])))
        progress(min(i + 64, len(squares)), len(squares))
    return Features(*(torch.cat(values).cpu().numpy() for values in zip(*parts, strict=True)))


@torch.inference_mode()
def with_film(features: Features, network: ResNet18) -> Features:
    """The same of a network that differs from theirs, whose `film` was zero, in `film` and the bias alone."""
    network = network.cpu()
    whole = network.film(torch.from_numpy(features.embedding))
    evidence = torch.from_numpy(features.evidence) + whole[:, :, None, None]
    return replace(features, logits=network.pool(evidence).numpy(), evidence=evidence.numpy())
