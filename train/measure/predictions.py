"""Out-of-fold predictions of a recipe, joined with what the tables of labels say about the films.

A predictions file is a CSV with a row for each film, fold and seed: `file` (as in the table of labels),
`patient_id`, `fold` (the film was not trained on by this fold's network), `seed`, `logit` (of the primary
finding, uncalibrated), `peak_x`, `peak_y` (where the heat map is highest, 0 … 1 from the film's upper left
corner; may be empty).
"""

import csv
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.errors import UsageError
from train.data.boxes import Box, tumor_boxes
from train.data.followups import borne_out
from train.data.readers import ABNORMAL, TUMOR, read_readers
from train.data.table import Columns, read_table, scorable

PREDICTION_COLUMNS = ("file", "patient_id", "fold", "seed", "logit", "peak_x", "peak_y")
_AGES = ((0, 40, "0 to 39"), (40, 60, "40 to 59"), (60, 75, "60 to 74"), (75, 120, "75 and over"))


@dataclass(frozen=True, slots=True)
class Cohort:
    """N films to measure on: labelled, from sources that have the finding (`train.data.table.scorable`).

    files: as in their table; paths: where they lie. labels: float32 [N], 0 or 1. patients, sources,
    licences: str [N]. headline: mask [N] of the films that the headline counts: NIH's where the table says
    which those are, for another hospital's collection is a figure of its own, else all; without sources that
    have no film without the finding. slices: what else is known, str [N] by name (`view`, `sex`, `age`,
    `label basis`), empty where it is not. borne_out: str [N], about how many films the patient has, where
    these bear the label out; else empty. boxes: the lesions of each film. verdicts: what radiologists saw, by
    who says so (`adjudicated`, `majority`, `agreed` where both say the same), float32 [N], NaN where nobody
    does. single: likewise each reader's own, by name.
    """

    files: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: NDArray[np.float32]
    patients: NDArray[np.str_]
    sources: NDArray[np.str_]
    licences: NDArray[np.str_]
    headline: NDArray[np.bool_]
    slices: Mapping[str, NDArray[np.str_]]
    borne_out: NDArray[np.str_]
    boxes: tuple[tuple[Box, ...], ...]
    verdicts: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    single: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What S seeds of one recipe said about a cohort's N films.

    logits: float64 [S, N], NaN where a film has no prediction. folds: str [S, N]. peaks: float64 [S, N, 2], x
    and y, NaN where there are none. digest: SHA-256 (hex) of the file.
    """

    name: str
    seeds: tuple[str, ...]
    logits: NDArray[np.float64]
    folds: NDArray[np.str_]
    peaks: NDArray[np.float64]
    digest: str

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Mask [N] of the films with predictions, the same for every seed."""
        return np.asarray(~np.isnan(self.logits[0]))


def read_cohort(
    tables: Sequence[Path], columns: Columns, follow_ups: Path | None = None, finding: str = TUMOR
) -> Cohort:
    """The films of tables of labels. Raises UsageError if one is broken or a film is listed twice.

    finding: what readers are asked for, see `train.data.readers`. `abnormal` has a column of its own, with
    what readers saw in its place.
    follow_ups: NIH's table, see `train.data.followups`; UsageError if it bears out none of their labels.
    """
    rows: dict[str, tuple[Mapping[str, str], Path, float]] = {}
    for table in tables:
        if table.is_dir():
            raise UsageError(f"{table}: predictions name the films of a table of labels; give that CSV")
        labelled = read_table(table, columns)
        with table.open(newline="", encoding="utf-8") as stream:
            for row, known in zip(csv.DictReader(stream), labelled, strict=True):
                if row[columns.file] in rows:
                    raise UsageError(f"{table}: '{row[columns.file]}' is listed twice; name each film once")
                label = known.abnormal if finding == ABNORMAL else known.label
                rows[row[columns.file]] = row, known.path, label
    labels = np.array([label for _, _, label in rows.values()], np.float32)
    sources = np.array([row.get(columns.source) or "" for row, _, _ in rows.values()])
    kept = np.flatnonzero(scorable(labels, sources))
    if not len(kept):
        raise UsageError(f"{tables[0]}: no film with the finding in it to measure on")
    listed = list(rows.items())
    of_cohort = [listed[index] for index in kept]
    facts = [row for _, (row, _, _) in of_cohort]

    def texts(column: str) -> NDArray[np.str_]:
        return np.array([row.get(column) or "" for row in facts])

    nih = texts("nih_image_index") != ""
    supported = borne_out(follow_ups) if follow_ups else {}
    names = [
        row.get("nih_image_index") or path.name
        for row, (_, (_, path, _)) in zip(facts, of_cohort, strict=True)
    ]
    films_alike = np.array([supported.get(name, "") for name in names], np.str_)
    if follow_ups and not films_alike.any():
        raise UsageError(f"{follow_ups}: it says nothing of the films in {tables[0]}")
    verdicts, single = _verdicts(columns.readers, finding, texts("nih_image_index"))
    if columns.readers and not verdicts:
        raise UsageError(f"{columns.readers}: its readers saw none of the films in {tables[0]}")
    in_pairs = np.isin(sources[kept], np.unique(sources[kept][labels[kept] == 0]))
    return Cohort(
        files=tuple(file for file, _ in of_cohort),
        paths=tuple(path for _, (_, path, _) in of_cohort),
        labels=labels[kept],
        patients=texts(columns.patient),
        sources=sources[kept],
        licences=texts("license"),
        headline=nih & in_pairs if nih.any() else in_pairs,
        slices={
            "view": texts("view"),
            "sex": texts("sex"),
            "age": np.array([_age_group(row.get("age") or "") for row in facts]),
            "label basis": texts("tumor_label_basis"),
        },
        borne_out=films_alike,
        boxes=tuple(tuple(tumor_boxes(row)) for row in facts),
        verdicts=verdicts,
        single=single,
    )


def _verdicts(
    folder: Path | None, finding: str, images: NDArray[np.str_]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """`Cohort.verdicts` and `Cohort.single` of films by their names at NIH. folder: of readers' tables."""
    if folder is None:
        return {}, {}
    readers = read_readers(folder).on(finding)

    def of(answers: Mapping[str, float]) -> NDArray[np.float32]:
        return np.array([answers.get(image, math.nan) for image in images], np.float32)

    adjudicated, majority = of(readers.adjudicated), of(readers.majority)
    agreed = np.where(adjudicated == majority, adjudicated, np.float32(np.nan))
    verdicts = {"adjudicated": adjudicated, "majority": majority, "agreed": agreed}
    single = {name: of(answers) for name, answers in readers.single.items()}
    return (
        {name: said for name, said in verdicts.items() if not np.isnan(said).all()},
        {name: said for name, said in single.items() if not np.isnan(said).all()},
    )


def read_recipe(name: str, path: Path, cohort: Cohort) -> Recipe:
    """The predictions of one recipe on the cohort's films; other films in the file are left out.

    Raises UsageError, with the line, for what cannot be right: a missing column, a number that is none, a
    film twice for one seed, another patient than the table's, a patient in two folds, a seed without all the
    films.
    """
    try:
        content = path.read_bytes()
        lines = csv.DictReader(content.decode("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the predictions {path} cannot be read: {error}") from error
    if missing := [column for column in PREDICTION_COLUMNS if column not in (lines.fieldnames or [])]:
        raise UsageError(f"{path}: no column {', '.join(missing)}; predictions have {PREDICTION_COLUMNS}")
    place = {file: index for index, file in enumerate(cohort.files)}
    found: dict[str, dict[int, tuple[str, float, float, float]]] = {}
    fold_of: dict[tuple[str, str], str] = {}
    for row in lines:
        where = f"{path}, line {lines.line_num}"
        seed, fold, patient = row["seed"], row["fold"], row["patient_id"]
        if fold_of.setdefault((seed, patient), fold) != fold:
            raise UsageError(
                f"{where}: a patient stands in two folds of seed {seed}: nothing can be measured"
            )
        index = place.get(row["file"])
        if index is None:
            continue
        if patient != cohort.patients[index]:
            raise UsageError(f"{where}: '{row['file']}' has another patient than in the table of labels")
        of_seed = found.setdefault(seed, {})
        if index in of_seed:
            raise UsageError(f"{where}: '{row['file']}' has a prediction of seed {seed} already")
        logit, x, y = (_number(row[column], where, column) for column in ("logit", "peak_x", "peak_y"))
        of_seed[index] = (fold, logit, x, y)
        if math.isnan(logit):
            raise UsageError(f"{where}: no logit")
    if not found:
        raise UsageError(
            f"{path}: none of its files is a labelled film of the table; names must be the table's"
        )
    seeds = sorted(found)
    for seed in seeds:
        if found[seed].keys() != found[seeds[0]].keys():
            raise UsageError(
                f"{path}: seeds {seeds[0]} and {seed} do not have the same films: finish all folds of both, "
                "or leave one out"
            )
    films = len(cohort.files)
    logits, peaks = np.full((len(seeds), films), np.nan), np.full((len(seeds), films, 2), np.nan)
    longest = max(len(fold) for fold in fold_of.values())
    folds = np.full((len(seeds), films), "", f"U{max(1, longest)}")
    for at, seed in enumerate(seeds):
        for index, (fold, logit, x, y) in found[seed].items():
            folds[at, index], logits[at, index], peaks[at, index] = fold, logit, (x, y)
    return Recipe(name, tuple(seeds), logits, folds, peaks, hashlib.sha256(content).hexdigest())


def _number(cell: str, where: str, column: str) -> float:
    """NaN for an empty cell."""
    if not cell:
        return float("nan")
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if not math.isfinite(value) or (column != "logit" and not 0 <= value <= 1):
        raise UsageError(f"{where}: {column} '{cell}' is no number of the kind that is expected")
    return value


def _age_group(cell: str) -> str:
    if not (cell.isascii() and cell.isdigit()):
        return ""
    return next((name for low, high, name in _AGES if low <= int(cell) < high), "")
