"""The network as the model file holds it: trained ResNet-18, heat map, normal distance and gate in one pass.

This module is the reference that the exported graph is compared with.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from screen.errors import ModelError
from train.network.checkpoint import load_checkpoint
from train.network.features import DISTANCE_WIDTH, fields_of
from train.network.gate import Gate
from train.network.resnet import ResNet18, round_to_storage

HEATMAP_METHOD = "log_mean_exp"
"""The logit is log(mean(exp(heatmap))) plus the head's bias (`train.network.resnet.ResNet18.pool`)."""
_DISTANCE = ("distance.normal.mean", "distance.normal.whiten", "distance.all.mean", "distance.all.whiten")


class NetworkOutputs(NamedTuple):
    """float32: logits [N, K], heatmap [N, K, h, w], embedding [N, D], distance [N], gate [N]."""

    logits: Tensor
    heatmap: Tensor
    embedding: Tensor
    distance: Tensor
    gate: Tensor


class GaussianScore(nn.Module):
    """Distance from a set of films: sqrt(mean(((f − mean) @ whiten)²)), by `train.network.gaussian`."""

    mean: Tensor
    whiten: Tensor

    def __init__(self, mean: Tensor, whiten: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("whiten", whiten)

    def forward(self, features: Tensor) -> Tensor:
        """[N, D] -> [N]; about 1 for films like those it was fitted on."""
        return ((features - self.mean) @ self.whiten).square().mean(1).sqrt()


class Distance(nn.Module):
    """From normal films, in proportion to that from films as they come (`train.network.gaussian`)."""

    def __init__(self, normal: GaussianScore, films: GaussianScore) -> None:
        super().__init__()
        self.normal = normal
        self.all = films

    def forward(self, fields: Tensor) -> Tensor:
        """[N, DISTANCE_WIDTH] -> [N]."""
        ratio: Tensor = self.normal(fields) / self.all(fields)
        return ratio


class ScreeningNetwork(nn.Module):
    """uint8 [N, 1, S, S] -> all outputs of the model file."""

    def __init__(self, resnet: ResNet18, distance: Distance, gate: Gate, *, mean: float, std: float) -> None:
        super().__init__()
        self.resnet = resnet
        self.distance = distance
        self.gate = gate
        self.mean = mean
        self.std = std

    def forward(self, image: Tensor) -> NetworkOutputs:
        """image: uint8 [N, 1, S, S], a square as preprocessing makes it."""
        x = (image.float() / 255 - self.mean) / self.std
        maps = self.resnet.features(x)
        embedding = maps[-1].mean((2, 3))
        evidence = self.resnet.evidence(maps[-1])
        return NetworkOutputs(
            logits=self.resnet.pool(evidence),
            heatmap=evidence,
            embedding=embedding,
            distance=self.distance(fields_of(maps[0])),
            gate=self.gate(image),
        )


def network_from_checkpoint(path: Path) -> tuple[ScreeningNetwork, dict[str, Any]]:
    """The network of a calibrated checkpoint, ready to infer, and the JSON that came with it.

    Raises ModelError if a tensor is missing, unknown or of the wrong shape, or not rounded to fp16.
    """
    tensors, about = load_checkpoint(path)
    if about.get("kind") != "model":
        raise ModelError(f"{path}: not a calibrated model: export takes what 'screen train calibrate' writes")
    try:
        network = network_from_tensors(
            tensors, mean=float(about["input_mean"]), std=float(about["input_std"])
        )
    except KeyError as error:
        raise ModelError(f"{path}: {error} is missing from the checkpoint") from error
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error
    return network, about


def network_from_tensors(tensors: dict[str, Tensor], *, mean: float, std: float) -> ScreeningNetwork:
    """The network from ResNet-18 weights by torchvision's names and what was fitted on its features.

    The latter are `distance.*`, as `train.network.gaussian.RelativeDistance` has them for D =
    `DISTANCE_WIDTH`, and `gate.*`, by `train.network.gate.Gate`'s names.
    Raises KeyError for a missing tensor, RuntimeError or ValueError for an unknown one, for a wrong shape,
    and for weights that fp16 does not hold exactly: others would be stored than those that were evaluated.
    """
    if not std > 0:
        raise ValueError("'input_std' must be greater than 0")
    distance = Distance(
        _gaussian(tensors, "distance.normal", DISTANCE_WIDTH),
        _gaussian(tensors, "distance.all", DISTANCE_WIDTH),
    )
    gate = Gate()
    names = {f"gate.{name}" for name in gate.state_dict()}
    gate.load_state_dict(
        {
            name: _fitted(tensors, f"gate.{name}", tuple(value.shape))
            for name, value in gate.state_dict().items()
        }
    )
    weights = {name: value.clone() for name, value in tensors.items() if name not in {*_DISTANCE, *names}}
    # No memory and no random numbers for weights that are about to be replaced.
    with torch.device("meta"):
        resnet = ResNet18(num_classes=weights["fc.weight"].shape[0])
    resnet.load_state_dict(weights, assign=True)
    round_to_storage(resnet)
    for name, value in resnet.state_dict().items():
        if not torch.equal(tensors[name], value):
            raise ValueError(
                f"'{name}' is not rounded to fp16: what was evaluated is not what would be stored"
            )
    return ScreeningNetwork(resnet, distance, gate, mean=mean, std=std).eval().requires_grad_(False)


def _gaussian(tensors: dict[str, Tensor], name: str, width: int) -> GaussianScore:
    return GaussianScore(
        _fitted(tensors, f"{name}.mean", (width,)), _fitted(tensors, f"{name}.whiten", (width, None))
    )


def _fitted(tensors: dict[str, Tensor], name: str, shape: tuple[int | None, ...]) -> Tensor:
    """The tensor as float32, of that shape (None: any length)."""
    value = tensors[name].float()
    fits = len(shape) == value.dim() and all(a in (None, b) for a, b in zip(shape, value.shape, strict=True))
    if not fits or not torch.isfinite(value).all():
        raise ValueError(f"'{name}' must be finite and of shape {shape}, not {tuple(value.shape)}")
    return value
