"""Which training films a step of fine-tuning sees, and what is known about them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data.augment import FINETUNE, UNCHANGED, Draws, augment_marked, reequalise
from train.data.boxes import marks_from_boxes
from train.data.films import LabelledFilms
from train.data.folds import Split
from train.data.planting import Planting, cells_from_marks, plant
from train.data.sampling import sampling_weights
from train.parallel import WHOLE
from train.recipes.settings import FinetuneSettings


def learned_from(films: LabelledFilms, settings: FinetuneSettings) -> NDArray[np.bool_]:
    """Mask of the films [N] whose labels are learned."""
    return films.of(Split.TRAIN) & ~(films.disputed & settings.doubt)


def label_weights(films: LabelledFilms, settings: FinetuneSettings) -> NDArray[np.float64]:
    """How much each film [N] counts, or how often it is drawn; the labels of those with 0 are not learned."""
    training = learned_from(films, settings)
    weights = np.zeros(len(films.labels))
    if settings.balanced:
        weights[training] = sampling_weights(films.labels[training], films.sources[training])
    else:
        weights[training] = ~np.isnan(films.labels[training])
    return weights


class Batch(NamedTuple):
    """x: float32 [B + P, 1, S, S], 0 … 1, films and P more with lesions drawn into them. targets: [B, 1 + A],
    the finding and the side findings. cells: [B + P, cells], see `train.data.planting`. NaN is unknown.
    """

    x: Tensor
    targets: Tensor
    cells: Tensor


class Batches:
    """Which training films a step sees, and what is known about them."""

    def __init__(self, films: LabelledFilms, settings: FinetuneSettings) -> None:
        self._films, self._settings = films, settings
        training = learned_from(films, settings)
        self._weights = label_weights(films, settings)
        # Boxes of a source with one label say what the finding looks like; the rest of such films would say
        # what the source looks like.
        boxed = np.array([bool(boxes) for boxes in films.boxes])
        self._places_only = training & boxed & (self._weights == 0) & bool(settings.cells)
        self._weights[self._places_only] = self._weights[self._weights > 0].mean()
        self._weights /= self._weights.sum()
        self._without = np.flatnonzero(training & films.scorable() & (films.labels == 0))

    def steps(self) -> int:
        """Of an epoch."""
        samples = min(self._settings.samples, 2 * int((self._weights > 0).sum()))
        return max(1, samples // self._settings.batch_size)

    def of_epoch(self, epoch: int, count: int, size: int, device: torch.device) -> Iterator[Batch]:
        """All random numbers come from the seed and the epoch's number."""
        films, settings = self._films, self._settings
        recipe = FINETUNE if settings.augmented else UNCHANGED
        generator = torch.Generator(device).manual_seed(settings.seed * 100_003 + epoch)
        draws = np.random.default_rng((settings.seed, epoch))
        chosen = draws.choice(len(self._weights), count * settings.batch_size, p=self._weights)
        ground = draws.choice(self._without, count * settings.planted)
        for index in range(count):
            batch = chosen[index * settings.batch_size : (index + 1) * settings.batch_size]
            planted = ground[index * settings.planted : (index + 1) * settings.planted]
            both = np.concatenate([batch, planted])
            squares = reequalise(torch.from_numpy(films.values[both]).to(device), recipe.clahe, draws)
            marks = np.stack([marks_from_boxes(films.boxes[film], films.geometry[film]) for film in both])
            x, seen = augment_marked(squares, torch.from_numpy(marks).to(device), size, recipe, generator)
            labels = films.labels[batch, None]
            targets = np.concatenate([labels, films.side_labels[batch]], 1)
            targets[self._places_only[batch]] = np.nan
            cells = cells_from_marks(seen)
            # Where a film with the finding has it is known from boxes alone.
            boxed = np.array([bool(films.boxes[film]) for film in batch])
            unknown = np.flatnonzero((films.labels[batch] == 1) & ~boxed)
            cells[torch.from_numpy(unknown).to(device)] = float("nan")
            if settings.planted:
                shown = Draws(settings.planted, generator, WHOLE)
                with_lesions, drawn = plant(x[len(batch) :], Planting(), shown)
                x = torch.cat([x[: len(batch)], with_lesions])
                cells = torch.cat([cells[: len(batch)], drawn])
            yield Batch(x, torch.from_numpy(targets).to(device), cells)
