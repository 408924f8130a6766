"""The gate: a chest film, sick or well and however it lies, against everything else.

Two parts look at the same features (early and middle maps, coarsely pooled), and a picture has to pass both.
The distance from chest films turns away what is like nothing known, a ramp or a test pattern; small networks
that were shown other pictures turn away what is much like a film and is none, a lateral view or a detail.
Each alone lets through what the other stops (docs/decisions/gate.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from screen.decide.rates import wilson
from screen.film import Pixels
from screen.preprocess import Geometry, PreprocessSpec, square_from_pixels
from screen.readers.lookup import full_range_lookup
from train.data.others import Other
from train.data.squares import Squares
from train.network.gaussian import Gaussian

HIDDEN = 48
NETWORKS = 4
"""Whose mean counts: alone, each passes other pictures that it was not shown (docs/decisions/gate.md)."""
DIRECTIONS = 48
SHRINKAGE = 0.1
LOSES = 0.0025
"""Share of held-out chest films, upright or not, that each of the two parts may lose: 0.5 % in all."""
MADE = 3600
"""Pictures that are made for it, at most: no more than there are films."""
FOLDS = 5
_EPOCHS = 25
_BATCH = 256

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Others:
    """Pictures that are no chest film.

    values: uint8 [M, S, S]. kinds: str [M]: held out together where the gate is measured. collections: str
    [M]: `made`, or where they were found.
    """

    values: NDArray[np.uint8]
    kinds: NDArray[np.str_]
    collections: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Gate:
    """min(bias − scale · sqrt(mean(((f − mean) @ whiten)²)), relu((f − mean) @ hidden + hidden_bias) @ head +
    head_bias): above 0 is a chest film, 1 is what half of them reach in either part.

    float32: mean [D], whiten [D, k], hidden [D, H], hidden_bias and head [H].
    """

    mean: Floats
    whiten: Floats
    scale: float
    bias: float
    hidden: Floats
    hidden_bias: Floats
    head: Floats
    head_bias: float

    def parts(self, features: Floats) -> Floats:
        """[N, D] -> [N, 2]: the distance's part, and the network's."""
        centred = features - self.mean
        distance = np.sqrt(np.square(centred @ self.whiten).mean(1))
        judged = np.maximum(centred @ self.hidden + self.hidden_bias, 0) @ self.head
        return np.stack([self.bias - self.scale * distance, judged + self.head_bias], 1)

    def score(self, features: Floats) -> Floats:
        """[N, D] -> [N]."""
        return np.asarray(self.parts(features).min(1))

    def with_edges(self, chest: Sequence[Floats]) -> "Gate":
        """Each part shifted and scaled so that 0 loses `LOSES` of the group that loses most.

        chest: features of groups of chest films that neither part was fitted on.
        """
        parts = [self.parts(features) for features in chest]
        edge = np.min([np.quantile(values, LOSES, axis=0) for values in parts], axis=0)
        unit = np.maximum(np.median(np.concatenate(parts), axis=0) - edge, 1e-6)
        return Gate(
            self.mean,
            self.whiten,
            float(self.scale / unit[0]),
            float((self.bias - edge[0]) / unit[0]),
            self.hidden,
            self.hidden_bias,
            (self.head / unit[1]).astype(np.float32),
            float((self.head_bias - edge[1]) / unit[1]),
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """As the model's checkpoint names them."""
        names = ("mean", "whiten", "scale", "bias", "hidden", "hidden_bias", "head", "head_bias")
        return {f"gate.{name}": torch.as_tensor(np.float32(getattr(self, name))) for name in names}


def collected_others(
    found: Sequence[tuple[str, Squares]], made: Sequence[Other], spec: PreprocessSpec
) -> Others:
    """Pictures that were found, by the name of their collection, and their mirror images; and made ones.

    A collection in several folders has a kind in each; else every picture is a kind of its own.
    """
    lookup = full_range_lookup(8)
    squares = [square_from_pixels(Pixels(other.values, lookup), spec).values for other in made]
    kinds, collections = [other.kind for other in made], ["made"] * len(made)
    for name, pictures in found:
        folders = [key.rpartition("/")[0] for key in pictures.keys]
        kinds_of_it = folders if len(set(folders)) > 1 else pictures.keys
        for values, kind in zip(pictures.values, kinds_of_it, strict=True):
            squares += [values, values[:, ::-1]]
            kinds += [kind] * 2
            collections += [name] * 2
    return Others(np.stack(squares), np.array(kinds), np.array(collections))


def in_another_pose(squares: NDArray[np.uint8], geometry: Sequence[Geometry], seed: int) -> NDArray[np.uint8]:
    """uint8 [N, S, S] -> the same films turned, inverted or both: each in one of the seven poses."""
    rng = np.random.default_rng(seed)
    posed = []
    for values, place, pose in zip(squares, geometry, rng.integers(1, 8, len(squares)), strict=True):
        film = values.copy()
        if pose >= 4:
            box = np.s_[
                place.top : place.top + place.content_height, place.left : place.left + place.content_width
            ]
            film[box] = 255 - film[box]
        posed.append(np.rot90(film, int(pose) % 4))
    return np.stack(posed)


def gaussian_of(chest: Floats) -> Gaussian:
    """Of chest films' features [N, D]."""
    return Gaussian.fit(chest, SHRINKAGE)


def fit_gate(
    gaussian: Gaussian, chest: Floats, others: Floats, collections: NDArray[np.str_], seed: int
) -> Gate:
    """Features [N, D] of chest films and [M, D] of other pictures -> a gate without edges.

    gaussian: of the chest films. Made pictures count as much together as all that were found, and every
    collection of these alike.
    """
    share = np.where(collections == "made", 0.5 / max(1, int((collections == "made").sum())), 0.0)
    found = sorted(set(collections.tolist()) - {"made"})
    for name in found:
        of_it = collections == name
        share[of_it] = 0.5 / len(found) / of_it.sum()
    networks = [_fit_network(gaussian.mean, chest, others, share, seed + i) for i in range(NETWORKS)]
    hidden, hidden_bias, head, head_bias = zip(*networks, strict=True)
    return Gate(
        gaussian.mean,
        _telling_directions(gaussian, others, seed),
        1.0,
        0.0,
        np.concatenate(hidden, axis=1),
        np.concatenate(hidden_bias),
        (np.concatenate(head) / NETWORKS).astype(np.float32),
        sum(head_bias) / NETWORKS,
    )


def _telling_directions(gaussian: Gaussian, others: Floats, seed: int) -> Floats:
    """[D, k] of the whitening: the directions in which other pictures lie farthest from chest films.

    The distance in all of them would tell no better and take four times the parameters.
    """
    z = (others - gaussian.mean) @ gaussian.whiten
    # Each picture by its direction alone: a few lie so far out that they would be all that counts.
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    count = min(DIRECTIONS, len(z))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        directions = torch.svd_lowrank(torch.from_numpy(z), q=min(2 * count, *z.shape), niter=4)[2]
    return np.asarray(gaussian.whiten @ directions[:, :count].numpy())


def _fit_network(
    mean: Floats, chest: Floats, others: Floats, share: NDArray[np.float64], seed: int
) -> tuple[Floats, Floats, Floats, float]:
    """One hidden layer by cross-entropy; chest films and other pictures count alike, the latter by share."""
    deviation = chest.std(0) + 1e-6
    x = torch.from_numpy((np.concatenate([chest, others]) - mean) / deviation)
    y = torch.cat([torch.ones(len(chest)), torch.zeros(len(others))])
    weight = torch.from_numpy(np.concatenate([np.full(len(chest), 1 / len(chest)), share]) * len(x) / 2)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        first, last = nn.Linear(x.shape[1], HIDDEN), nn.Linear(HIDDEN, 1)
        network = nn.Sequential(nn.Dropout(0.2), first, nn.ReLU(), nn.Dropout(0.3), last)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
        for _ in range(_EPOCHS):
            order = torch.randperm(len(x), generator=generator)
            for first_one in range(0, len(x), _BATCH):
                chosen = order[first_one : first_one + _BATCH]
                loss = F.binary_cross_entropy_with_logits(
                    network(x[chosen])[:, 0], y[chosen], weight[chosen].float()
                )
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
    weights = first.weight.detach().numpy() / deviation
    return weights.T.copy(), first.bias.detach().numpy(), last.weight.detach().numpy()[0], last.bias.item()


def passed(scores: Floats, labels: NDArray[np.str_]) -> dict[str, dict[str, Any]]:
    """What a gate lets pass of each group [N], with Wilson's 95 % interval: for the model's card."""
    found = {}
    for label in sorted(set(labels.tolist())):
        of_it = labels == label
        count, pictures = int((scores[of_it] > 0).sum()), int(of_it.sum())
        interval = list(wilson(count, pictures))
        found[label] = {"passed": count, "pictures": pictures, "interval": interval}
    return found


def unknown_kinds(
    gaussian: Gaussian,
    training: Floats,
    held_out: Sequence[Floats],
    others: Floats,
    about: Others,
    seed: int,
) -> Floats:
    """[M]: every other picture's score from a gate that was fitted without its kind.

    gaussian, training: of chest films to fit on; held_out: groups that set the edges.
    """
    names = sorted(set(about.kinds.tolist()))
    folds = np.array([names.index(kind) % FOLDS for kind in about.kinds])
    scores = np.empty(len(others), np.float32)
    for fold in range(FOLDS):
        known = folds != fold
        gate = fit_gate(gaussian, training, others[known], about.collections[known], seed)
        scores[~known] = gate.with_edges(held_out).score(others[~known])
    return scores
