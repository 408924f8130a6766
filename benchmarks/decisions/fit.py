"""Padding or cropping: what a centre crop to a square would cut off lesions, and what padding costs.

NIH squeezed films of any shape into 1024 x 1024 pixels and published their true sizes, so a box drawn on the
released picture is known on the true film. A crop loses what lies beyond the central square; padding loses
resolution: the film gets short / long side of the pixels, along each axis, that a crop would give it.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from train.data.table import read_true_shapes

RELEASED = 1024
"""Side of the squeezed picture that boxes are given on, pixels."""

TUMOR = ("Mass", "Nodule")

Share = tuple[float, float, float]
"""A share and its 95 % interval, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Box:
    """A lesion on a film: left, top, right, bottom as fractions of the film's width and height."""

    image: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Shape:
    """A film's width and height, pixels."""

    width: int
    height: int

    @property
    def central_square(self) -> tuple[float, float]:
        """Width and height of the central square as fractions of the film's."""
        side = min(self.width, self.height)
        return side / self.width, side / self.height

    @property
    def resolution_kept(self) -> float:
        """Linear resolution of the padded film, of that of the cropped one."""
        return min(self.central_square)


@dataclass(frozen=True, slots=True)
class Loss:
    """What a centre crop does to lesions, each on its film."""

    films: str
    lesions: int
    touched: Share
    quarter_lost: Share
    centre_lost: Share
    resolution_kept_by_padding: float


def kept_area(box: Box, shape: Shape) -> float:
    """Share of the box's area (0 to 1) within the film's central square."""
    kept = 1.0
    for low, high, inside in zip(
        (box.left, box.top), (box.right, box.bottom), shape.central_square, strict=True
    ):
        margin = (1 - inside) / 2
        kept *= max(0.0, min(high, 1 - margin) - max(low, margin)) / (high - low)
    return kept


def keeps_centre(box: Box, shape: Shape) -> bool:
    """The box's centre lies within the film's central square."""
    width, height = shape.central_square
    return abs(box.left + box.right - 1) <= width and abs(box.top + box.bottom - 1) <= height


def wilson(hits: int, n: int) -> Share:
    """Share and its 95 % interval (Wilson 1927)."""
    z, p = 1.959964, hits / n
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return p, max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def loss(films: str, lesions: Iterable[tuple[Box, Shape]]) -> Loss:
    """Count over lesions, each with the shape of its film."""
    pairs = list(lesions)
    areas = [kept_area(box, shape) for box, shape in pairs]
    return Loss(
        films=films,
        lesions=len(pairs),
        # Boxes come as decimal fractions: a rounding error is no lost pixel.
        touched=wilson(sum(area < 1 - 1e-9 for area in areas), len(pairs)),
        quarter_lost=wilson(sum(area < 0.75 for area in areas), len(pairs)),
        centre_lost=wilson(sum(not keeps_centre(box, shape) for box, shape in pairs), len(pairs)),
        resolution_kept_by_padding=sum(shape.resolution_kept for _, shape in pairs) / len(pairs),
    )


def nih_shapes(data: Path) -> dict[str, Shape]:
    """NIH image index -> the film's true shape, for all of ChestX-ray14."""
    shapes = read_true_shapes(data / "nih-labels/NIH_Data_Entry_2017_v2020.csv.gz")
    return {index: Shape(width, height) for index, (height, width) in shapes.items()}


def nih_boxes(data: Path) -> list[Box]:
    """Mass and Nodule as NIH's radiologist boxed them."""
    with gzip.open(data / "nih-labels/BBox_List_2017.csv.gz", "rt", newline="") as stream:
        rows = [row for row in list(csv.reader(stream))[1:] if row[1] in TUMOR]
    boxes = []
    for index, _, *sides in rows:
        x, y, width, height = (float(side) / RELEASED for side in sides[:4])
        boxes.append(Box(index, x, y, x + width, y + height))
    return boxes


def third_party_boxes(data: Path, *, nih: bool) -> list[Box]:
    """`thirdparty_boxes_1024px` of NIH's films, or of JSRT's, where CT confirmed every nodule."""
    with (data / "cxr/labels.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["thirdparty_boxes_1024px"]]
    boxes = []
    for row in rows:
        if bool(row["nih_image_index"]) != nih:
            continue
        for text in row["thirdparty_boxes_1024px"].split(";"):
            finding, _, corners = text.partition(":")
            if finding in TUMOR:
                image = row["nih_image_index"] or row["file"]
                boxes.append(Box(image, *(float(corner) / RELEASED for corner in corners.split(","))))
    return boxes


def occurring_shapes(data: Path, shapes: dict[str, Shape]) -> dict[str, Shape]:
    """Names -> shapes: those of NIH's detectors, and of chest films that are not from NIH."""
    common = Counter(shapes.values()).most_common(6)
    found = {f"{shape.width} x {shape.height} ({n / len(shapes):.0%} of NIH)": shape for shape, n in common}
    with (data / "dicom/MANIFEST.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            if row["expected"].startswith("readable chest") and row["rows"] != row["cols"]:
                found[f"{row['cols']} x {row['rows']} (DICOM)"] = Shape(int(row["cols"]), int(row["rows"]))
    with (data / "cxr/labels.csv").open(newline="") as stream:
        sizes = [
            Shape(*(int(side) for side in row["orig_size"].split("x")))
            for row in csv.DictReader(stream)
            if row["source"] == "covid_hannover"
        ]
    sizes.sort(key=lambda shape: shape.width / shape.height)
    for name, shape in (
        ("most upright", sizes[0]),
        ("median", sizes[len(sizes) // 2]),
        ("widest", sizes[-1]),
    ):
        found[f"{shape.width} x {shape.height} ({name} of Hannover)"] = shape
    return found


def measure(data: Path) -> list[Loss]:
    """All rows of the table: true films first, then lesions as they would lie on films of one shape."""
    shapes = nih_shapes(data)
    readers, third_party = nih_boxes(data), third_party_boxes(data, nih=True)
    boxed = {box.image for box in readers}
    true = readers + [box for box in third_party if box.image not in boxed]
    losses = [
        loss("NIH, true shapes, NIH's boxes", [(box, shapes[box.image]) for box in readers]),
        loss("NIH, true shapes, other readers' too", [(box, shapes[box.image]) for box in true]),
        loss(
            "as above, films that are no square (> 2 %)",
            [(box, shapes[box.image]) for box in true if shapes[box.image].resolution_kept < 0.98],
        ),
    ]
    everywhere = true + third_party_boxes(data, nih=False)
    for name, shape in occurring_shapes(data, shapes).items():
        losses.append(loss(f"NIH and JSRT as if {name}", [(box, shape) for box in everywhere]))
    return losses


def report(losses: list[Loss], console: Console) -> None:
    """Print the table."""

    def shown(share: Share) -> str:
        return f"{share[0]:.1%} [{share[1]:.1%}, {share[2]:.1%}]"

    table = Table(title="What a centre crop to a square does to lesions; shares with 95 % intervals")
    for heading in (
        "films",
        "lesions",
        "touched",
        "> 25 % of area lost",
        "centre lost",
        "padding's resolution",
    ):
        table.add_column(heading, justify="left" if heading == "films" else "right")
    for row in losses:
        table.add_row(
            row.films,
            str(row.lesions),
            shown(row.touched),
            shown(row.quarter_lost),
            shown(row.centre_lost),
            f"{row.resolution_kept_by_padding:.3f}",
        )
    console.print(table)


def as_json(losses: list[Loss]) -> dict[str, Any]:
    """The table for `--json`."""
    return {"benchmark": "fit", "losses": [asdict(row) for row in losses]}
