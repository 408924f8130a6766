"""What a training command is given (folders, files, tables of labels) as squares with patients and labels."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.discover import discover, key_from_path
from screen.errors import UsageError
from screen.preprocess import Geometry, PreprocessSpec
from train.data.boxes import Box
from train.data.folds import Split, split_of
from train.data.squares import cached_squares, dropped_in_words
from train.data.table import Columns, Labelled, read_table, scorable
from train.progress import Progress

_MIN_SIDE_FILMS = 40
_NAMED = 5
"""Missing films that an error names."""


@dataclass(frozen=True, slots=True)
class LabelledFilms:
    """N films with all that fine-tuning, calibration and evaluation ask for.

    values: uint8 [N, S, S]. labels, abnormal: float32 [N], NaN where unknown. side_findings: A names, and
    side_labels float32 [N, A]: what else is said to be on the films, NaN where nothing is said. patients,
    sources: str [N]. files: str [N], as the table writes them. geometry: N, where each film lies in its
    square. boxes: N, where readers saw the finding on each. labels: what readers saw, where that is known.
    disputed: bool [N], labels that readers contradict, without more. judged: bool [N], films whose label is
    readers' or another hospital's. splits: str [N], a `Split` each. training_only: bool [N], films that are
    never judged on. digest: of the pixels. dropped: counts by reason.
    """

    values: NDArray[np.uint8]
    labels: NDArray[np.float32]
    abnormal: NDArray[np.float32]
    side_findings: tuple[str, ...]
    side_labels: NDArray[np.float32]
    patients: NDArray[np.str_]
    sources: NDArray[np.str_]
    files: NDArray[np.str_]
    geometry: tuple[Geometry, ...]
    boxes: tuple[tuple[Box, ...], ...]
    disputed: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    splits: NDArray[np.str_]
    training_only: NDArray[np.bool_]
    digest: str
    dropped: dict[str, int]

    def of(self, split: Split) -> NDArray[np.bool_]:
        """Mask [N] of the films on that side of the split."""
        return np.asarray(self.splits == split.value)

    def divided(self, rule: Callable[[str], Split]) -> "LabelledFilms":
        """The same films, each on the side that `rule` gives its patient."""
        return replace(self, splits=_sides(self.patients.tolist(), self.training_only, rule))

    def account(self) -> str:
        """Where every row of the tables went, in words."""
        films, dropped = len(self.values), sum(self.dropped.values())
        parts = [f"{films + dropped:,} rows: {films:,} films"]
        if dropped:
            parts.append(f"{dropped:,} dropped ({dropped_in_words(self.dropped)})")
        if unlabelled := int(np.isnan(self.labels).sum()):
            parts.append(f"{unlabelled:,} without a label")
        if others := int((~np.isnan(self.labels) & ~self.scorable()).sum()):
            parts.append(f"{others:,} of sources without the finding: not used")
        sides = ", ".join(f"{int(self.of(side).sum()):,} {side}" for side in Split if self.of(side).any())
        return f"{', '.join(parts)}; by patients: {sides}"

    def scorable(self) -> NDArray[np.bool_]:
        """Mask [N] of the films to measure on, see `train.data.table.scorable`."""
        return scorable(self.labels, self.sources)


@dataclass(frozen=True, slots=True)
class Films:
    """N films of which little need be known.

    values: uint8 [N, S, S]. patients, sources: str [N], "" where nobody says. labels: float32 [N], NaN where
    unknown. digest: of the pixels. dropped: counts by reason.
    """

    values: NDArray[np.uint8]
    patients: NDArray[np.str_]
    sources: NDArray[np.str_]
    labels: NDArray[np.float32]
    digest: str
    dropped: dict[str, int]

    def only(self, kept: NDArray[np.bool_]) -> "Films":
        """Those of a mask [N]."""
        return replace(
            self,
            values=self.values[kept],
            patients=self.patients[kept],
            sources=self.sources[kept],
            labels=self.labels[kept],
        )


def labelled_films(
    table: Path,
    columns: Columns,
    spec: PreprocessSpec,
    cache: Path,
    seed: int,
    progress: Progress,
    training_only: Sequence[Path] = (),
) -> LabelledFilms:
    """Every film of a table that can be read; see `train.data.table.read_table` for tables.

    training_only: more tables, whose films of training patients are trained on and whose others are left
    out: films that are not fit to be judged on.
    """
    listed = read_table(table, columns)
    more = [row for extra in training_only for row in read_table(extra, columns)]
    judged = _each_once(table, listed)
    rows = {_key(row.path): row for row in more} | judged
    _check_there(table, rows.values())
    squares = cached_squares(
        discover([row.path for row in rows.values()], None), spec, cache, progress, _true_shapes(rows)
    )
    kept = [rows[key] for key in squares.keys]
    extra = np.array([key not in judged for key in squares.keys], np.bool_)
    splits = _sides([row.patient_id for row in kept], extra, lambda patient: split_of(patient, seed))
    side_findings = _side_findings(kept, splits)
    return LabelledFilms(
        values=squares.values,
        labels=np.array([_label(row) for row in kept], np.float32),
        abnormal=np.array([row.abnormal for row in kept], np.float32),
        side_findings=side_findings,
        side_labels=_side_labels(kept, side_findings),
        patients=np.array([row.patient_id for row in kept]),
        sources=np.array([row.source for row in kept]),
        files=np.array([row.file for row in kept]),
        geometry=squares.geometry,
        boxes=tuple(row.boxes for row in kept),
        disputed=np.array([row.disputed for row in kept], np.bool_),
        judged=np.array([_is_judged(row, columns) for row in kept], np.bool_),
        splits=splits,
        training_only=extra,
        digest=squares.digest,
        dropped=_dropped(squares.dropped, len(listed) + len(more) - len(rows)),
    )


def unlabelled_films(
    inputs: Sequence[Path], columns: Columns, spec: PreprocessSpec, cache: Path, progress: Progress
) -> Films:
    """Whatever `screen run` takes, and tables of labels (nothing is learned from the labels).

    Patients come from PatientID, or from the table.
    """
    paths: list[Path] = []
    rows: dict[str, Labelled] = {}
    for given in inputs:
        if given.suffix == ".csv":
            listed = read_table(given, columns)
            _check_there(given, listed)
            paths += [row.path for row in listed]
            rows |= {_key(row.path): row for row in listed}
        else:
            paths.append(given)
    squares = cached_squares(discover(paths, None), spec, cache, progress, _true_shapes(rows))
    said = [rows.get(key) for key in squares.keys]
    return Films(
        values=squares.values,
        patients=np.array(
            [row.patient_id if row else tag for row, tag in zip(said, squares.patients, strict=True)], np.str_
        ),
        sources=np.array([row.source if row else "" for row in said], np.str_),
        labels=np.array([row.label if row else np.nan for row in said], np.float32),
        digest=squares.digest,
        dropped=squares.dropped,
    )


def _label(row: Labelled) -> float:
    return row.label if np.isnan(row.verdict) else row.verdict


def _is_judged(row: Labelled, columns: Columns) -> bool:
    return columns.readers is not None and (not np.isnan(row.verdict) or row.nih is False)


def _each_once(table: Path, rows: Sequence[Labelled]) -> dict[str, Labelled]:
    """Rows by their film. Raises UsageError for a film with two labels that differ."""
    found: dict[str, Labelled] = {}
    for row in rows:
        earlier = found.setdefault(_key(row.path), row)
        if not (earlier.label == row.label or np.isnan([earlier.label, row.label]).all()):
            raise UsageError(f"{table}: '{row.file}' is listed twice, with labels that differ")
    return found


def _check_there(table: Path, rows: Iterable[Labelled]) -> None:
    """Raises UsageError that names all films that are not there, the first of them."""
    rows = list(rows)
    missing = [str(row.path) for row in rows if not row.path.exists()]
    if missing:
        names = ", ".join(missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
        raise UsageError(
            f"{table}: {len(missing):,} of {len(rows):,} films are not there: {names}; files are looked for "
            "from the table's own folder, by --file-column"
        )


def check_learnable(table: Path, columns: Columns) -> None:
    """Before films are read. Raises UsageError if the table has none with the finding, or none without."""
    labels = [label for label in map(_label, read_table(table, columns)) if not np.isnan(label)]
    for label, kind in ((1, "with"), (0, "without")):
        if label not in labels:
            raise UsageError(
                f"{table}: none of its {len(labels):,} labelled films is {kind} the finding (no {label} in "
                f"the column '{columns.label}', --label-column): there is nothing to learn"
            )


def _dropped(by_reason: Mapping[str, int], twice: int) -> dict[str, int]:
    return {**by_reason, **({"listed_twice": twice} if twice else {})}


def _sides(
    patients: Sequence[str], training_only: NDArray[np.bool_], rule: Callable[[str], Split]
) -> NDArray[np.str_]:
    sides = [
        Split.LEFT_OUT if extra and side != Split.TRAIN else side
        for side, extra in zip(map(rule, patients), training_only, strict=True)
    ]
    return np.array([side.value for side in sides])


def _side_findings(rows: Sequence[Labelled], splits: NDArray[np.str_]) -> tuple[str, ...]:
    """What is on `_MIN_SIDE_FILMS` training films at least, of sources where the label occurs."""
    with_finding = {row.source for row in rows if row.label == 1}
    counts = Counter(
        name
        for row, split in zip(rows, splits, strict=True)
        if split == Split.TRAIN and row.source in with_finding
        for name in row.findings or ()
    )
    return tuple(sorted(name for name, count in counts.items() if count >= _MIN_SIDE_FILMS))


def _side_labels(rows: Sequence[Labelled], names: tuple[str, ...]) -> NDArray[np.float32]:
    return np.array(
        [
            [float("nan")] * len(names) if row.findings is None else [name in row.findings for name in names]
            for row in rows
        ],
        np.float32,
    ).reshape(len(rows), len(names))


def _true_shapes(rows: Mapping[str, Labelled]) -> dict[str, tuple[int, int]]:
    return {key: row.true_shape for key, row in rows.items() if row.true_shape}


def _key(path: Path) -> str:
    """As `screen.discover` names a file that is an input itself."""
    return key_from_path(os.fsencode(path))
