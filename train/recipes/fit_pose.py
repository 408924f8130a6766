"""Fit the judge of polarity and orientation (`screen.preprocess.pose`): without labels, from right poses.

The scorer learns to prefer a film as it is to its seven other poses (Gidaris et al., ICLR 2018, learn from
turns alike). Pictures that are no film get no preference, so that the judge stays undecided about them.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from screen.discover import Source
from screen.film import Film, Pixels
from screen.preprocess import PreprocessSpec, content_from_pixels
from screen.preprocess.pose import THUMBNAIL, Judge, pose_from, thumbnail
from screen.readers import read
from screen.readers.lookup import full_range_lookup
from train.data.others import Other

SIDE = 2 * THUMBNAIL
"""Of the thumbnails that are augmented; the scorer sees half of it."""
FOLDS = 5
OTHERS = 2700
"""Pictures that are made for it."""


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """hidden: width of the one layer. others: pictures that are no film, in a batch beside the films."""

    hidden: int = 32
    epochs: int = 30
    batch_size: int = 256
    others: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    seed: int = 0


def thumbnails_of(sources: Iterable[Source]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """uint8 [N, SIDE, SIDE] and the keys of the films that can be read and are not blank."""
    spec, values, keys = PreprocessSpec(), [], []
    for source in sources:
        film = read(source)
        content = content_from_pixels(film.pixels, spec) if isinstance(film, Film) else None
        if content is not None:
            values.append(thumbnail(content, SIDE))
            keys.append(source.key)
    return np.stack(values), tuple(keys)


def thumbnails_of_pictures(made: Sequence[Other]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """uint8 [M, SIDE, SIDE] and the kinds of the pictures that are not blank."""
    spec, lookup = PreprocessSpec(), full_range_lookup(8)
    contents = [(content_from_pixels(Pixels(other.values, lookup), spec), other.kind) for other in made]
    values = [thumbnail(content, SIDE) for content, _ in contents if content is not None]
    return np.stack(values), tuple(kind for content, kind in contents if content is not None)


def fit_judge(films: NDArray[np.uint8], others: NDArray[np.uint8], settings: JudgeSettings) -> Judge:
    """Thumbnails uint8 [N, SIDE, SIDE] of films as they should be, and of pictures that are none."""
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        scorer = nn.Sequential(
            nn.Linear(THUMBNAIL**2, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, 1, bias=False)
        )
    steps = max(1, len(films) // settings.batch_size)
    optimizer = torch.optim.AdamW(scorer.parameters(), weight_decay=settings.weight_decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps
    )
    all_films, all_others = torch.from_numpy(films), torch.from_numpy(others)
    for _ in range(settings.epochs):
        order = torch.randperm(len(films), generator=generator)
        for step in range(steps):
            chosen = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            strangers = torch.randint(len(others), (settings.others,), generator=generator)
            batch = torch.cat([all_films[chosen], all_others[strangers]])
            x = _augmented(batch[:, None].float() / 255, generator)
            log_p = F.log_softmax(_scores(scorer, x), 1)
            as_it_is, undecided = -log_p[: len(chosen), 0].mean(), -log_p[len(chosen) :].mean()
            optimizer.zero_grad()
            torch.autograd.backward(as_it_is + settings.others / settings.batch_size * undecided)
            optimizer.step()
            rates.step()
    first, _, last = scorer
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    parts = (first.weight.T, first.bias, last.weight[0])
    weights, bias, head = (part.detach().half().float().contiguous().numpy() for part in parts)
    return Judge(weights, bias, head)


def probabilities_of(judge: Judge, thumbnails: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Thumbnails uint8 [N, SIDE, SIDE] -> [N, 2, 4], as `Judge.probabilities`."""
    return np.stack([judge.probabilities(values) for values in thumbnails])


def cross_validated(
    films: NDArray[np.uint8],
    patients: Sequence[str],
    others: NDArray[np.uint8],
    kinds: Sequence[str],
    settings: JudgeSettings,
    fold_of: Callable[[str], int],
    report: Callable[[str], None],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[N, 2, 4] for films and [M, 2, 4] for others: each from a judge that never saw that patient or kind.

    fold_of: patient or kind -> 0 … FOLDS - 1.
    """
    film_folds = np.array([fold_of(patient) for patient in patients])
    names = sorted(set(kinds))
    other_folds = np.array([names.index(kind) % FOLDS for kind in kinds])
    p_films, p_others = np.empty((len(films), 2, 4)), np.empty((len(others), 2, 4))
    for fold in range(FOLDS):
        report(f"fold {fold + 1} of {FOLDS}")
        judge = fit_judge(films[film_folds != fold], others[other_folds != fold], settings)
        p_films[film_folds == fold] = probabilities_of(judge, films[film_folds == fold])
        p_others[other_folds == fold] = probabilities_of(judge, others[other_folds == fold])
    return p_films, p_others


def _scores(scorer: nn.Module, x: Tensor) -> Tensor:
    """[N, 1, SIDE, SIDE], 0 … 1 -> [N, 8], the poses in the order of `Judge.probabilities`."""
    x = (F.avg_pool2d(x, SIDE // THUMBNAIL) * 255 - 127.5) / 64
    poses = torch.stack([torch.rot90(x, k, (2, 3)) * sign for sign in (1, -1) for k in range(4)], 1)
    scores: Tensor = scorer(poses.flatten(2))[..., 0]
    return scores


def _augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Zoomed, moved, tilted, mirrored and with another tone; a fifth lies small on black or white ground."""
    n = len(x)

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    # As collimated films lie, which scanners leave white around.
    small = draw(0, 1) < 0.2
    zoom = torch.where(small, draw(1.1, 1.8), draw(0.75, 1.08))
    room = 0.12 + (zoom - 1).clamp(min=0)
    tilt, aspect, mirror = draw(-0.25, 0.25), draw(0.9, 1.1), torch.sign(draw(-1, 1))
    cos, sin = zoom * torch.cos(tilt), zoom * torch.sin(tilt)
    rows = [
        torch.stack([cos * aspect * mirror, -sin, draw(-1, 1) * room], 1),
        torch.stack([sin * mirror, cos / aspect, draw(-1, 1) * room], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    x = x.clamp(1e-3, 1) ** torch.exp(draw(-1, 1) * math.log(2)).view(n, 1, 1, 1)
    ground = (draw(0, 1) < 0.5).float().view(n, 1, 1, 1)
    on_ground = F.grid_sample(x - ground, grid, padding_mode="zeros", align_corners=False) + ground
    filled = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return torch.where(small.view(n, 1, 1, 1), on_ground, filled)


@dataclass(frozen=True, slots=True)
class Rates:
    """How often the judge says something of films as they are, of their copies in the pose, and of others."""

    name: str
    said: int
    films: int
    noticed: int
    copies: int
    others_said: int
    others: int


def rates(p_films: NDArray[np.float64], p_others: NDArray[np.float64]) -> list[Rates]:
    """From [N, 2, 4] and [M, 2, 4]. Copies need no pass of their own: a turned film turns the answer."""
    found = []
    for name, copies in (
        ("inverted", [p_films[:, ::-1]]),
        ("on_its_side", [np.roll(p_films, turn, 2) for turn in (1, 3)]),
        ("upside_down", [np.roll(p_films, 2, 2)]),
    ):
        said, noticed, strangers = (_says(name, p) for p in (p_films, np.concatenate(copies), p_others))
        found.append(
            Rates(
                name, int(said.sum()), len(said), int(noticed.sum()), len(noticed),
                int(strangers.sum()), len(strangers),
            )
        )  # fmt: skip
    return found


def said_of(p_films: NDArray[np.float64]) -> dict[str, NDArray[np.intp]]:
    """The films of which something is said, the surest first: to be looked at, many are right."""
    indices = {}
    for name in ("inverted", "on_its_side", "upside_down"):
        chosen = np.flatnonzero(_says(name, p_films))
        indices[name] = chosen[np.argsort(p_films[chosen, 0, 0], kind="stable")]
    return indices


def _says(name: str, p: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.array([getattr(pose_from(each), name) for each in p])
