"""Lesions that were never there: soft, uneven bumps put into films, and what only resembles them.

A network that finds them has to know what films look like without them, and no label is needed: the lesions'
places are known because they were drawn (as in Li et al., CutPaste, CVPR 2021, but additive, for a radiograph
is a projection). Next to them lie things that are no lesion: vessels and lines, edges of skin folds, veils,
dark spots, markers. All of it is drawn batched on the training device.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from train.data.augment import Draws

CELL = 32
"""Side of what one cell of the last map stands for, pixels."""
SHARE = 0.3
"""A cell is a lesion's if it holds this much of it, or if the lesion covers this much of the cell."""
_SLOTS = 5
"""Things that may be drawn into one film."""
_PATCH = 96
"""Side of the patch that one thing is drawn in, pixels of a square of 224."""
_SIDE = 224
"""Of the square in whose pixels all lengths here are; on larger ones everything is drawn larger."""
_CANDIDATES = 6
_DISTRACTORS = 6


@dataclass(frozen=True)
class _Spots:
    """centres: [M, 2], rows and columns, pixels. unit: pixels for one of a square of 224."""

    centres: Tensor
    unit: float

    @property
    def patch(self) -> int:
        """Side of a patch, pixels; even."""
        return 2 * round(_PATCH / 2 * self.unit)

    def of(self, slots: Tensor) -> "_Spots":
        """Those alone."""
        return _Spots(self.centres[slots], self.unit)

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the patches around the centres: int64 [M, P, 1] and [M, 1, P]."""
        steps = torch.arange(self.patch, device=self.centres.device) - self.patch // 2
        first = self.centres.floor().long()
        return first[:, :1, None] + steps[:, None], first[:, 1:, None] + steps

    def offsets(self) -> tuple[Tensor, Tensor]:
        """How far pixels lie from their patch's centre, in units: [M, P, P] downwards and to the right."""
        rows, columns = self.pixels()
        shape = len(self.centres), self.patch, self.patch
        down = (rows - self.centres[:, :1, None]) / self.unit
        right = (columns - self.centres[:, 1:, None]) / self.unit
        return down.expand(shape), right.expand(shape)


@dataclass(frozen=True)
class Planting:
    """lesions, distractors: how likely a slot holds one. radius: of a lesion, pixels of a square of 224,
    log-uniform (a chest is about 350 mm wide there: 3 to 35 mm). contrast: share of the way to white,
    log-uniform.
    """

    lesions: float = 0.35
    distractors: float = 0.45
    radius: tuple[float, float] = (2.0, 22.0)
    contrast: tuple[float, float] = (0.12, 0.6)


def plant(x: Tensor, recipe: Planting, draws: Draws) -> tuple[Tensor, Tensor]:
    """Films float32 [N, 1, S, S], 0 … 1 -> the same with things in them, and where lesions are, [N, cells].

    Cells go row by row through the last map, side S / 32: 1 holds a lesion, 0 none, NaN a part of one.
    """
    n, size = len(x), x.shape[-1]
    u = draws.uniform(0, 1, (_SLOTS, 24)).reshape(n * _SLOTS, 24)
    texture = draws.uniform(-1, 1, (_SLOTS, 8, 8)).reshape(n * _SLOTS, 1, 8, 8)
    spots = _Spots(_places(x, draws).reshape(n * _SLOTS, 2), size / _SIDE)
    film = torch.arange(n, device=x.device).repeat_interleave(_SLOTS)
    side = -(-size // CELL)
    margin = spots.patch // 2
    canvas_shape = n, size + spots.patch, size + spots.patch
    brighter, darker = (torch.zeros(canvas_shape, device=x.device) for _ in range(2))
    held, covered = (torch.zeros(n, side * side, device=x.device) for _ in range(2))

    def put(canvas: Tensor, slots: Tensor, patches: Tensor) -> None:
        rows, columns = spots.of(slots).pixels()
        where = (film[slots, None, None] * canvas.shape[1] + rows + margin) * canvas.shape[2]
        canvas.view(-1).index_add_(0, (where + columns + margin).flatten(), patches.flatten())

    lesions = torch.nonzero(u[:, 0] < recipe.lesions)[:, 0]
    if len(lesions):
        of = u[lesions]
        profile, inside = _lesions(of, texture[lesions], spots.of(lesions), recipe)
        amplitude = _between(of[:, 1], *map(math.log, recipe.contrast)).exp()
        put(brighter, lesions, amplitude[:, None, None] * profile)
        rows, columns = spots.of(lesions).pixels()
        seen = inside & (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
        cell = (rows.clamp(0, size - 1) // CELL) * side + columns.clamp(0, size - 1) // CELL
        cell = cell + film[lesions, None, None] * side * side
        area = seen.sum((1, 2)).clamp(min=1)
        held.view(-1).index_add_(0, cell.flatten(), (seen / area[:, None, None]).flatten())
        covered.view(-1).index_add_(0, cell.flatten(), (seen / CELL**2).flatten())
    others = (u[:, 0] >= recipe.lesions) & (u[:, 0] < recipe.lesions + recipe.distractors)
    kinds = (u[:, 2] * _DISTRACTORS).long()
    for kind, draw in enumerate((_rods, _rods, _edges, _veils, _dark_spots, _markers)):
        slots = torch.nonzero(others & (kinds == kind))[:, 0]
        if len(slots):
            of = u[slots]
            amplitude = _between(of[:, 1], *map(math.log, recipe.contrast)).exp()
            if draw is _markers:
                amplitude = _between(of[:, 1], 0.5, 1.0)
            patches = amplitude[:, None, None] * draw(of, spots.of(slots))
            put(darker if draw is _dark_spots else brighter, slots, patches)
    inner = slice(margin, margin + size)
    b, d = brighter[:, None, inner, inner], darker[:, None, inner, inner]
    # What absorbs more is nearer to white; white cannot become whiter.
    x = (x + b.clamp(max=1) * (1.02 - x) - d.clamp(max=1) * x).clamp(0, 1)
    return x, _said(held, covered)


def cells_from_marks(marks: Tensor) -> Tensor:
    """Lesions marked on films, float32 [N, 1, S, S], 0 … 1 -> what is said of the cells, as `plant` does."""
    covered = F.avg_pool2d(marks, CELL, ceil_mode=True).flatten(1)
    return _said(covered / covered.sum(1, keepdim=True).clamp(min=1e-6), covered)


def _said(held: Tensor, covered: Tensor) -> Tensor:
    """Shares: of a lesion in a cell, of a cell under a lesion, [N, cells] -> 1, 0, NaN: in part."""
    targets = ((held >= SHARE) | (covered >= SHARE)).float()
    return targets.masked_fill((targets == 0) & (held > 0.02), float("nan"))


def _between(u: Tensor, low: float, high: float) -> Tensor:
    return low + u * (high - low)


def _places(x: Tensor, draws: Draws) -> Tensor:
    """[N, slots, 2], rows and columns: most where films are dark (lungs), none in the black beside them."""
    n, size = len(x), x.shape[-1]
    points = draws.uniform(0, 1, (_SLOTS, _CANDIDATES, 2))
    rows, columns = points.unbind(-1)
    # Two bands, one at each side of the spine.
    columns = torch.where(columns < 0.5, 0.14 + 0.66 * columns, 0.2 + 0.66 * columns)
    points = torch.stack([0.12 + 0.68 * rows, columns], -1)
    coarse = F.avg_pool2d(x, 8)[:, 0]
    at = (points * coarse.shape[-1]).long()
    level = coarse[torch.arange(n, device=x.device)[:, None, None], at[..., 0], at[..., 1]]
    level = level + 10 * (level < 0.08)
    anywhere = draws.uniform(0, 1, (_SLOTS, 1)) < 0.3
    best = torch.where(anywhere & (level[..., :1] < 10), 0, level.argmin(2, keepdim=True))
    return points.gather(2, best[..., None].expand(-1, -1, -1, 2))[:, :, 0] * size


def _turned(u: Tensor, spots: _Spots) -> tuple[Tensor, Tensor]:
    """Offsets along and across a direction of each thing's own."""
    down, right = spots.offsets()
    angle = (u[:, 3] * 2 * math.pi)[:, None, None]
    cos, sin = angle.cos(), angle.sin()
    return cos * right + sin * down, cos * down - sin * right


def _window(along: Tensor, across: Tensor) -> Tensor:
    """1 in the middle of a patch, 0 at its edge, so that no patch shows its outline."""
    distance = (along.square() + across.square()).sqrt() / (_PATCH / 2 - 1)
    return ((1 - distance.clamp(0, 1)) * 4).clamp(max=1)


def _lesions(u: Tensor, texture: Tensor, spots: _Spots, recipe: Planting) -> tuple[Tensor, Tensor]:
    """Profiles, 0 … about 1, [M, P, P], and the pixels that count as the lesion's."""
    along, across = _turned(u, spots)
    radius = _between(u[:, 4], *map(math.log, recipe.radius)).exp()[:, None, None]
    stretch = _between(u[:, 5], 1.0, 1.5)[:, None, None].sqrt()
    along, across = along / (radius * stretch), across / (radius / stretch)
    angle = torch.atan2(across, along)
    outline = torch.ones_like(angle)
    for lobes in (2, 3, 4, 5):
        depth = _between(u[:, 4 + lobes], -0.09, 0.09)[:, None, None]
        phase = (u[:, 8 + lobes] * 2 * math.pi)[:, None, None]
        outline = outline + depth * torch.cos(lobes * angle + phase)
    away = (along.square() + across.square()) / outline.square()
    # From a plateau with a sharp edge to a bump that fades.
    softness = _between(u[:, 14], 0.35, 1.6)[:, None, None]
    profile = (1 - away).clamp(min=0) ** softness
    cavity = torch.where(u[:, 15] < 0.12, _between(u[:, 16], 0.5, 0.95), 0.0)[:, None, None]
    profile = profile * (1 - cavity * torch.exp(-away / 0.2))
    # A nodule's own unevenness is of its own size.
    grain = F.interpolate(texture, size=away.shape[1:], mode="bilinear", align_corners=False)
    return profile * (1 + 0.3 * grain[:, 0]), away < 0.8


def _rods(u: Tensor, spots: _Spots) -> Tensor:
    """Vessels, ribs' edges, lines and tubes: thin, long, a little bent."""
    along, across = _turned(u, spots)
    width = _between(u[:, 4], math.log(0.7), math.log(5)).exp()[:, None, None]
    bend = _between(u[:, 5], -0.012, 0.012)[:, None, None]
    length = _between(u[:, 6], 15, 48)[:, None, None]
    profile = torch.exp(-((across - bend * along.square()) / width).square() / 2)
    return profile * torch.sigmoid((length - along.abs()) / 2) * _window(along, across)


def _edges(u: Tensor, spots: _Spots) -> Tensor:
    """Skin folds, scapulae: bright on one side."""
    along, across = _turned(u, spots)
    sharpness = _between(u[:, 4], 0.5, 4)[:, None, None]
    bend = _between(u[:, 5], -0.01, 0.01)[:, None, None]
    fade = torch.exp(-(along.square() + across.square()) / (2 * 18**2))
    return torch.sigmoid((across - bend * along.square()) / sharpness) * fade * _window(along, across)


def _veils(u: Tensor, spots: _Spots) -> Tensor:
    """Wide and without a border: soft tissue, fluid, another exposure."""
    along, across = _turned(u, spots)
    wide, narrow = (_between(u[:, i], 16, 26)[:, None, None] for i in (4, 5))
    fade = torch.exp(-((along / wide).square() + (across / narrow).square()) / 2)
    return 0.6 * fade * _window(along, across)


def _dark_spots(u: Tensor, spots: _Spots) -> Tensor:
    """Air: what a lesion would be on an inverted film."""
    along, across = _turned(u, spots)
    radius = _between(u[:, 4], math.log(2), math.log(20)).exp()[:, None, None]
    away = (along.square() + across.square()) / radius.square()
    return (1 - away).clamp(min=0) ** _between(u[:, 5], 0.35, 1.6)[:, None, None]


def _markers(u: Tensor, spots: _Spots) -> Tensor:
    """Letters, clips, electrodes: straight edges, nearly white."""
    along, across = _turned(u, spots)
    length, width = (_between(u[:, i], 1, 7)[:, None, None] for i in (4, 5))
    return torch.sigmoid((length - along.abs()) * 3) * torch.sigmoid((width - across.abs()) * 3)
