"""SimCLR (Chen et al., ICML 2020): two views of one film get the same place, without labels."""

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from screen.errors import UsageError
from train import losses
from train.augment import PRETRAIN, augment
from train.checkpoint import (
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    under,
)
from train.model import EMBEDDING_SIZE, ResNet18

KIND = "simclr"


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """One recipe. size: side of a view, pixels. mean, std: standardisation of 0 … 1."""

    epochs: int = 20
    batch_size: int = 128
    size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    temperature: float = 0.2
    projection: int = 128
    seed: int = 0
    mean: float = 0.5
    std: float = 0.25


class Projection(nn.Module):
    """Two layers (SimCLR's g): what the loss sees, thrown away afterwards."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(EMBEDDING_SIZE, EMBEDDING_SIZE, bias=False),
            nn.BatchNorm1d(EMBEDDING_SIZE),
            nn.ReLU(inplace=True),
            nn.Linear(EMBEDDING_SIZE, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, 512] -> [N, width]."""
        out: Tensor = self.layers(x)
        return out


def learning_rate(step: int, steps: int, warm_up: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to nothing (Loshchilov & Hutter, ICLR 2017)."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def pretrain(
    squares: NDArray[np.uint8],
    settings: PretrainSettings,
    checkpoint: Path,
    provenance: dict[str, object],
    report: Callable[[str], None],
) -> None:
    """squares: uint8 [N, S, S]. Trains, or goes on where `checkpoint` left off; every epoch is saved.

    All random numbers of an epoch come from the seed and its number, so a run that was stopped and resumed
    ends with the same weights as one that was not. Beside the checkpoint, `NAME.csv` has a line an epoch;
    an alignment near 0 with a uniformity near 0 is a collapse.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings.seed)
    network = ResNet18().to(device)
    projection = Projection(settings.projection).to(device)
    parameters = [*network.parameters(), *projection.parameters()]
    optimizer = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)
    first_epoch = _resume(checkpoint, settings, network, projection, optimizer, report)
    per_epoch = len(squares) // settings.batch_size
    if per_epoch == 0:
        raise UsageError(f"{len(squares)} films do not fill a batch of {settings.batch_size}")
    for epoch in range(first_epoch, settings.epochs):
        started = time.monotonic()
        torch.manual_seed(settings.seed * 100_003 + epoch)
        generator = torch.Generator(device).manual_seed(settings.seed * 100_003 + epoch)
        order = np.random.default_rng((settings.seed, epoch)).permutation(len(squares))
        sums = np.zeros(3)
        network.train()
        for index in range(per_epoch):
            chosen = order[index * settings.batch_size : (index + 1) * settings.batch_size]
            films = torch.from_numpy(squares[np.sort(chosen)]).to(device)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(
                    epoch * per_epoch + index,
                    settings.epochs * per_epoch,
                    per_epoch // 2 + 1,
                    settings.learning_rate,
                )
            views = [augment(films, settings.size, PRETRAIN, generator) for _ in range(2)]
            x = ((torch.cat(views) - settings.mean) / settings.std).contiguous(
                memory_format=torch.channels_last
            )
            first, second = projection(network.embed(x)).chunk(2)
            loss = losses.nt_xent(first, second, settings.temperature)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            with torch.no_grad():
                step = loss, losses.alignment(first, second), losses.uniformity(first)
                sums += [value.item() for value in step]
        seconds = time.monotonic() - started
        loss_mean, alignment, uniformity = (sums / per_epoch).tolist()
        _save(checkpoint, settings, network, projection, optimizer, epoch + 1, provenance)
        _log(checkpoint, epoch, loss_mean, alignment, uniformity, per_epoch * settings.batch_size / seconds)
        report(
            f"epoch {epoch + 1}/{settings.epochs}: loss {loss_mean:.4f}, alignment {alignment:.3f}, "
            f"uniformity {uniformity:.3f}, {per_epoch * settings.batch_size / seconds:.1f} films/s"
        )


def _resume(
    checkpoint: Path,
    settings: PretrainSettings,
    network: ResNet18,
    projection: Projection,
    optimizer: torch.optim.Optimizer,
    report: Callable[[str], None],
) -> int:
    """The epoch to begin with."""
    if not checkpoint.with_name(checkpoint.name + ".json").is_file():
        return 0
    tensors, about = load_checkpoint(checkpoint)
    if about["kind"] != KIND or about["settings"] != asdict(settings):
        raise UsageError(f"{checkpoint} is a checkpoint of other settings: choose another name or remove it")
    network.load_state_dict(under(tensors, "network."))
    projection.load_state_dict(under(tensors, "projection."))
    restore_optimizer(optimizer, tensors)
    report(f"resumed after epoch {about['epoch']}")
    return int(about["epoch"])


def _save(
    checkpoint: Path,
    settings: PretrainSettings,
    network: ResNet18,
    projection: Projection,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    provenance: dict[str, object],
) -> None:
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"projection.{name}": value for name, value in projection.state_dict().items()}
    tensors |= optimizer_tensors(optimizer)
    about = {"kind": KIND, "epoch": epoch, "settings": asdict(settings), "provenance": provenance}
    save_checkpoint(checkpoint, tensors, about)


def _log(
    checkpoint: Path, epoch: int, loss: float, alignment: float, uniformity: float, films_per_second: float
) -> None:
    log = checkpoint.with_name(checkpoint.name + ".csv")
    with log.open("w" if epoch == 0 else "a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if epoch == 0:
            writer.writerow(["epoch", "loss", "alignment", "uniformity", "films_per_second"])
        numbers = (loss, alignment, uniformity, films_per_second)
        writer.writerow([epoch + 1, *(f"{number:.4f}" for number in numbers)])
