"""A table of labels beside a run's films: which film a label means, and what becomes of those that mean none.

A label finds its film by SOP Instance UID, if the table has the column `sop_instance_uid`, else by its file:
the name in `results.csv`, an end of that name at a slash (`night/film.png`), or a longer path that ends with
that whole name.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.codes import Status
from screen.errors import UsageError
from screen.evaluation.results import Results, rows_of
from screen.text import safe_text

_UID = "sop_instance_uid"


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The names that a table gives to what is needed; only `label` must be there, with `file` or a UID.

    label: empty is the finding's name. source: where films come from, a device or a hospital, if it says so.
    """

    file: str = "file"
    label: str = ""
    patient: str = "patient_id"
    source: str = "source"


@dataclass(frozen=True, slots=True)
class Unused:
    """A label that no figure rests on. line: of the table. name: of its film. why: for people."""

    line: int
    name: str
    label: float
    why: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """Films with a label and a score, N of them, and what is left over on either side.

    places: in `Results.films`, [N]. labels: 1 or 0, float64 [N]. patients, sources: text [N]; a film whose
    patient nobody names is its study's, or its own. sources are empty where the table has none.
    grouped_by: what stands for the patient: `patient_id`, `study` or `film`. unlabelled: lines without a
    label. unlabelled_films: of the run's films with a score.
    """

    path: Path
    places: NDArray[np.intp]
    labels: NDArray[np.float64]
    patients: NDArray[np.str_]
    sources: NDArray[np.str_]
    grouped_by: str
    unused: tuple[Unused, ...]
    unlabelled: int
    unlabelled_films: int
    probabilities: NDArray[np.float64]
    logits: NDArray[np.float64]
    flagged: NDArray[np.bool_]


def label_from_cell(cell: str, path: Path, line: int) -> float:
    """1 or 0, NaN for an empty cell. Raises UsageError, naming the line, for anything else."""
    if cell == "":
        return float("nan")
    if cell not in {"0", "1", "0.0", "1.0"}:
        raise UsageError(f"{path}, line {line}: a label must be 0, 1 or empty")
    return float(cell)


def match_labels(results: Results, labels: Path, columns: LabelColumns) -> Labelled:
    """Films of the run by the table's lines.

    Raises UsageError, naming the line, for a label that is none, a name that several films have, and a film
    with two labels that differ.
    """
    rows = rows_of(labels)
    column = columns.label or results.finding
    if column not in rows[0]:
        raise UsageError(f"{labels}: no column '{column}' (it has {', '.join(rows[0])}): --label-column")
    if not {columns.file, _UID} & rows[0].keys():
        raise UsageError(
            f"{labels}: needs a column '{columns.file}' or '{_UID}' to find films by (it has "
            f"{', '.join(rows[0])}): --file-column"
        )
    found: dict[int, tuple[float, Mapping[str, str]]] = {}
    unused: list[Unused] = []
    unlabelled = 0
    for line, row in enumerate(rows, 2):
        label = label_from_cell((row[column] or "").strip(), labels, line)
        if math.isnan(label):
            unlabelled += 1
            continue
        place = _film_of(results, row, columns, f"{labels}, line {line}")
        name = row.get(columns.file) or row.get(_UID) or ""
        if place is None:
            unused.append(Unused(line, name, label, "no film of the run has this name"))
            continue
        film = results.films[place]
        if film.probability is None:
            why = f"{film.status}: {film.reason}" if film.status != Status.SCREENED else "no score"
            unused.append(Unused(line, name, label, why))
        elif place not in found:
            found[place] = label, row
        elif found[place][0] != label:
            raise UsageError(f"{labels}, line {line}: this film has another label further up")
    return _labelled(results, labels, columns, found, tuple(unused), unlabelled)


def _film_of(results: Results, row: Mapping[str, str], columns: LabelColumns, where: str) -> int | None:
    uid, name = row.get(_UID) or "", row.get(columns.file) or ""
    found = results.by_uid.get(safe_text(uid), set()) if uid else set()
    if not found and name:
        found = results.named(name)
    if len(found) > 1:
        raise UsageError(
            f"{where}: several films of {results.path} go by that name: give more of their path, or their "
            f"{_UID}"
        )
    return next(iter(found), None)


def _labelled(
    results: Results,
    path: Path,
    columns: LabelColumns,
    found: Mapping[int, tuple[float, Mapping[str, str]]],
    unused: tuple[Unused, ...],
    unlabelled: int,
) -> Labelled:
    places = sorted(found)
    films = [results.films[place] for place in places]
    rows = [found[place][1] for place in places]
    named = [row.get(columns.patient) or "" for row in rows]
    grouped_by = columns.patient if any(named) else "study" if any(film.study for film in films) else "film"
    patients = [patient or film.study or film.file for patient, film in zip(named, films, strict=True)]
    scored = sum(film.probability is not None for film in results.films)
    return Labelled(
        path=path,
        places=np.array(places, np.intp),
        labels=np.array([found[place][0] for place in places], np.float64),
        patients=np.array(patients, np.str_),
        sources=np.array([row.get(columns.source) or "" for row in rows], np.str_),
        grouped_by=grouped_by,
        unused=unused,
        unlabelled=unlabelled,
        unlabelled_films=scored - len(places),
        probabilities=np.array([film.probability for film in films], np.float64),
        logits=np.array([film.logit for film in films], np.float64),
        flagged=np.array([film.flagged for film in films], np.bool_),
    )
