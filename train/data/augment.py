"""Augmentations that a radiograph can bear, batched on the training device.

No mirror image: the heart is on the left, and situs is a finding. No colour. No crop so small that it
leaves the lesion out, no erasing: a nodule is a few pixels wide.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from train.data.clahe import equalised
from train.parallel import WHOLE, Part


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Ranges of one recipe; each film draws its own values.

    area: share of the square that the crop keeps. rotation: degrees, both ways. shift: of the side, both
    ways. aspect: stretch, log-uniform in 1/aspect … aspect: collections squeeze films into squares, archives
    do not. elastic: largest displacement, share of the side. gamma: exponent, log-uniform in 1/gamma … gamma.
    contrast, brightness: ± of 1. blur: largest sigma, pixels of the output. noise: largest standard
    deviation, share of full scale. clahe: probability of a second equalisation, clip limit 1 … 3.
    """

    area: tuple[float, float]
    rotation: float
    shift: float
    aspect: float
    elastic: float
    gamma: float
    contrast: float
    brightness: float
    blur: float
    noise: float
    clahe: float


PRETRAIN = Augmentation(
    area=(0.35, 1.0), rotation=10, shift=0.0, aspect=1.0, elastic=0.0, gamma=1.6, contrast=0.3,
    brightness=0.15, blur=1.2, noise=0.04, clahe=0.0,
)  # fmt: skip
WHOLE_FILMS = Augmentation(
    area=(0.6, 1.15), rotation=10, shift=0.05, aspect=1.0, elastic=0.0, gamma=1.4, contrast=0.25,
    brightness=0.1, blur=0.7, noise=0.03, clahe=0.0,
)  # fmt: skip
FINETUNE = Augmentation(
    area=(0.75, 1.1), rotation=7, shift=0.05, aspect=1.15, elastic=0.012, gamma=1.35, contrast=0.2,
    brightness=0.1, blur=0.6, noise=0.02, clahe=0.25,
)  # fmt: skip
UNCHANGED = Augmentation(
    area=(1.0, 1.0), rotation=0, shift=0.0, aspect=1.0, elastic=0.0, gamma=1.0, contrast=0.0,
    brightness=0.0, blur=0.0, noise=0.0, clahe=0.0,
)  # fmt: skip


def reequalise(squares: Tensor, probability: float, generator: np.random.Generator) -> Tensor:
    """CLAHE once more with a random clip limit on some of uint8 [N, S, S]; the rest stay as they are."""
    chosen = np.flatnonzero(generator.random(len(squares)) < probability)
    clip = generator.uniform(1, 3, len(chosen))
    index = torch.from_numpy(chosen).to(squares.device)
    return squares.index_copy(0, index, equalised(squares[index], clip))


def augment(
    squares: Tensor, size: int, recipe: Augmentation, generator: torch.Generator, part: Part = WHOLE
) -> Tensor:
    """uint8 [N, S, S] -> float32 [N, 1, size, size], 0 … 1, one random version of each film.

    part: of the batch that the films are; they come out as they would in the whole one.
    """
    draws = Draws(len(squares), generator, part)
    return _seen(_warp(_whole(squares), size, recipe, draws), recipe, draws)


def augment_marked(
    squares: Tensor, marks: Tensor, size: int, recipe: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """`augment`, and marks uint8 [N, S, S] on the squares moved alike: float32 [N, 1, size, size], 0 … 1."""
    draws = Draws(len(squares), generator, WHOLE)
    both = _warp(torch.cat([_whole(squares), _whole(marks)], 1), size, recipe, draws)
    return _seen(both[:, :1], recipe, draws), both[:, 1:]


def _whole(squares: Tensor) -> Tensor:
    return squares.unsqueeze(1).float().div_(255)


def _seen(x: Tensor, recipe: Augmentation, draws: "Draws") -> Tensor:
    """What exposure and detector make of films that lie as they should, [N, 1, S, S]."""
    x = _tones(x, recipe, draws)
    if recipe.blur:
        x = _blur(x, recipe.blur, draws)
    if recipe.noise:
        strength = draws.uniform(0, recipe.noise)
        x = x + strength * draws.normal(*x.shape[1:])
    return x.clamp_(0, 1)


def plain(squares: Tensor, size: int) -> Tensor:
    """uint8 [N, S, S] -> float32 [N, 1, size, size], 0 … 1, without augmentation."""
    x = _whole(squares)
    return x if x.shape[-1] == size else F.interpolate(x, size=(size, size), mode="area")


def standardise(x: Tensor, mean: float, std: float) -> Tensor:
    """[N, 1, S, S], 0 … 1 -> what the network takes."""
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class Draws:
    """Random numbers for `n` films, on the generator's device: this part's of those for the whole batch."""

    n: int
    generator: torch.Generator
    part: Part

    def uniform(self, low: float, high: float, shape: tuple[int, ...] = (1, 1, 1)) -> Tensor:
        """[n, *shape] in low … high."""
        total = self.n * self.part.world
        values = torch.rand(total, *shape, generator=self.generator, device=self.generator.device)
        return values[self.part.rows(total)] * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """[n, *shape], mean 0 and standard deviation 1."""
        total = self.n * self.part.world
        values = torch.randn(total, *shape, generator=self.generator, device=self.generator.device)
        return values[self.part.rows(total)]


def _warp(x: Tensor, size: int, recipe: Augmentation, draws: Draws) -> Tensor:
    """Crop, scale, rotate, shift and bend in one resampling, so that the film is blurred once."""
    n = len(x)
    scale = draws.uniform(*recipe.area).sqrt()
    room = (1 - scale).clamp(min=0)
    angle = torch.deg2rad(draws.uniform(-recipe.rotation, recipe.rotation))
    reach = room + 2 * recipe.shift
    left = draws.uniform(-1, 1) * reach
    top = draws.uniform(-1, 1) * reach
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    stretch = torch.ones_like(scale)
    if recipe.aspect > 1:
        log_aspect = float(np.log(recipe.aspect))
        stretch = draws.uniform(-log_aspect / 2, log_aspect / 2).exp()
    rows = [
        torch.cat([cos * stretch, -sin * stretch, left], 3),
        torch.cat([sin / stretch, cos / stretch, top], 3),
    ]
    theta = torch.cat(rows, 2).squeeze(1)
    # Shrinking without a low-pass would turn ribs into moiré.
    if x.shape[-1] >= 2 * size:
        x = F.avg_pool2d(x, x.shape[-1] // size)
    grid = F.affine_grid(theta, [n, 1, size, size], align_corners=False)
    if recipe.elastic:
        coarse = draws.uniform(-1, 1, (2, 6, 6))
        bend = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
        grid = grid + bend.permute(0, 2, 3, 1) * (2 * recipe.elastic)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _tones(x: Tensor, recipe: Augmentation, draws: Draws) -> Tensor:
    """Gamma, contrast and brightness: what exposure, detector and window do to a film."""
    log_gamma = float(np.log(recipe.gamma))
    gamma = draws.uniform(-log_gamma, log_gamma).exp()
    contrast = 1 + draws.uniform(-recipe.contrast, recipe.contrast)
    brightness = draws.uniform(-recipe.brightness, recipe.brightness)
    return ((x.clamp(1e-4, 1) ** gamma - 0.5) * contrast + 0.5 + brightness).clamp(0, 1)


def _blur(x: Tensor, largest: float, draws: Draws) -> Tensor:
    """Gaussian blur, each film its own sigma in 0.1 … largest, as one grouped convolution per axis."""
    radius = max(1, round(2 * largest))
    taps = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    sigma = draws.uniform(0.1, largest)
    kernel = torch.exp(-taps.square() / (2 * sigma.square()))
    kernel = kernel / kernel.sum(3, keepdim=True)
    films = x.transpose(0, 1)
    films = F.conv2d(films, kernel, padding=(0, radius), groups=len(x))
    films = F.conv2d(films, kernel.transpose(2, 3), padding=(radius, 0), groups=len(x))
    return films.transpose(0, 1)
