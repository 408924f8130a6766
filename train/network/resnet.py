"""ResNet-18 (He et al., CVPR 2016) for one-channel squares, with the parameter names of torchvision's.

Its head has two parts: `fc` looks for a lesion in each cell of the last map, `film` at their average.
Published weights load by name: a three-channel `conv1.weight` is summed over its channels, which is the
same network for a grey picture in all three.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EMBEDDING_SIZE = 512
HEAD = ("fc.", "film.")
"""How the names of the head's parameters begin."""
WIDTHS = (64, 128, 256, EMBEDDING_SIZE)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H / stride, W / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        out: Tensor = torch.relu(self.bn2(self.conv2(x)) + shortcut)
        return out


class ResNet18(nn.Module):
    """x float32 [N, C, S, S], standardised -> logits [N, K]."""

    def __init__(self, in_channels: int = 1, num_classes: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _layer(WIDTHS[0], WIDTHS[0], 1)
        self.layer2 = _layer(WIDTHS[0], WIDTHS[1], 2)
        self.layer3 = _layer(WIDTHS[1], WIDTHS[2], 2)
        self.layer4 = _layer(WIDTHS[2], WIDTHS[3], 2)
        self.fc = nn.Linear(EMBEDDING_SIZE, num_classes)
        self.film = nn.Linear(EMBEDDING_SIZE, num_classes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> list[Tensor]:
        """The maps after layer1 … layer4: [N, 64, S/4, S/4] … [N, 512, S/32, S/32]."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        maps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps

    def last_map(self, x: Tensor) -> Tensor:
        """[N, 512, S/32, S/32]."""
        return self.features(x)[-1]

    def embed(self, x: Tensor) -> Tensor:
        """The embedding [N, 512]: global average of the last map."""
        return self.last_map(x).mean((2, 3))

    def cells(self, last_map: Tensor) -> Tensor:
        """[N, 512, h, w] -> [N, K, h, w]: what each cell of the last map says for itself."""
        return F.conv2d(last_map, self.fc.weight[:, :, None, None])

    def evidence(self, last_map: Tensor) -> Tensor:
        """[N, 512, h, w] -> [N, K, h, w]: cell by cell with the whole film's part, logits before the bias."""
        whole: Tensor = self.film(last_map.mean((2, 3)))
        return self.cells(last_map) + whole[:, :, None, None]

    def pool(self, evidence: Tensor) -> Tensor:
        """[N, K, h, w] -> logits [N, K]: log-mean-exp, so that one cell is enough.

        A lesion fills one cell of 49: in their mean it would drown (Pinheiro & Collobert, CVPR 2015).
        """
        cells = evidence.shape[-2] * evidence.shape[-1]
        return evidence.logsumexp((2, 3)) - math.log(cells) + self.fc.bias

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, K]."""
        return self.pool(self.evidence(self.last_map(x)))


def _layer(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(channels_in, channels_out, stride), BasicBlock(channels_out, channels_out, 1)
    )


def load_encoder(network: ResNet18, weights: Mapping[str, Tensor]) -> None:
    """Load everything but the head; `fc.*` and `film.*` in `weights` are ignored.

    Raises ValueError, naming them, if other parameters are missing or unknown.
    """
    weights = {name: value for name, value in weights.items() if not name.startswith(HEAD)}
    conv1 = weights.get("conv1.weight")
    if conv1 is not None and conv1.shape[1] == 3 and network.conv1.in_channels == 1:
        weights["conv1.weight"] = conv1.sum(1, keepdim=True)
    missing, unknown = network.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.startswith(HEAD)]
    if missing or unknown:
        raise ValueError(f"not the weights of a ResNet-18: missing {missing[:3]}, unknown {unknown[:3]}")


def round_to_storage(network: nn.Module) -> None:
    """Round convolution and linear weights to the fp16 values that the model file stores, in place.

    What is calibrated and evaluated afterwards is what will be shipped. BatchNorm and biases stay fp32.
    """
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_(module.weight.half().float())
