"""`abnormal` as a second finding: a head of its own on what a classifier sees already.

Fitted at once (`train.network.head`): the cells that look for the first finding stay, and what the whole film
adds is another. So the first finding's scores are what they were, and the heat map shows where something is.
(A head of its own for the cells is worth no more, and its map shows the same places on all films.)
"""

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from screen.errors import UsageError
from screen.files import csv_file, whole_file
from train.data.films import LabelledFilms
from train.data.folds import Split
from train.data.readers import ABNORMAL
from train.measure.predictions import PREDICTION_COLUMNS
from train.network.checkpoint import load_checkpoint, under
from train.network.features import Features, features_of, with_film
from train.network.head import fit_film
from train.network.resnet import ResNet18, round_to_storage
from train.progress import Progress, quiet
from train.recipes.crossfit import fold_rule, judged_patients

PREDICTIONS = "abnormal.csv"
SHRINKAGE = 300.0
_FOLD = re.compile(r"fold(\d+)-seed(\d+)")


def learnable(films: LabelledFilms) -> NDArray[np.bool_]:
    """Mask [N] of the films with a label, from sources with films of both kinds: others' tell their look."""
    known = ~np.isnan(films.abnormal)
    both = [
        source
        for source in np.unique(films.sources[known])
        if len(np.unique(films.abnormal[known & (films.sources == source)])) == 2
    ]
    return known & np.isin(films.sources, both)


def with_abnormal(
    network: ResNet18, films: LabelledFilms, learned: NDArray[np.bool_], seen: Features
) -> ResNet18:
    """The network of one finding with this one beside it, rounded as it will be stored.

    learned: mask [N] of the films to learn from, all `learnable`. seen: what the network makes of the films.
    """
    if len(np.unique(films.abnormal[learned])) < 2:
        raise UsageError(f"no source of the table has films with and without '{ABNORMAL}' to learn from")
    with torch.inference_mode():
        whole = network.film(torch.from_numpy(seen.embedding)) + network.fc.bias
    weights, bias = fit_film(
        seen.logits[:, 0] - whole[:, 0].numpy(),
        seen.embedding,
        films.abnormal,
        films.sources,
        learned.astype(np.float64),
        SHRINKAGE,
    )
    both = ResNet18(num_classes=2)
    own = {
        "fc.weight": network.fc.weight,
        "fc.bias": torch.tensor([bias]),
        "film.weight": torch.from_numpy(weights)[None],
    }
    state = network.state_dict()
    both.load_state_dict(state | {name: torch.cat([state[name], row.float()]) for name, row in own.items()})
    round_to_storage(both)
    return both


@torch.inference_mode()
def both_of(seen: Features, network: ResNet18) -> Features:
    """What `with_abnormal`'s network makes of films, from what that of one finding made of them."""
    whole = network.film(torch.from_numpy(seen.embedding))[:, :, None, None]
    cells = torch.from_numpy(seen.evidence) - whole[:, :1]
    evidence = cells + whole
    return replace(seen, logits=network.pool(evidence).numpy(), evidence=evidence.numpy())


def _without_film(network: ResNet18) -> ResNet18:
    """Its cells alone, as `with_film` asks for."""
    bare = copy.deepcopy(network)
    torch.nn.init.zeros_(bare.film.weight)
    return bare


def _alike(network: ResNet18, bare: ResNet18) -> bool:
    """They differ in `film` and the bias alone: where the head alone was fitted, all folds' networks do."""
    other = bare.state_dict()
    return all(
        torch.equal(value, other[name])
        for name, value in network.state_dict().items()
        if name not in ("film.weight", "fc.bias")
    )


def judge_out_of_fold(
    films: LabelledFilms, folder: Path, split_seed: int, progress: Callable[[str], Progress] = lambda _: quiet
) -> Path:
    """Write `folder`/abnormal.csv: what each fold's network, with a head of the others' labels, says.

    folder: of `crossvalidate`, with the same table and seed. Films of sources that have the first finding
    are judged: those that the model is for. Raises UsageError if no fold's checkpoint is there.
    """
    known, rows = learnable(films), []
    judged = judged_patients(films)
    bare: ResNet18 | None = None
    for path in sorted(folder.glob("fold*-seed*.safetensors")):
        named = _FOLD.fullmatch(path.stem)
        if named is None:
            continue
        fold, seed = map(int, named.groups())
        tensors, about = load_checkpoint(path)
        settings = about["settings"]
        if settings["stages"][-1][1] != films.values.shape[-1]:
            raise UsageError(f"{path} is for squares of {settings['stages'][-1][1]} pixels")
        division = seed if settings["head_alone"] else split_seed
        divided = films.divided(fold_rule(division, fold, about["label_share"], judged))
        network = ResNet18()
        network.load_state_dict(under(tensors, "network."))
        if bare is None or not _alike(network, bare):
            bare = _without_film(network)
            judge = progress(f"{path.stem} over films")
            of_bare = features_of(bare, films.values, settings["mean"], settings["std"], judge)
        seen = with_film(of_bare, network)
        network = with_abnormal(network, films, divided.of(Split.TRAIN) & known, seen)
        held_out = np.flatnonzero(divided.of(Split.TEST) & known & films.scorable())
        logits = both_of(seen, network).logits[held_out, 1]
        rows += [
            [films.files[film], films.patients[film], fold, seed, f"{logit:.6f}", "", ""]
            for film, logit in zip(held_out, logits, strict=True)
        ]
    if not rows:
        raise UsageError(f"{folder} holds no checkpoint foldN-seedM: name the folder of `crossvalidate`")
    out = folder / PREDICTIONS
    with csv_file(out, PREDICTION_COLUMNS, whole_file) as writer:
        writer.writerows(rows)
    return out
