"""Labels: `labels.csv` with any column names, or NIH's own layout (`Data_Entry_2017.csv`, `images/`)."""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.errors import UsageError
from screen.evaluation.labels import label_from_cell
from train.data.boxes import NIH_TUMOR, Box, tumor_boxes
from train.data.readers import Readers, read_readers

NO_FINDING = "No Finding"
_NIH_INDEX = "nih_image_index"
"""The column, in a table of mixed sources, with a film's name at NIH; else its file's name is looked up."""
_BASIS, _DISPUTED = "tumor_label_basis", "conflict"
"""The column that says what a label rests on, and the word in it if readers do not agree with it."""
_NIH_TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One row of a table.

    source: the collection that the film came from, empty if the table does not say. label: NaN if unknown.
    abnormal: likewise; as readers saw it, where that is known.
    findings: everything that is said to be on the film; None if the table does not say. file: as the table
    writes it. true_shape: rows and columns of the film before its picture was squeezed; None if not known.
    boxes: where readers saw the finding, see `train.data.boxes`. disputed: readers contradict the label, and
    what they saw is not known. verdict: what they saw, NaN if that is not known. nih: the film is NIH's; None
    if the table does not say.
    """

    path: Path
    patient_id: str
    source: str
    label: float
    abnormal: float
    findings: frozenset[str] | None = None
    file: str = ""
    true_shape: tuple[int, int] | None = None
    boxes: tuple[Box, ...] = ()
    disputed: bool = False
    verdict: float = float("nan")
    nih: bool | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """The names that a table gives to what is needed. Optional ones may be missing from it.

    true_sizes: another table, see `read_true_shapes`. readers: a folder, see `train.data.readers`.
    """

    file: str = "file"
    patient: str = "patient_id"
    label: str = "tumor"
    source: str = "source"
    abnormal: str = "abnormal"
    findings: str = "findings_raw"
    true_sizes: Path | None = None
    readers: Path | None = None


def read_table(path: Path, columns: Columns) -> list[Labelled]:
    """A table of labels, or a folder in NIH's layout.

    Raises UsageError if the table or one of the needed columns is missing, or a cell makes no sense.
    """
    true_shapes = read_true_shapes(columns.true_sizes) if columns.true_sizes else {}
    readers = read_readers(columns.readers) if columns.readers else None
    if path.is_dir():
        return _read_nih(path, true_shapes, readers)
    if not path.is_file():
        raise UsageError(f"{path}: no such table of labels")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        names = reader.fieldnames or []
        for name, option in ((columns.file, "file"), (columns.patient, "patient"), (columns.label, "label")):
            if name not in names:
                raise UsageError(
                    f"{path}: no column '{name}' (it has {', '.join(names)}): use --{option}-column"
                )
        return [
            _judged(
                readers,
                row.get(_NIH_INDEX) or "",
                Labelled(
                    path=path.parent / row[columns.file],
                    patient_id=row[columns.patient],
                    source=row.get(columns.source) or "",
                    label=label_from_cell(row[columns.label], path, reader.line_num),
                    abnormal=label_from_cell(row.get(columns.abnormal) or "", path, reader.line_num),
                    findings=_names(row.get(columns.findings) or ""),
                    file=row[columns.file],
                    true_shape=true_shapes.get(row.get(_NIH_INDEX) or Path(row[columns.file]).name),
                    boxes=tuple(tumor_boxes(row)),
                    disputed=_DISPUTED in (row.get(_BASIS) or ""),
                    nih=row[_NIH_INDEX] != "" if _NIH_INDEX in row else None,
                ),
            )
            for row in reader
        ]


def _judged(readers: Readers | None, image: str, film: Labelled) -> Labelled:
    """The film, with what radiologists saw on it. image: its name at NIH."""
    nothing_else = film.findings is not None and film.findings <= NIH_TUMOR
    verdict = readers.verdict(image) if readers else math.nan
    if readers is None or math.isnan(verdict):
        # What was said of a mass is wrong, and nobody knows whether anything is on the film.
        return replace(film, abnormal=math.nan) if film.disputed and nothing_else else film
    unknown = film.label != verdict and nothing_else
    abnormal = 1.0 if verdict else math.nan if unknown else film.abnormal
    return replace(film, verdict=verdict, abnormal=readers.abnormal.get(image, abnormal), disputed=False)


def read_true_shapes(path: Path) -> dict[str, tuple[int, int]]:
    """NIH's table (`Data_Entry_2017*.csv`, `.gz` too): image index -> rows and columns of the film.

    NIH squeezed films of any shape into 1024 × 1024 pixels; this table has what they were before.
    Raises UsageError if it is not that table.
    """
    shapes = {}
    # The header's own comma splits `OriginalImage[Width,Height]` in two.
    for line, (index, width, height) in read_nih_index(path, ("OriginalImage[Width", "Height]")):
        numbers = width.isdecimal() and height.isdecimal() and len(width + height) < 10
        if not (numbers and int(width) and int(height)):
            raise UsageError(f"{path}, line {line}: a film's width and height must be numbers above 0")
        shapes[index] = (int(height), int(width))
    return shapes


def read_nih_index(path: Path, columns: tuple[str, ...]) -> list[tuple[int, tuple[str, ...]]]:
    """NIH's table: of each film the line, and its image index with what `columns` say.

    Raises UsageError if it is not that table.
    """
    needed = ("Image Index", *columns)
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: name NIH's Data_Entry_2017 table ({error})") from error
    if missing := [name for name in needed if name not in (reader.fieldnames or ())]:
        raise UsageError(f"{path}: no column '{missing[0]}': name NIH's Data_Entry_2017 table")
    return [(line, tuple(row[name] or "" for name in needed)) for line, row in rows]


def _names(cell: str) -> frozenset[str] | None:
    """`Effusion|Mass`, as the NIH writes it."""
    return frozenset(cell.split("|")) - {NO_FINDING} if cell else None


def _read_nih(
    folder: Path, true_shapes: Mapping[str, tuple[int, int]], readers: Readers | None
) -> list[Labelled]:
    """ChestX-ray14 as the NIH hands it out; tumor is Mass or Nodule, abnormal all but No Finding."""
    table = next((folder / name for name in _NIH_TABLES if (folder / name).is_file()), None)
    if table is None:
        raise UsageError(f"{folder}: holds no {_NIH_TABLES[0]}; name a table of labels instead")
    # The archives unpack to images/ or to images_001/images/ … images_012/images/.
    places = {path.name: path for path in sorted(folder.glob("images*/**/*.png"))}
    with table.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["Image Index"] in places]
    if not rows:
        raise UsageError(f"{folder}: none of the images that {table.name} lists is in images/")
    return [
        _judged(
            readers,
            row["Image Index"],
            Labelled(
                path=places[row["Image Index"]],
                patient_id=row["Patient ID"],
                source="nih",
                label=float(bool(findings & NIH_TUMOR)),
                abnormal=float(bool(findings)),
                findings=findings,
                file=row["Image Index"],
                true_shape=true_shapes.get(row["Image Index"]),
            ),
        )
        for row in rows
        if (findings := _names(row["Finding Labels"])) is not None
    ]


def scorable(
    labels: NDArray[np.float32] | NDArray[np.float64], sources: NDArray[np.str_]
) -> NDArray[np.bool_]:
    """Mask [N] of the labelled films (not NaN) from sources that have the finding at all.

    A source without one (children of another hospital, say) only adds negatives that its look gives away.
    """
    with_finding = np.unique(sources[labels == 1])
    return np.asarray(~np.isnan(labels) & np.isin(sources, with_finding))
