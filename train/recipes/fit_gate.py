"""Fit the gate (`train.network.gate`), and measure it on hospitals and kinds that it never saw.

In every round one hospital's films, a fifth of the ways in which hospitals make films, and a fifth of the
kinds of other pictures take no part in the fit. What the rounds' gates say of these sets both edges, and is
what the card says: a film that is lost is a film of a hospital that nobody foresaw.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from screen.decide.rates import wilson
from screen.errors import UsageError
from screen.film import Pixels
from screen.preprocess import PreprocessSpec, square_from_pixels
from screen.readers.lookup import full_range_lookup
from train.data.hospitals import KINDS, shown_elsewhere
from train.data.others import Grey
from train.network.compute import CPU, Compute
from train.network.gate import Gate, Learning, small

KIND = "gate"
AS_THEY_COME = "as they come"
MADE_AT_ONCE = "made"
"""The collection of pictures that were made, not found."""
FOLDS = 5
"""Of the ways and of other pictures' kinds."""
FEWEST = 30
"""Films of a hospital that is left out by itself; smaller collections stay in the fit."""
LOSES = 0.005
"""Share of films that the lower edge may lose: of all that are judged, and of each hospital's as they come,
but one of few.
"""
PASSES = 0.005
"""Share of other pictures that pass the upper edge."""
MIXED = 0.25
"""How often another picture is mixed with one more of them: what is neither of the two is no film either."""
_NEXT = 1e-3


@dataclass(frozen=True, slots=True)
class GateSettings:
    """steps: of the optimizer, with batches of `batch_size` pictures, as many of them films as not."""

    steps: int = 3000
    batch_size: int = 96
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Pictures:
    """N pictures to fit and measure with.

    values: float32 [N, 1, s, s], small squares, 0 … 255. chest: bool [N]. groups: str [N], a film's hospital,
    another picture's collection. kinds: str [N], what another picture is: held out together. shown: bool
    [N, len(KINDS)], in which ways a picture was shown. own: str [N], the first of these, or `AS_THEY_COME`.
    """

    values: Tensor
    chest: NDArray[np.bool_]
    groups: NDArray[np.str_]
    kinds: NDArray[np.str_]
    shown: NDArray[np.bool_]
    own: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Given:
    """A picture before it is shown in other ways. group, kind: see `Pictures`; kind is empty for films.

    times: how often it is shown in some way, beside as it comes.
    """

    read: Callable[[], Grey]
    chest: bool
    group: str
    kind: str
    times: int


def pictures_of(given: Sequence[Given], spec: PreprocessSpec, seed: int) -> Pictures:
    """Every picture as it comes and as it is shown elsewhere, in each way as often; no blank ones."""
    lookup, names = full_range_lookup(8), list(KINDS)
    squares, rows = [], []
    turn = 0
    for index, one in enumerate(given):
        values = one.read()
        seen: list[tuple[tuple[str, ...], Grey]] = [((), values)]
        for time in range(one.times):
            shown = shown_elsewhere(values, names[turn % len(names)], (seed, index, time))
            seen.append((shown.kinds, shown.values))
            turn += 1
        for kinds, picture in seen:
            square = square_from_pixels(Pixels(picture, lookup), spec)
            if not square.blank:
                squares.append(small(torch.from_numpy(square.values[None, None]))[0].numpy())
                rows.append((one, kinds))
    return Pictures(
        values=torch.from_numpy(np.stack(squares)),
        chest=np.array([one.chest for one, _ in rows]),
        groups=np.array([one.group for one, _ in rows]),
        kinds=np.array([one.kind for one, _ in rows]),
        shown=np.array([[name in kinds for name in names] for _, kinds in rows]),
        own=np.array([kinds[0] if kinds else AS_THEY_COME for _, kinds in rows]),
    )


def shares(pictures: Pictures, training: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How often each picture is drawn, [N]: films as often as others, of both sides large groups less than
    their number says. Made pictures are half of the others.
    """
    drawn = np.zeros(len(training))
    for chest in (True, False):
        side = training & (pictures.chest == chest)
        names = pictures.groups if chest else pictures.kinds
        for name in np.unique(names[side]):
            of_it = side & (names == name)
            drawn[of_it] = 1 / math.sqrt(of_it.sum())
        made = side & (pictures.groups == MADE_AT_ONCE)
        found = side & ~made
        for part in (made, found):
            if made.any() and found.any():
                drawn[part] /= drawn[part].sum()
        drawn[side] /= 2 * drawn[side].sum()
    return drawn


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Small squares [B, 1, s, s], 0 … 1 -> as other films of the same kind might be: moved, scaled, turned a
    little or lying otherwise, exposed otherwise, with things on them.
    """
    count, side = len(x), x.shape[-1]

    def u(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    lying = (u(count) * 20).long()
    x = torch.stack([_lying(one, int(pose)) for one, pose in zip(x, lying, strict=True)])
    angle = (u(count) - 0.5) * math.radians(24)
    scale = torch.exp(0.3 - 0.9 * u(count))
    aspect = torch.exp((u(count) - 0.5) * 0.5)
    shift = (u(count, 2) - 0.5) * 0.7
    cos, sin = angle.cos(), angle.sin()
    rows = [
        torch.stack([cos * scale * aspect, -sin * scale, shift[:, 0]], 1),
        torch.stack([sin * scale, cos * scale / aspect, shift[:, 1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, align_corners=False)
    x = x.clamp(1e-3, 1) ** torch.exp((u(count, 1, 1, 1) - 0.5) * 1.2)
    x = (x - 0.5) * (1 + (u(count, 1, 1, 1) - 0.5) * 0.6) + 0.5 + (u(count, 1, 1, 1) - 0.5) * 0.3
    x = x + torch.randn(x.shape, generator=generator) * 0.06 * u(count, 1, 1, 1)
    x = torch.where(u(count, 1, 1, 1) < 0.25, 1 - x, x)
    places = torch.arange(side)
    for _ in range(2):
        on = []
        for _axis in range(2):
            start, length = (u(count) * side).long(), 2 + (u(count) * side / 3).long()
            on.append((places >= start[:, None]) & (places < (start + length)[:, None]))
        box = (on[0][:, :, None] & on[1][:, None, :] & (u(count, 1, 1) < 0.35))[:, None]
        grey = u(count, 1, 1, 1)
        x = torch.where(box, torch.where(u(count, 1, 1, 1) < 0.6, grey.round(), grey), x)
    return x.clamp(0, 1)


def _lying(film: Tensor, pose: int) -> Tensor:
    """[1, s, s] in one of eight ways; above 7 as it is."""
    if pose > 7:
        return film
    turned = torch.rot90(film, pose % 4, (1, 2))
    return turned.flip(2) if pose > 3 else turned


def mixed(x: Tensor, chest: NDArray[np.bool_], generator: torch.Generator) -> Tensor:
    """Squares [B, 1, s, s] of a batch, some of the others [B] with a second one shining through."""
    others = torch.from_numpy(np.flatnonzero(~chest))
    second = others[torch.randperm(len(others), generator=generator)]
    through = 0.3 + 0.4 * torch.rand(len(others), 1, 1, 1, generator=generator)
    through *= torch.rand(len(others), 1, 1, 1, generator=generator) < MIXED
    return x.index_copy(0, others, torch.lerp(x[others], x[second], through))


def fit_gate(
    pictures: Pictures, training: NDArray[np.bool_], settings: GateSettings, compute: Compute = CPU
) -> Gate:
    """A gate without edges. training: mask [N] of the pictures to learn from."""
    if not (training & pictures.chest).any() or not (training & ~pictures.chest).any():
        raise UsageError("a gate learns from chest films and from other pictures: give both")
    generator = torch.Generator().manual_seed(settings.seed)
    draws = np.random.default_rng(settings.seed)
    drawn = shares(pictures, training)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network = Learning()
        convert_conv2d_weight_memory_format(network, torch.channels_last)
        optimizer = torch.optim.AdamW(
            network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        for step in range(settings.steps):
            rate = min(1, step / 100) * (0.5 + 0.5 * math.cos(math.pi * step / settings.steps))
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate
            batch = draws.choice(len(drawn), settings.batch_size, p=drawn)
            chest = pictures.chest[batch]
            x = augmented(mixed(pictures.values[batch] / 255, chest, generator), generator)
            # Never quite sure: some pictures lie on the wrong side.
            wanted = torch.from_numpy(chest.astype(np.float32)) * 0.98 + 0.01
            with compute.autocast():
                judged = network(x.contiguous(memory_format=torch.channels_last))
            loss = F.binary_cross_entropy_with_logits(judged.float(), wanted)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return network.eval().learned()


@torch.inference_mode()
def scores_of(gate: Gate, values: Tensor) -> NDArray[np.float32]:
    """float32 [N, 1, s, s] -> [N]."""
    parts = [gate.judged(gate.of_small(values[at : at + 512])) for at in range(0, len(values), 512)]
    return torch.cat(parts).numpy()


@dataclass(frozen=True, slots=True)
class Round:
    """training, judged: masks [N] of the pictures that a gate is fitted on, and of those that it judges."""

    name: str
    training: NDArray[np.bool_]
    judged: NDArray[np.bool_]


def rounds(pictures: Pictures) -> Iterator[Round]:
    """A hospital, a fifth of the ways and a fifth of other pictures' kinds, until each was left out.

    With a single hospital there is nobody to leave out: then its films are judged in no round.
    """
    chest, ways = pictures.chest, np.array(list(KINDS))
    names, counts = np.unique(pictures.groups[chest & (pictures.own == AS_THEY_COME)], return_counts=True)
    hospitals = names[counts >= FEWEST].tolist()
    kinds = np.unique(pictures.kinds[~chest]).tolist()
    of_kind = {name: index % FOLDS for index, name in enumerate(kinds)}
    folds = np.array([of_kind.get(name, -1) for name in pictures.kinds.tolist()])
    left_out = hospitals if len(hospitals) > 1 else [None]
    for at in range(max(len(left_out), FOLDS)):
        hospital = left_out[at % len(left_out)]
        of_hospital = chest & (pictures.groups == hospital) if hospital is not None else ~chest & chest
        unknown = np.arange(len(ways)) % FOLDS == at % FOLDS
        with_unknown = pictures.shown[:, unknown].any(1)
        own_unknown = np.isin(pictures.own, [AS_THEY_COME, *ways[unknown]])
        others = ~chest & (folds == at % FOLDS)
        yield Round(
            f"{hospital if hospital is not None else 'all'}-{at % FOLDS}",
            (chest & ~of_hospital & ~with_unknown) | (~chest & ~others),
            (of_hospital & own_unknown) | others,
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """What gates said of pictures that they did not know: of picture `at` [M] the score [M]."""

    at: NDArray[np.intp]
    scores: NDArray[np.float32]


def edges(pictures: Pictures, judged: Judged) -> tuple[float, float]:
    """The lower loses `LOSES`, see there; `PASSES` of other pictures pass the upper."""
    chest, groups = pictures.chest[judged.at], pictures.groups[judged.at]
    if not chest.any():
        raise UsageError(
            f"the gate's edges need films of two hospitals at least, {FEWEST} of each: name more tables"
        )
    plain = pictures.own[judged.at] == AS_THEY_COME
    kept = []
    for mask in (chest, *(chest & plain & (groups == name) for name in np.unique(groups[chest]))):
        # A film as it comes may be judged in several rounds.
        films, scores = len(np.unique(judged.at[mask])), np.sort(judged.scores[mask])
        kept.append(scores[int(max(1 / films, LOSES) * len(scores))])
    # Just below the first that is not lost.
    low, high = float(min(kept)) - _NEXT, float(np.quantile(judged.scores[~chest], 1 - PASSES))
    return low, max(high, low + _NEXT)


def figures(pictures: Pictures, judged: Judged, low: float, high: float) -> dict[str, Any]:
    """For the model's card: of each hospital's films by the way that they were shown in, and of each
    collection of other pictures, how many were judged, turned away and doubtful; shares with Wilson's 95 %.
    """
    chest, scores = pictures.chest[judged.at], judged.scores
    groups, own, kinds = (names[judged.at] for names in (pictures.groups, pictures.own, pictures.kinds))

    def of(mask: NDArray[np.bool_]) -> dict[str, Any]:
        away = int((scores[mask] <= low).sum())
        doubtful = int((scores[mask] <= high).sum()) - away
        count = int(mask.sum())
        interval = list(wilson(away, count))
        return {"judged": count, "turned_away": away, "doubtful": doubtful, "interval": interval}

    plain = own == AS_THEY_COME
    made = ~chest & plain & (groups == MADE_AT_ONCE)
    return {
        "films": of(chest),
        "films_by_hospital": {
            name: {way: of(mask) for way in (AS_THEY_COME, *KINDS) if (mask := ours & (own == way)).any()}
            for name in np.unique(groups[chest]).tolist()
            for ours in [chest & (groups == name)]
        },
        "others": {
            name: of(~chest & plain & (groups == name)) for name in np.unique(groups[~chest]).tolist()
        },
        "others_shown_elsewhere": of(~chest & ~plain),
        "made": {name: of(made & (kinds == name)) for name in np.unique(kinds[made]).tolist()},
    }
