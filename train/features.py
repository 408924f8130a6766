"""What a network makes of films: logits, pooled features, heat maps. Batched, without augmentation."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from train.augment import plain, standardise
from train.model import WIDTHS, ResNet18

GATE_GRID = 3
DISTANCE_WIDTH = WIDTHS[0] * GATE_GRID**2
"""The first of the gate's features, those of layer1: what the distance from normal films is measured in."""
GATE_WIDTH = DISTANCE_WIDTH + WIDTHS[1] * GATE_GRID**2 + WIDTHS[2]


@dataclass(frozen=True, slots=True)
class Features:
    """logits [N, K], embedding [N, 512], gate [N, GATE_WIDTH]: float32, of N films."""

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    gate: NDArray[np.float32]


def gate_pooling(side: int) -> tuple[int, int]:
    """Kernel and stride that average a map into GATE_GRID × GATE_GRID fields which cover all of it."""
    stride = side // GATE_GRID
    return side - (GATE_GRID - 1) * stride, stride


def gate_features(maps: list[torch.Tensor]) -> torch.Tensor:
    """The maps after layer1 … layer3 -> [N, GATE_WIDTH]: what edges and textures lie where.

    Early ones with their place kept: later layers know chests only and see them everywhere
    (docs/decisions.md).
    """
    fields = [F.avg_pool2d(early, *gate_pooling(early.shape[-1])).flatten(1) for early in maps[:2]]
    return torch.cat([*fields, maps[2].mean((2, 3))], 1)


@torch.inference_mode()
def features_of(network: ResNet18, squares: NDArray[np.uint8], mean: float, std: float) -> Features:
    """uint8 [N, S, S] -> features, without augmentation, at the squares' own size."""
    network.eval()
    device = next(network.parameters()).device
    logits, embeddings, gates = [], [], []
    for i in range(0, len(squares), 64):
        x = plain(torch.from_numpy(squares[i : i + 64].copy()).to(device), squares.shape[-1])
        maps = network.features(standardise(x, mean, std))
        embedding = maps[-1].mean((2, 3))
        logits.append(network.pool(network.evidence(maps[-1])).cpu())
        embeddings.append(embedding.cpu())
        gates.append(gate_features(maps).cpu())
    return Features(*(torch.cat(parts).numpy() for parts in (logits, embeddings, gates)))


@torch.inference_mode()
def heatmaps(network: ResNet18, squares: NDArray[np.uint8], mean: float, std: float) -> NDArray[np.float32]:
    """uint8 [N, S, S] -> the evidence for finding 0, float32 [N, h, w]: `ResNet18.evidence`.

    Logits before the bias: the log of the mean of their exp, plus the head's bias, is the film's logit.
    """
    network.eval()
    parts = []
    for i in range(0, len(squares), 64):
        x = plain(torch.from_numpy(squares[i : i + 64].copy()), squares.shape[-1])
        parts.append(network.evidence(network.last_map(standardise(x, mean, std)))[:, 0])
    return torch.cat(parts).numpy()
