"""Lesions that are drawn: where they are said to be is where they are, and a film without any stays one."""

import numpy as np
import torch

from screen.preprocess import Geometry
from train.data.augment import FINETUNE, Draws, augment_marked
from train.data.boxes import Box, marks_from_boxes
from train.data.planting import Planting, cells_from_marks, plant
from train.parallel import WHOLE, Part

FILMS, SIDE = 24, 7


def films() -> torch.Tensor:
    return torch.full((FILMS, 1, 224, 224), 0.4)


def draws(part: Part = WHOLE) -> Draws:
    return Draws(FILMS // part.world, torch.Generator().manual_seed(3), part)


def test_cells_with_a_lesion_are_brighter_and_cells_without_are_as_they_were() -> None:
    x, cells = plant(films(), Planting(distractors=0.0), draws())
    assert x.min() >= 0
    assert x.max() <= 1
    change = (x - films())[:, 0].reshape(FILMS, SIDE, 32, SIDE, 32).transpose(2, 3).flatten(3).amax(3)
    change = change.flatten(1)
    assert cells.shape == (FILMS, SIDE**2)
    assert (cells == 1).any()
    assert cells.isnan().any()
    assert (change[cells == 1] > 0.02).all()
    # What reaches into a neighbour that does not count is its border alone.
    assert change[cells == 0].median() == 0
    assert change[cells == 0].mean() < 0.05 * change[cells == 1].mean()


def test_what_only_resembles_a_lesion_is_none() -> None:
    x, cells = plant(films(), Planting(lesions=0.0, distractors=1.0), draws())
    assert not cells.any()
    assert ((x - films()).abs().amax((1, 2, 3)) > 0.05).all()
    assert (x < films() - 0.05).any()  # dark spots too
    untouched, cells = plant(films(), Planting(lesions=0.0, distractors=0.0), draws())
    assert torch.equal(untouched, films())
    assert not cells.any()


def test_lesions_lie_in_dark_places_and_not_beside_the_film() -> None:
    x = films()
    x[:, :, :, 150:] = 0  # black ground
    x[:, :, :, 40:80] = 0.2  # a lung
    drawn, _ = plant(x, Planting(lesions=1.0, distractors=0.0), draws())
    change = (drawn - x)[:, 0].sum((0, 1))
    assert change[40:80].sum() > change[80:150].sum()
    assert change[185:].sum() == 0


def test_larger_squares_show_the_same_lesions_larger() -> None:
    small, _ = plant(films(), Planting(), draws())
    large, cells = plant(torch.full((FILMS, 1, 448, 448), 0.4), Planting(), draws())
    assert cells.shape == (FILMS, (2 * SIDE) ** 2)
    halved = torch.nn.functional.avg_pool2d(large, 2)
    drawn = (small - films()).abs().mean()
    assert (halved - small).abs().mean() < 0.2 * drawn


def test_two_processes_draw_what_one_does() -> None:
    whole, cells = plant(films(), Planting(), draws())
    for rank in range(2):
        part = Part(rank, 2)
        half, half_cells = plant(films()[: FILMS // 2], Planting(), draws(part))
        assert torch.equal(half, whole[part.rows(FILMS)])
        assert torch.equal(half_cells.nan_to_num(2), cells[part.rows(FILMS)].nan_to_num(2))


def test_marks_of_a_box_lie_on_the_film_in_its_square() -> None:
    wide = Geometry.fit(100, 200, 224)  # half of the square's height, from row 56
    marks = marks_from_boxes([Box(0.5, 0.0, 1.0, 0.5)], wide)
    assert (marks[56:112, 112:] == 255).all()
    assert marks.sum() == 255 * 56 * 112
    assert not marks_from_boxes([], wide).any()
    assert marks_from_boxes([Box(0.5, 0.5, 0.5001, 0.5001)], wide).sum() == 255


def test_cells_from_marks() -> None:
    marks = torch.zeros(3, 1, 224, 224)
    marks[0, 0, 32:64, 64:96] = 1  # one cell, all of it
    marks[1, 0, 60:70, 70:80] = 1  # 4 rows above an edge, 6 below it
    marks[2, 0, 36:60, 90:150] = 1  # 6 columns in cell 2, all of cell 3, 22 columns in cell 4
    cells = cells_from_marks(marks).reshape(3, SIDE, SIDE)
    assert cells[0].nonzero().tolist() == [[1, 2]]
    assert cells[1, 1, 2] == 1
    assert cells[1, 2, 2] == 1
    assert cells[2, 1, 3] == 1
    assert cells[2, 1, 2].isnan()
    assert np.nansum(cells.numpy()) == 5


def test_marks_move_with_the_film() -> None:
    squares = torch.full((16, 224, 224), 60, dtype=torch.uint8)
    marks = torch.zeros_like(squares)
    squares[:, 100:130, 60:90] = 220
    marks[:, 100:130, 60:90] = 255
    x, moved = augment_marked(squares, marks, 224, FINETUNE, torch.Generator().manual_seed(0))
    for film, mark in zip(x[:, 0], moved[:, 0], strict=True):
        assert film[mark > 0.9].mean() > film[mark < 0.1].mean() + 0.2
        bright = film > (film[mark > 0.9].mean() + film.median()) / 2
        assert (bright & (mark > 0.5)).sum() / (bright | (mark > 0.5)).sum() > 0.8
