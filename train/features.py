"""What a network makes of films: logits, pooled features, heat maps. Batched, without augmentation."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from train.augment import plain
from train.finetune import standardise
from train.gaussian import GATE_LAYERS
from train.model import ResNet18


@dataclass(frozen=True, slots=True)
class Features:
    """logits [N, K], embedding [N, 512], layers [N, 896]: float32, of N films."""

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    layers: NDArray[np.float32]


@torch.inference_mode()
def features_of(network: ResNet18, squares: NDArray[np.uint8], mean: float, std: float) -> Features:
    """uint8 [N, S, S] -> features, without augmentation, at the squares' own size."""
    network.eval()
    device = next(network.parameters()).device
    logits, layers = [], []
    for i in range(0, len(squares), 64):
        x = plain(torch.from_numpy(squares[i : i + 64].copy()).to(device), squares.shape[-1])
        maps = network.features(standardise(x, mean, std))
        pooled = [maps[index].mean((2, 3)) for index in GATE_LAYERS]
        logits.append(network.fc(pooled[-1]).cpu())
        layers.append(torch.cat(pooled, 1).cpu())
    stacked = torch.cat(layers).numpy()
    return Features(torch.cat(logits).numpy(), stacked[:, -512:], stacked)


@torch.inference_mode()
def heatmaps(network: ResNet18, squares: NDArray[np.uint8], mean: float, std: float) -> NDArray[np.float32]:
    """uint8 [N, S, S] -> class activation maps (Zhou et al., CVPR 2016) of finding 0, float32 [N, h, w].

    Logit contributions: the mean over a map plus the head's bias is the logit.
    """
    network.eval()
    parts = []
    for i in range(0, len(squares), 64):
        x = plain(torch.from_numpy(squares[i : i + 64].copy()), squares.shape[-1])
        maps = network.features(standardise(x, mean, std))[-1]
        parts.append(torch.einsum("nchw,c->nhw", maps, network.fc.weight[0]))
    return torch.cat(parts).numpy()
