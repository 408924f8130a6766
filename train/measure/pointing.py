"""Whether the heat map points at the lesion: its highest place against the boxes that readers drew."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from screen.evaluation.metrics import rate_by_patient
from train.data.boxes import FRAME, Box
from train.measure.predictions import Cohort, Recipe

_GRID = 128
"""Fields a side for areas and fixed points."""


@dataclass(frozen=True, slots=True)
class Pointing:
    """One group of boxed films with the finding.

    hit: share of films whose heat map is highest within one of their boxes, seeds averaged, with Wilson's
    interval (patients are the trials). chance: mean share of the film that the boxes cover. fixed_point:
    share that the one place hits which was found, with the answers in view, to hit most of all boxed films.
    """

    group: str
    films: int
    hit: float
    interval: tuple[float, float]
    chance: float
    fixed_point: float


def pointing(recipe: Recipe, cohort: Cohort) -> tuple[list[Pointing], tuple[float, float]]:
    """All boxed films, thirds by the largest lesion's size, and each source; and the fixed point (x, y).

    The list is empty where no boxed film has a peak.
    """
    boxed = np.array([bool(boxes) for boxes in cohort.boxes])
    films = np.flatnonzero(boxed & (cohort.labels == 1) & ~np.isnan(recipe.peaks).any((0, 2)))
    if not len(films):
        return [], (float("nan"), float("nan"))
    boxes = [cohort.boxes[film] for film in films]
    covered = np.stack([_covered(of_film) for of_film in boxes])
    hits = np.array(
        [
            np.mean([any(box.holds(*peak) for box in of_film) for peak in recipe.peaks[:, film]])
            for film, of_film in zip(films, boxes, strict=True)
        ]
    )
    row, column = np.unravel_index(int(covered.sum(0).argmax()), (_GRID, _GRID))
    guessed = covered[:, row, column]
    chance = covered.mean((1, 2))
    sizes = np.array([max(box.area for box in of_film) for of_film in boxes]) ** 0.5 * FRAME

    def group(name: str, mask: NDArray[np.bool_]) -> Pointing:
        rate, interval = rate_by_patient(hits[mask], cohort.patients[films[mask]])
        means = float(chance[mask].mean()), float(guessed[mask].mean())
        return Pointing(name, int(mask.sum()), rate, interval, *means)

    everything = np.ones(len(films), np.bool_)
    groups = [group("all", everything)]
    third = np.searchsorted(np.quantile(sizes, [1 / 3, 2 / 3]), sizes, side="left")
    for index in np.unique(third):
        mask = third == index
        groups.append(group(f"largest lesion {sizes[mask].min():.0f}–{sizes[mask].max():.0f} px", mask))
    sources = cohort.sources[films]
    groups += [group(f"source {source}", sources == source) for source in np.unique(sources)]
    return groups, ((column + 0.5) / _GRID, (row + 0.5) / _GRID)


def _covered(boxes: Sequence[Box]) -> NDArray[np.bool_]:
    """Mask [_GRID, _GRID] of the fields of a film whose middle lies in a box: boxes overlap."""
    middles = (np.arange(_GRID) + 0.5) / _GRID
    covered = np.zeros((_GRID, _GRID), np.bool_)
    for box in boxes:
        across = (middles >= box.left) & (middles <= box.right)
        down = (middles >= box.top) & (middles <= box.bottom)
        covered |= down[:, None] & across
    return covered
