"""Augmentations that a radiograph can bear, batched on the training device.

No mirror image: the heart is on the left, and situs is a finding. No colour. No crop so small that it
leaves the lesion out, no erasing: a nodule is a few pixels wide.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from train.clahe import equalised


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Ranges of one recipe; each film draws its own values.

    area: share of the square that the crop keeps. rotation: degrees, both ways. shift: of the side, both
    ways. elastic: largest displacement, share of the side. gamma: exponent, log-uniform in 1/gamma … gamma.
    contrast, brightness: ± of 1. blur: largest sigma, pixels of the output. noise: largest standard
    deviation, share of full scale. clahe: probability of a second equalisation, clip limit 1 … 3.
    """

    area: tuple[float, float]
    rotation: float
    shift: float
    elastic: float
    gamma: float
    contrast: float
    brightness: float
    blur: float
    noise: float
    clahe: float


PRETRAIN = Augmentation(
    area=(0.35, 1.0), rotation=10, shift=0.0, elastic=0.0, gamma=1.6, contrast=0.3, brightness=0.15,
    blur=1.2, noise=0.04, clahe=0.0,
)  # fmt: skip
FINETUNE = Augmentation(
    area=(0.75, 1.1), rotation=7, shift=0.05, elastic=0.012, gamma=1.35, contrast=0.2, brightness=0.1,
    blur=0.6, noise=0.02, clahe=0.25,
)  # fmt: skip


def reequalise(squares: Tensor, probability: float, generator: np.random.Generator) -> Tensor:
    """CLAHE once more with a random clip limit on some of uint8 [N, S, S]; the rest stay as they are."""
    chosen = np.flatnonzero(generator.random(len(squares)) < probability)
    clip = generator.uniform(1, 3, len(chosen))
    index = torch.from_numpy(chosen).to(squares.device)
    return squares.index_copy(0, index, equalised(squares[index], clip))


def augment(squares: Tensor, size: int, recipe: Augmentation, generator: torch.Generator) -> Tensor:
    """uint8 [N, S, S] -> float32 [N, 1, size, size], 0 … 1, one random version of each film."""
    x = squares.unsqueeze(1).float().div_(255)
    x = _warp(x, size, recipe, generator)
    x = _tones(x, recipe, generator)
    if recipe.blur:
        x = _blur(x, recipe.blur, generator)
    if recipe.noise:
        strength = _uniform(len(x), 0, recipe.noise, generator, x.device)
        x = x + strength * torch.randn(x.shape, generator=generator, device=x.device)
    return x.clamp_(0, 1)


def plain(squares: Tensor, size: int) -> Tensor:
    """uint8 [N, S, S] -> float32 [N, 1, size, size], 0 … 1, without augmentation."""
    x = squares.unsqueeze(1).float().div_(255)
    return x if x.shape[-1] == size else F.interpolate(x, size=(size, size), mode="area")


def _uniform(n: int, low: float, high: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """[n, 1, 1, 1], uniform in low … high."""
    return torch.rand(n, 1, 1, 1, generator=generator, device=device) * (high - low) + low


def _warp(x: Tensor, size: int, recipe: Augmentation, generator: torch.Generator) -> Tensor:
    """Crop, scale, rotate, shift and bend in one resampling, so that the film is blurred once."""
    n, device = len(x), x.device
    scale = _uniform(n, *recipe.area, generator, device).sqrt()
    room = (1 - scale).clamp(min=0)
    angle = torch.deg2rad(_uniform(n, -recipe.rotation, recipe.rotation, generator, device))
    reach = room + 2 * recipe.shift
    left = _uniform(n, -1, 1, generator, device) * reach
    top = _uniform(n, -1, 1, generator, device) * reach
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    rows = [torch.cat([cos, -sin, left], 3), torch.cat([sin, cos, top], 3)]
    theta = torch.cat(rows, 2).squeeze(1)
    # Shrinking without a low-pass would turn ribs into moiré.
    if x.shape[-1] >= 2 * size:
        x = F.avg_pool2d(x, x.shape[-1] // size)
    grid = F.affine_grid(theta, [n, 1, size, size], align_corners=False)
    if recipe.elastic:
        coarse = torch.rand(n, 2, 6, 6, generator=generator, device=device) * 2 - 1
        bend = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
        grid = grid + bend.permute(0, 2, 3, 1) * (2 * recipe.elastic)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _tones(x: Tensor, recipe: Augmentation, generator: torch.Generator) -> Tensor:
    """Gamma, contrast and brightness: what exposure, detector and window do to a film."""
    n, device = len(x), x.device
    log_gamma = float(np.log(recipe.gamma))
    gamma = _uniform(n, -log_gamma, log_gamma, generator, device).exp()
    contrast = 1 + _uniform(n, -recipe.contrast, recipe.contrast, generator, device)
    brightness = _uniform(n, -recipe.brightness, recipe.brightness, generator, device)
    return ((x.clamp(1e-4, 1) ** gamma - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)


def _blur(x: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """Gaussian blur, each film its own sigma in 0.1 … largest, as one grouped convolution per axis."""
    radius = max(1, round(2 * largest))
    taps = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    sigma = _uniform(len(x), 0.1, largest, generator, x.device)
    kernel = torch.exp(-taps.square() / (2 * sigma.square()))
    kernel = kernel / kernel.sum(3, keepdim=True)
    films = x.transpose(0, 1)
    films = F.conv2d(films, kernel, padding=(0, radius), groups=len(x))
    films = F.conv2d(films, kernel.transpose(2, 3), padding=(radius, 0), groups=len(x))
    return films.transpose(0, 1)
