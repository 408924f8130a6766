"""Pre-training without labels: two views of one film, or of two films of one patient, get the same place."""

import csv
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tensorboardX import SummaryWriter
from torch import Tensor
from torch.nn.utils import convert_conv2d_weight_memory_format

from screen.errors import UsageError
from screen.files import csv_file, whole_file
from train.data.augment import Draws, augment, standardise
from train.data.films import Films
from train.data.filmstore import FilmStore, read_ahead
from train.data.sampling import epoch_order, groups_of, partners
from train.network.checkpoint import (
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    under,
)
from train.network.compute import CPU, Compute, learning_rate
from train.network.knn import KnnProbe
from train.network.losses import alignment, uniformity
from train.network.methods import method_named
from train.network.resnet import ResNet18, load_encoder
from train.parallel import WHOLE, Part, average_gradients, gather, share_statistics
from train.progress import Progress, quiet


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """One recipe.

    batch_size: films of all processes together. size: side of a view, pixels. method, method_options: see
    `train.network.methods`. source_power: see `train.data.sampling.repeats`. same_patient: how often the
    second view is of another film of the patient, if there is one. mean, std: standardisation of 0 … 1.
    """

    epochs: int = 20
    batch_size: int = 128
    size: int = 128
    method: str = "simclr"
    method_options: Mapping[str, float] = field(default_factory=dict)
    source_power: float = 0.5
    same_patient: float = 0.5
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0
    mean: float = 0.5
    std: float = 0.25


class Views(NamedTuple):
    """x: float32 [2n, 1, size, size], standardised, first and second views of n films. targets: [2n, T], what
    the method wants to be said of each.
    """

    x: Tensor
    targets: Tensor


class Learner:
    """The encoder, the method's heads and their optimizer on a device, in one of the processes of a run."""

    def __init__(self, settings: PretrainSettings, compute: Compute = CPU, part: Part = WHOLE) -> None:
        if settings.batch_size % part.world:
            raise UsageError(
                f"a batch of {settings.batch_size} films cannot be split by {part.world} processes"
            )
        self.settings, self.compute, self.part = settings, compute, part
        # Drawn on the CPU, so that every device and process begins with the same weights.
        torch.manual_seed(settings.seed)
        self.network = ResNet18()
        self.method = method_named(settings.method, settings.method_options)
        for module in (self.network, self.method):
            share_statistics(module, part)
            module.to(compute.device)
        convert_conv2d_weight_memory_format(self.network, torch.channels_last)
        self.parameters = [*self.network.parameters(), *self.method.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._last_map = torch.compile(self.network.last_map) if compute.compiled else self.network.last_map

    def views(self, first: Tensor, second: Tensor, generator: torch.Generator) -> "Views":
        """Two films for each place of a part of a batch, uint8 [n, S, S] each."""
        settings, shown, targets = self.settings, [], []
        for films in (first, second):
            x = augment(films, settings.size, self.method.augmentation, generator, self.part)
            x, said = self.method.prepare(x, Draws(len(films), generator, self.part))
            shown.append(x)
            targets.append(said)
        x = standardise(torch.cat(shown), settings.mean, settings.std)
        return Views(x, torch.cat(targets))

    def step(self, views: "Views", groups: Tensor, rate: float) -> dict[str, Tensor]:
        """One step of the optimizer. views: this process's. groups: int64 [N], of the whole batch.

        Scalars for the log, the same in every process.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.compute.autocast():
            projections = self.method(self._last_map(views.x))
        first, second = (gather(z, self.part) for z in projections.float().chunk(2))
        targets = torch.cat([gather(said, self.part) for said in views.targets.chunk(2)])
        loss, terms = self.method.loss(first, second, groups, targets)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        average_gradients(self.parameters, self.part)
        self.optimizer.step()
        with torch.no_grad():
            shown = {"loss": loss, "alignment": alignment(first, second), "uniformity": uniformity(first)}
            return {name: value.detach() for name, value in (shown | terms).items()}

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint keeps."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"method.{name}": value for name, value in self.method.state_dict().items()}
        return tensors | optimizer_tensors(self.optimizer)

    def begin_with(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights of another run, not where its optimizer was."""
        load_encoder(self.network, under(tensors, "network."))
        heads = under(tensors, "method.")
        if heads.keys() == self.method.state_dict().keys():
            self.method.load_state_dict(heads)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave."""
        self.network.load_state_dict(under(tensors, "network."))
        self.method.load_state_dict(under(tensors, "method."))
        restore_optimizer(self.optimizer, tensors)


def pretrain(
    films: Films,
    settings: PretrainSettings,
    checkpoint: Path,
    provenance: dict[str, object],
    report: Callable[[str], None],
    compute: Compute = CPU,
    part: Part = WHOLE,
    start: Mapping[str, Tensor] | None = None,
    progress: Callable[[str], Progress] = lambda what: quiet,
) -> None:
    """Trains, or goes on where `checkpoint` left off; every epoch is saved.

    All random numbers of an epoch come from the seed and its number, so a run that was stopped and resumed
    ends with the same weights as one that was not (on a CPU to the bit; CUDA's own kernels may round another
    way each time), and one of several processes with those of one, rounding apart. Beside the checkpoint,
    `NAME.csv` and `NAME.tensorboard/` have a line an epoch; an alignment near 0 with a uniformity near 0 is a
    collapse. part: of several processes, all of which call this; the first writes. start: tensors of an
    earlier checkpoint to begin with; its heads too, if it is of the same method. progress: told what begins,
    gives what to tell of its steps.
    Raises UsageError, before anything is written, if the films do not fill a batch.
    """
    films_of_epoch = len(epoch_order(films.sources, settings.source_power, settings.seed, 0))
    if films_of_epoch < settings.batch_size:
        raise UsageError(
            f"{films_of_epoch} films do not fill a batch of {settings.batch_size}: give more, or a smaller "
            "--batch-size"
        )
    learner = Learner(settings, compute, part)
    if start is not None:
        learner.begin_with(start)
    done = _resume(checkpoint, learner, report)
    store = FilmStore(films.values, compute.device)
    groups = groups_of(films.patients)
    probe = KnnProbe(films, settings.seed)
    if part.rank > 0:
        for epoch in range(done, settings.epochs):
            _epoch(learner, store, films.sources, groups, epoch)
        return
    with closing(EpochLog(checkpoint, done)) as log:
        for epoch in range(done, settings.epochs):
            started = time.monotonic()
            told = progress(f"epoch {epoch + 1}/{settings.epochs}, steps")
            count, numbers = _epoch(learner, store, films.sources, groups, epoch, told)
            films_per_second = count / (time.monotonic() - started)
            with compute.autocast():
                auc = probe.auc(learner.network, settings.size, settings.mean, settings.std)
            # Logged first: of an epoch that was not saved the line is overwritten, one that was has a line.
            log.add(epoch + 1, {**numbers, "knn_auc": auc, "films_per_second": films_per_second})
            about = {"kind": settings.method, "epoch": epoch + 1, "settings": asdict(settings)}
            save_checkpoint(checkpoint, learner.tensors(), {**about, "provenance": provenance})
            report(
                f"epoch {epoch + 1}/{settings.epochs}: loss {numbers['loss']:.4f}, "
                f"alignment {numbers['alignment']:.3f}, uniformity {numbers['uniformity']:.3f}, "
                + (f"kNN AUC within source {auc:.3f}, " if auc is not None else "")
                + f"{films_per_second:.1f} films/s"
            )


def _epoch(
    learner: Learner,
    store: FilmStore,
    sources: NDArray[np.str_],
    groups: NDArray[np.int64],
    epoch: int,
    progress: Progress = quiet,
) -> tuple[int, dict[str, float]]:
    """Films seen, and the means over the epoch's steps of what they log."""
    settings, part, device = learner.settings, learner.part, learner.compute.device
    order = epoch_order(sources, settings.source_power, settings.seed, epoch)
    others = partners(order, groups, settings.same_patient, settings.seed, epoch)
    steps = len(order) // settings.batch_size
    generator = torch.Generator(device).manual_seed(settings.seed * 100_003 + epoch)
    starts = range(0, steps * settings.batch_size, settings.batch_size)
    whole = [np.s_[start : start + settings.batch_size] for start in starts]

    def fetch(batch: slice) -> tuple[Tensor, Tensor, Tensor]:
        mine = part.rows(settings.batch_size)
        shown = torch.from_numpy(groups[order[batch]]).to(device)
        return store(order[batch][mine]), store(others[batch][mine]), shown

    learner.network.train()
    sums: dict[str, Tensor] = {}
    for index, (first, second, shown) in enumerate(read_ahead(fetch, whole)):
        rate = learning_rate(
            epoch * steps + index, settings.epochs * steps, steps // 2 + 1, settings.learning_rate
        )
        for name, value in learner.step(learner.views(first, second, generator), shown, rate).items():
            sums[name] = sums.get(name, 0) + value
        progress(index + 1, steps)
    # Only here is the device waited for.
    return steps * settings.batch_size, {name: total.item() / steps for name, total in sums.items()}


def _resume(checkpoint: Path, learner: Learner, report: Callable[[str], None]) -> int:
    """Epochs done."""
    if not checkpoint.with_name(checkpoint.name + ".json").is_file():
        return 0
    tensors, about = load_checkpoint(checkpoint)
    if about["kind"] != learner.settings.method or about["settings"] != asdict(learner.settings):
        raise UsageError(f"{checkpoint} is a checkpoint of other settings: choose another name or remove it")
    learner.restore(tensors)
    report(f"resumed after epoch {about['epoch']}")
    return int(about["epoch"])


class EpochLog:
    """`NAME.csv`, and event files in `NAME.tensorboard/` (`tensorboard --logdir` shows several runs at once).

    done: epochs that the run has behind it. Lines of later ones, which a stop kept from being saved, go.
    """

    def __init__(self, checkpoint: Path, done: int) -> None:
        self._file = checkpoint.with_name(checkpoint.name + ".csv")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._rows: list[dict[str, str]] = []
        if done and self._file.is_file():
            with self._file.open(newline="", encoding="utf-8") as stream:
                self._rows = [row for row in csv.DictReader(stream) if int(row["epoch"]) <= done]
        events = checkpoint.with_name(checkpoint.name + ".tensorboard")
        # Two files that begin within one second would else have one name.
        self._writer = SummaryWriter(str(events), purge_step=done + 1, filename_suffix=f".{done}")

    def add(self, epoch: int, numbers: Mapping[str, float | None]) -> None:
        """Write the numbers of epoch 1, 2, …, the same names every time; None is an empty cell."""
        cells = {name: "" if number is None else f"{number:.4f}" for name, number in numbers.items()}
        self._rows.append({"epoch": str(epoch), **cells})
        columns = list(self._rows[-1])
        with csv_file(self._file, columns, whole_file) as writer:
            writer.writerows([row.get(column, "") for column in columns] for row in self._rows)
        for name, number in numbers.items():
            if number is not None:
                self._writer.add_scalar(f"pretrain/{name}", number, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Everything is on disk already; ends the writer's thread."""
        self._writer.close()
