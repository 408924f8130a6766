"""Where readers saw a mass or nodule: the boxes that a table of labels holds.

Two columns, both in pixels of the 1024 × 1024 frame into which the NIH squeezed its films (JSRT's are square
themselves). `nih_bbox_1024px` has left, top, width, height, as `BBox_List_2017.csv` does; its Pneumonia,
Effusion … are passed over. `thirdparty_boxes_1024px` has two corners. Several boxes are separated by `;`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from screen.errors import UsageError
from screen.preprocess import Geometry

NIH_TUMOR = frozenset({"Mass", "Nodule"})

FRAME = 1024
"""Side of the frame that the columns measure in, pixels."""

CORNERS = "thirdparty_boxes_1024px"
SIZES = "nih_bbox_1024px"


@dataclass(frozen=True, slots=True)
class Box:
    """A lesion: its edges as fractions, 0 … 1, of the film's width and height, from its upper left corner."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, x: float, y: float) -> bool:
        """The point (x, y), 0 … 1 from the upper left corner of the film, lies in it."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom

    @property
    def area(self) -> float:
        """As a share of the film's, 0 … 1."""
        return (self.right - self.left) * (self.bottom - self.top)


def tumor_boxes(row: Mapping[str, str]) -> list[Box]:
    """Every Mass and Nodule box of one row of a table of labels; columns that it lacks count as empty.

    Raises UsageError if a cell has another form, or a box that is empty or leaves the frame.
    """
    return [
        *_parsed(row.get(CORNERS) or "", CORNERS, lambda x1, y1, x2, y2: (x1, y1, x2, y2)),
        *_parsed(row.get(SIZES) or "", SIZES, lambda x, y, width, height: (x, y, x + width, y + height)),
    ]


def lesion_sizes(films: Sequence[Sequence[Box]]) -> NDArray[np.str_]:
    """Of each film's largest lesion, by the root of its area in pixels of the frame; "" without a box."""
    sides = [max((box.area for box in boxes), default=0.0) ** 0.5 * FRAME for boxes in films]
    names = ("", "under 64 px", "64 to 128 px", "128 px and more")
    return np.asarray(np.array(names)[np.digitize(sides, [np.finfo(float).tiny, 64, 128])])


def marks_from_boxes(boxes: Sequence[Box], geometry: Geometry) -> NDArray[np.uint8]:
    """uint8 [S, S]: 255 where a box lies on the film's square."""
    marks = np.zeros((geometry.size, geometry.size), np.uint8)
    for box in boxes:
        rows, columns = (
            slice(int(start + low * length), max(int(start + low * length) + 1, round(start + high * length)))
            for start, low, high, length in (
                (geometry.top, box.top, box.bottom, geometry.content_height),
                (geometry.left, box.left, box.right, geometry.content_width),
            )
        )
        marks[rows, columns] = 255
    return marks


def _parsed(
    cell: str, column: str, edges: Callable[[float, float, float, float], tuple[float, ...]]
) -> list[Box]:
    boxes = []
    for text in filter(None, cell.split(";")):
        finding, _, numbers = text.partition(":")
        try:
            box = Box(*(side / FRAME for side in edges(*map(float, numbers.split(",")))))
        except (TypeError, ValueError):
            raise UsageError(
                f"column {column}: '{text}' is not FINDING:NUMBER,NUMBER,NUMBER,NUMBER"
            ) from None
        # NIH's published numbers are rounded: half a pixel beyond the frame is no mistake.
        slack = 0.5 / FRAME
        if not (-slack <= box.left < box.right <= 1 + slack and -slack <= box.top < box.bottom <= 1 + slack):
            raise UsageError(f"column {column}: '{text}' is empty or leaves the {FRAME} × {FRAME} frame")
        if finding in NIH_TUMOR:
            boxes.append(box)
    return boxes
