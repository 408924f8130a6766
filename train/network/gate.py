"""A gate with a network of its own: a chest film, sick or well and however it lies, against everything else.

A small network of its own, on the square made small: two lungs and what lies between them show at 56 pixels,
and what tells one hospital from another hardly does. It has no part in the classifier's features, which were
learned from few hospitals' films and took a larger plate for something else (docs/decisions/gate.md).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 56
"""Of the small square, pixels; squares that are no multiple of it stay a little larger."""
WIDTHS = 12, 24, 32, 48
HIDDEN = 48
HALVED = 1, 2
"""After these convolutions the map is halved; the first one halves it by itself."""
GRID = SIDE // 8
"""Of the last map, which is averaged to it where it is larger."""
MEAN, STD = 0.5, 0.25


def shrinking(size: int) -> tuple[int, int]:
    """For squares of `size` pixels: how often each pixel is repeated, and over how many is averaged then."""
    return -(-SIDE // size), max(1, size // SIDE)


def map_side(size: int) -> int:
    """Of the last map, of squares of `size` pixels."""
    repeated, averaged = shrinking(size)
    side = size * repeated // averaged
    return -(-side // 2) // 2 // 2


def grid_pooling(side: int) -> tuple[int, int]:
    """Kernel and stride that average a last map of `side` to GRID × GRID fields."""
    stride = side // GRID
    return side - (GRID - 1) * stride, stride


class Gate(nn.Module):
    """uint8 or float32 [N, 1, S, S], 0 … 255 -> [N]: above 0 it may be a chest film, above 1 it is one."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3 if at else 5, 1 if at else 2, 1 if at else 2)
            for at, (before, after) in enumerate(zip((1, *WIDTHS), WIDTHS, strict=False))
        )
        self.hidden = nn.Linear(WIDTHS[-1] * GRID**2, HIDDEN)
        self.head = nn.Linear(HIDDEN, 1)

    def features(self, image: Tensor) -> Tensor:
        """[N, 1, S, S] -> [N, WIDTHS[-1] · GRID²]."""
        return self.of_small(small(image))

    def of_small(self, x: Tensor) -> Tensor:
        """The same of what `small` gave."""
        x = (x / 255 - MEAN) / STD
        for at, conv in enumerate(self.convs):
            x = F.relu(conv(x))
            if at in HALVED:
                x = F.max_pool2d(x, 2)
        return F.avg_pool2d(x, *grid_pooling(x.shape[-1])).flatten(1)

    def judged(self, features: Tensor) -> Tensor:
        """[N, D] -> [N]."""
        judged: Tensor = self.head(F.relu(self.hidden(features)))
        return judged[:, 0]

    def forward(self, image: Tensor) -> Tensor:
        return self.judged(self.features(image))

    @torch.no_grad()
    def with_edges(self, low: float, high: float) -> "Gate":
        """Shifted and scaled so that scores of `low` become 0, and scores of `high` 1. high > low."""
        made = Gate()
        made.load_state_dict(self.state_dict())
        made.head.weight.div_(high - low)
        made.head.bias.sub_(low).div_(high - low)
        return made


def small(image: Tensor) -> Tensor:
    """Squares [N, 1, S, S] -> float32 [N, 1, about SIDE, about SIDE], in the same units."""
    repeated, averaged = shrinking(image.shape[-1])
    x = image.float()
    if repeated > 1:
        x = x.repeat_interleave(repeated, 2).repeat_interleave(repeated, 3)
    return F.avg_pool2d(x, averaged) if averaged > 1 else x


class Learning(nn.Module):
    """The gate while it learns: with normalisation behind each convolution, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """What `small` gave, 0 … 1 -> [N]."""
        x = (x - MEAN) / STD
        for at, (conv, norm) in enumerate(zip(self.gate.convs, self.norms, strict=True)):
            x = F.relu(norm(conv(x)))
            if at in HALVED:
                x = F.max_pool2d(x, 2)
        fields = F.avg_pool2d(x, *grid_pooling(x.shape[-1])).flatten(1)
        hidden = F.relu(self.gate.hidden(self.dropout(fields)))
        judged: Tensor = self.gate.head(self.dropout(hidden))
        return judged[:, 0]

    @torch.no_grad()
    def learned(self) -> Gate:
        """With the normalisation in the convolutions' weights: what it computes when it has learned."""
        made = Gate()
        made.load_state_dict(self.gate.state_dict())
        for conv, norm in zip(made.convs, self.norms, strict=True):
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            factor = norm.weight / (norm.running_var + norm.eps).sqrt()
            conv.weight.mul_(factor[:, None, None, None])
            conv.bias.sub_(norm.running_mean).mul_(factor).add_(norm.bias)
        return made.eval()
