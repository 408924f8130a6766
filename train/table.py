"""Labels: `labels.csv` with any column names, or NIH's own layout (`Data_Entry_2017.csv`, `images/`)."""

import csv
from dataclasses import dataclass
from pathlib import Path

from screen.errors import UsageError

NIH_TUMOR = frozenset({"Mass", "Nodule"})
NO_FINDING = "No Finding"
_NIH_TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")


@dataclass(frozen=True, slots=True)
class Labelled:
    """One row of a table.

    source: the collection that the film came from, empty if the table does not say. label: NaN if unknown.
    findings: everything that is said to be on the film; None if the table does not say. file: as the table
    writes it.
    """

    path: Path
    patient_id: str
    source: str
    label: float
    abnormal: float
    findings: frozenset[str] | None = None
    file: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names that a table gives to what is needed. Optional ones may be missing from it."""

    file: str = "file"
    patient: str = "patient_id"
    label: str = "tumor"
    source: str = "source"
    abnormal: str = "abnormal"
    findings: str = "findings_raw"


def read_table(path: Path, columns: Columns) -> list[Labelled]:
    """A table of labels, or a folder in NIH's layout.

    Raises UsageError if the table or one of the needed columns is missing, or a cell makes no sense.
    """
    if path.is_dir():
        return _read_nih(path)
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
            Labelled(
                path=path.parent / row[columns.file],
                patient_id=row[columns.patient],
                source=row.get(columns.source) or "",
                label=label_from_cell(row[columns.label], path, reader.line_num),
                abnormal=label_from_cell(row.get(columns.abnormal) or "", path, reader.line_num),
                findings=_names(row.get(columns.findings) or ""),
                file=row[columns.file],
            )
            for row in reader
        ]


def _names(cell: str) -> frozenset[str] | None:
    """`Effusion|Mass`, as the NIH writes it."""
    return frozenset(cell.split("|")) - {NO_FINDING} if cell else None


def label_from_cell(cell: str, path: Path, line: int) -> float:
    """1 or 0, NaN for an empty cell. Raises UsageError, naming the line, for anything else."""
    if cell == "":
        return float("nan")
    if cell not in {"0", "1", "0.0", "1.0"}:
        raise UsageError(f"{path}, line {line}: a label must be 0, 1 or empty")
    return float(cell)


def _read_nih(folder: Path) -> list[Labelled]:
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
        Labelled(
            path=places[row["Image Index"]],
            patient_id=row["Patient ID"],
            source="nih",
            label=float(bool(findings & NIH_TUMOR)),
            abnormal=float(bool(findings)),
            findings=findings,
            file=row["Image Index"],
        )
        for row in rows
        if (findings := _names(row["Finding Labels"])) is not None
    ]
