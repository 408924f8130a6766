"""Networks of earlier runs, which others learn from."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from train.augment import standardise
from train.checkpoint import under
from train.compute import CPU, Compute
from train.model import ResNet18, load_encoder


def cells_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a checkpoint of `pretrain`, weight [1, 512, 1, 1] and bias of the head that finds lesions in single
    cells; empty if its head is a projector.
    """
    head = under(tensors, "method.head.")
    return head if head.keys() == {"weight", "bias"} and head["weight"].ndim == 4 else {}


class Teacher:
    """A network of an earlier run, which is asked and does not learn.

    tensors, about: of a checkpoint of `pretrain`. It sees films at the size that it learned from.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], about: Mapping[str, Any], compute: Compute = CPU
    ) -> None:
        settings = about["settings"]
        self._size = int(settings["size"])
        self._mean, self._std = float(settings["mean"]), float(settings["std"])
        self._compute = compute
        self._network = ResNet18()
        load_encoder(self._network, under(tensors, "network."))
        self._network.to(compute.device).eval().requires_grad_(False)
        convert_conv2d_weight_memory_format(self._network, torch.channels_last)
        head = cells_head(tensors)
        self._head = (head["weight"].to(compute.device), head["bias"].to(compute.device)) if head else None

    @property
    def looks(self) -> bool:
        """For lesions, so that what it says of single cells is about something."""
        return self._head is not None

    @torch.no_grad()
    def __call__(self, films: Tensor) -> tuple[Tensor, Tensor | None]:
        """Films float32 [N, 1, S, S], 0 … 1 -> its last maps [N, 512, h, w], and its cells' logits
        [N, h · w] if it looks for lesions.
        """
        if films.shape[-1] != self._size:
            films = F.interpolate(films, size=(self._size, self._size), mode="area")
        with self._compute.autocast():
            maps = self._network.last_map(standardise(films, self._mean, self._std))
        maps = maps.float()
        return maps, F.conv2d(maps, *self._head).flatten(1) if self._head else None
