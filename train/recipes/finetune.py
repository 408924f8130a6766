"""Fine-tuning for one finding with few labels: focal loss, balanced sampling, progressive unfreezing; or of
the head alone.
"""

import copy
import csv
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from screen.errors import UsageError
from screen.evaluation.metrics import auc, within_source_auc
from train.data.augment import plain, standardise
from train.data.films import LabelledFilms
from train.data.folds import Split
from train.network import losses
from train.network.checkpoint import (
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    under,
)
from train.network.compute import CPU, Compute, learning_rate
from train.network.features import Features, features_of
from train.network.head import fit_film
from train.network.resnet import EMBEDDING_SIZE, ResNet18, load_encoder, round_to_storage
from train.recipes.batches import Batch, Batches, label_weights, learned_from
from train.recipes.settings import FinetuneSettings

KIND = "classifier"
CELLS = "cells."
"""Before the names of a head, in an encoder's weights, that finds lesions in the last map."""


def finetune(
    films: LabelledFilms,
    settings: FinetuneSettings,
    encoder: dict[str, Tensor] | None,
    checkpoint: Path,
    about: dict[str, Any],
    report: Callable[[str], None],
    compute: Compute = CPU,
    seen: Features | None = None,
) -> None:
    """Learns from the training split, looks at the validation split, never at the test split.

    Without validation films the figures that are reported are NaN.

    encoder: weights to begin with, by `ResNet18`'s names, and `cells.*`, a head that finds lesions in the
    last map, if pre-training had one; None begins from random ones. The checkpoint holds under `network.`
    what is kept, rounded as it will be stored. seen: what `seen_by` gave for these films, if it is known.
    """
    if encoder is not None and fits_head(films, settings):
        _fit_head(films, settings, encoder, checkpoint, about, report, compute, seen)
    elif settings.head_alone:
        raise UsageError("the head alone can be fitted on a pre-trained network only: --weights CHECKPOINT")
    else:
        _train_layers(films, settings, encoder, checkpoint, about, report, compute)


def fits_head(films: LabelledFilms, settings: FinetuneSettings) -> bool:
    """Of a pre-trained network the head alone: as asked for, or because few films have the finding."""
    positives = int((films.labels[learned_from(films, settings) & films.scorable()] == 1).sum())
    return settings.head_alone or positives < settings.few


def seen_by(
    encoder: Mapping[str, Tensor], films: LabelledFilms, settings: FinetuneSettings, compute: Compute = CPU
) -> Features:
    """What the network of pre-training, as it will be stored, makes of all films; see `finetune`."""
    network = _begun(encoder).to(compute.device)
    return features_of(network, films.values, settings.mean, settings.std)


def _fit_head(
    films: LabelledFilms,
    settings: FinetuneSettings,
    encoder: Mapping[str, Tensor],
    checkpoint: Path,
    about: dict[str, Any],
    report: Callable[[str], None],
    compute: Compute,
    seen: Features | None,
) -> None:
    """The same labels give the same head, so there is nothing to resume."""
    _earlier(checkpoint, settings)
    seen = seen or seen_by(encoder, films, settings, compute)
    weights = label_weights(films, settings)
    film, bias = fit_film(
        seen.logits[:, 0], seen.embedding, films.labels, films.sources, weights, settings.shrinkage
    )
    network = _begun(encoder)
    with torch.no_grad():
        network.film.weight[0] = torch.from_numpy(film)
        network.fc.bias.add_(bias)
    round_to_storage(network)
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    size = settings.stages[-1][1]
    within, pooled = _validate(network.to(compute.device), films, size, settings)
    save_checkpoint(
        checkpoint, tensors, {**about, "kind": KIND, "epoch": 0, "settings": _plain_settings(settings)}
    )
    report(
        f"head fitted on {np.count_nonzero(weights)} films, the network left as it is: "
        f"{_judged(within, pooled)}"
    )


def _judged(within: float, pooled: float) -> str:
    if math.isnan(pooled):
        return "no films held back to validate on"
    return f"validation AUC within source {within:.3f}, pooled {pooled:.3f}"


def _begun(encoder: Mapping[str, Tensor]) -> ResNet18:
    network = ResNet18()
    begin_with(network, encoder)
    round_to_storage(network)
    return network


def _train_layers(
    films: LabelledFilms,
    settings: FinetuneSettings,
    encoder: dict[str, Tensor] | None,
    checkpoint: Path,
    about: dict[str, Any],
    report: Callable[[str], None],
    compute: Compute,
) -> None:
    """Looks at the validation split after every epoch.

    The checkpoint holds the network to go on with and its optimizer too; what is kept is part of the way to
    the averaged network. `NAME.csv` has a line an epoch.
    """
    device = compute.device
    torch.manual_seed(settings.seed)
    network = ResNet18().to(device)
    begin_with(network, encoder or {})
    convert_conv2d_weight_memory_format(network, torch.channels_last)
    start, way = copy.deepcopy(network), settings.way if encoder is not None else 1.0
    batches = Batches(films, settings)
    if settings.whole:
        # From zero it would ask nothing of the layers below.
        network.film.reset_parameters()
    heads = Heads(len(films.side_findings), settings.whole).to(device)
    averaged = copy.deepcopy(network)
    plan = [
        (size, len(_parts(network)) if encoder is None else parts)
        for epochs, size, parts in settings.stages
        for _ in range(epochs)
    ]
    groups = [
        *_groups(network, settings),
        {"params": [heads.side_weight, heads.side_bias], "share": 1.0},
        # Two numbers with a long way to go.
        {"params": [heads.scale, heads.offset], "share": 30.0, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, settings.learning_rate, weight_decay=settings.weight_decay)
    first_epoch = 0
    # Without an epoch it is a head that was fitted when labels were fewer: there is nothing to go on with.
    if (earlier := _earlier(checkpoint, settings)) and earlier[1]["epoch"]:
        tensors, old = earlier
        network.load_state_dict(under(tensors, "training."))
        averaged.load_state_dict(under(tensors, "averaged."))
        heads.load_state_dict(under(tensors, "heads."))
        restore_optimizer(optimizer, tensors)
        first_epoch = int(old["epoch"])
        report(f"resumed after epoch {first_epoch}")
    per_epoch = batches.steps()
    steps_taken = first_epoch * per_epoch
    for epoch in range(first_epoch, len(plan)):
        size, parts = plan[epoch]
        started = time.monotonic()
        _unfreeze(network, parts)
        loss_sum = 0.0
        for batch in batches.of_epoch(epoch, per_epoch, size, device):
            rate = learning_rate(steps_taken, len(plan) * per_epoch, per_epoch // 2, settings.learning_rate)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            with compute.autocast():
                last_map = network.last_map(standardise(batch.x, settings.mean, settings.std))
            loss = heads.loss(network, last_map.float(), batch, settings)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            steps_taken += 1
            # The average must forget the random start first.
            _average(averaged, network, min(settings.average, (1 + steps_taken) / (10 + steps_taken)))
            loss_sum += loss.item()
        seconds = time.monotonic() - started
        final = copy.deepcopy(start)
        _average(final, averaged, 1 - way)
        round_to_storage(final)
        measured = _validate(final, films, size, settings)
        tensors = {f"network.{name}": value for name, value in final.state_dict().items()}
        tensors |= {f"training.{name}": value for name, value in network.state_dict().items()}
        tensors |= {f"averaged.{name}": value for name, value in averaged.state_dict().items()}
        tensors |= {f"heads.{name}": value for name, value in heads.state_dict().items()}
        tensors |= optimizer_tensors(optimizer)
        save_checkpoint(
            checkpoint,
            tensors,
            {**about, "kind": KIND, "epoch": epoch + 1, "settings": _plain_settings(settings)},
        )
        films_per_second = per_epoch * settings.batch_size / seconds
        _log(checkpoint, epoch, [size, parts, loss_sum / per_epoch, *measured, films_per_second])
        report(
            f"epoch {epoch + 1}/{len(plan)} ({size} px, {parts} parts): loss {loss_sum / per_epoch:.4f}, "
            f"{_judged(*measured)}, "
            f"{films_per_second:.1f} films/s"
        )


def encoder_in(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `finetune` begins with, of a checkpoint of `pretrain`: the encoder, and its head if that finds
    lesions in single cells; a projector is left. Of a classifier the encoder and its cells.
    """
    head = under(tensors, "method.head.")
    if head.keys() != {"weight", "bias"} or head["weight"].ndim != 4:
        head = {}
    if not under(tensors, "method."):
        cells = under(tensors, "network.fc.")
        head = {"weight": cells["weight"][:1, :, None, None], "bias": cells["bias"][:1]}
    return under(tensors, "network.") | {f"{CELLS}{name}": value for name, value in head.items()}


def begin_with(network: ResNet18, encoder: Mapping[str, Tensor]) -> None:
    """Load an encoder, see `finetune`, if there is one; the head is that of its cells, or knows nothing."""
    nn.init.zeros_(network.fc.weight)
    nn.init.zeros_(network.film.weight)
    nn.init.constant_(network.fc.bias, -3)  # few cells hold a lesion
    if encoder:
        load_encoder(network, {k: v for k, v in encoder.items() if not k.startswith(CELLS)})
    if cells := under(encoder, CELLS):
        network.fc.load_state_dict({"weight": cells["weight"].flatten(1), "bias": cells["bias"]})


class Heads(nn.Module):
    """What training needs on top of the network, and what nobody ships: the side findings, and the line from
    the network's logit to that of a film among as many with the finding as without.

    whole: films are judged as a whole as well.
    """

    def __init__(self, side_findings: int, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.side_weight = nn.Parameter(torch.zeros(side_findings, EMBEDDING_SIZE))
        self.side_bias = nn.Parameter(torch.zeros(side_findings))
        self.scale = nn.Parameter(torch.ones(()))
        self.offset = nn.Parameter(torch.tensor(3.0))

    def loss(self, network: ResNet18, last_map: Tensor, batch: Batch, settings: FinetuneSettings) -> Tensor:
        """Of films, and of single cells. last_map: float32 [B + P, 512, h, w]."""
        films = len(batch.targets)
        cell_logits = network.cells(last_map)
        embedding = last_map[:films].mean((2, 3))
        by_cells = network.pool(cell_logits[:films]) * self.scale + self.offset
        judged = [by_cells]
        if self.whole:
            by_whole = network.film(embedding) * self.scale
            judged += [by_whole, by_cells + by_whole]
        total = last_map.new_zeros(())
        for logits in judged:
            total = total + losses.focal(logits, batch.targets[:, :1], settings.gamma)
        side = F.linear(embedding, self.side_weight, self.side_bias)
        total = total + settings.side * losses.focal(side, batch.targets[:, 1:], settings.gamma)
        if settings.cells:
            known = ~batch.cells.isnan()
            cells = cell_logits[:, 0].flatten(1) + network.fc.bias[0]
            found = F.binary_cross_entropy_with_logits(cells[known], batch.cells[known])
            total = total + settings.cells * found
        return total


@torch.inference_mode()
def predict(
    network: ResNet18, squares: NDArray[np.uint8], size: int, mean: float, std: float
) -> NDArray[np.float32]:
    """uint8 [N, S, S] -> logits float32 [N, K], without augmentation."""
    network.eval()
    device = next(network.parameters()).device
    parts = [
        network(standardise(plain(torch.from_numpy(squares[i : i + 64].copy()).to(device), size), mean, std))
        for i in range(0, len(squares), 64)
    ]
    return torch.cat(parts).cpu().numpy()


def _earlier(checkpoint: Path, settings: FinetuneSettings) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What is there under that name; UsageError if it is of another recipe."""
    if not checkpoint.with_name(checkpoint.name + ".json").is_file():
        return None
    tensors, about = load_checkpoint(checkpoint)
    if about["kind"] != KIND or about["settings"] != _plain_settings(settings):
        raise UsageError(f"{checkpoint} is a checkpoint of other settings: choose another name or remove it")
    return tensors, about


def _plain_settings(settings: FinetuneSettings) -> dict[str, Any]:
    """As JSON gives it back."""
    return {**asdict(settings), "stages": [list(stage) for stage in settings.stages]}


def _parts(network: ResNet18) -> list[list[nn.Module]]:
    stem: list[nn.Module] = [network.layer1, network.conv1, network.bn1]
    return [[network.fc, network.film], [network.layer4], [network.layer3], [network.layer2], stem]


def _groups(network: ResNet18, settings: FinetuneSettings) -> list[dict[str, Any]]:
    return [
        {
            "params": [p for module in modules for p in module.parameters()],
            "share": settings.decay**depth,
            "lr": settings.learning_rate,
        }
        for depth, modules in enumerate(_parts(network))
    ]


def _unfreeze(network: ResNet18, parts: int) -> None:
    """The uppermost parts learn; the others keep weights and BatchNorm statistics."""
    network.train()
    for depth, modules in enumerate(_parts(network)):
        for module in modules:
            module.requires_grad_(depth < parts)
            if depth >= parts:
                module.eval()


@torch.no_grad()
def _average(averaged: ResNet18, network: ResNet18, keep: float) -> None:
    pairs = zip(averaged.state_dict().values(), network.state_dict().values(), strict=True)
    for old, new in pairs:
        if old.is_floating_point():
            old.lerp_(new, 1 - keep)
        else:
            old.copy_(new)


def _validate(network: ResNet18, films: LabelledFilms, size: int, settings: FinetuneSettings) -> list[float]:
    """At the size that is being trained: a network is not worth much at another one."""
    chosen = np.flatnonzero(films.of(Split.VALIDATION) & films.scorable())
    if not len(chosen):
        return [float("nan"), float("nan")]
    logits = predict(network, films.values[chosen], size, settings.mean, settings.std)[:, 0]
    labels, sources = films.labels[chosen], films.sources[chosen]
    return [within_source_auc(logits, labels, sources), auc(logits, labels)]


def _log(checkpoint: Path, epoch: int, numbers: list[float]) -> None:
    log = checkpoint.with_name(checkpoint.name + ".csv")
    with log.open("w" if epoch == 0 else "a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if epoch == 0:
            names = "epoch size parts loss within_source_auc pooled_auc films_per_second"
            writer.writerow(names.split())
        writer.writerow([epoch + 1, *(f"{number:.5g}" for number in numbers)])
