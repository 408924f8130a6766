"""The gate from tables of films and folders of other pictures: read, fitted round by round, kept."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from screen.discover import Source, discover
from screen.errors import UsageError
from screen.files import write_whole
from screen.film import Film
from screen.preprocess import PreprocessSpec
from screen.readers import read
from train.data.folds import cross_fold_of
from train.data.others import Grey, greys, others
from train.data.table import Columns, Labelled, read_table
from train.network.checkpoint import load_checkpoint, save_checkpoint
from train.network.compute import Compute
from train.network.gate import Gate
from train.recipes.fit_gate import (
    KIND,
    MADE_AT_ONCE,
    GateSettings,
    Given,
    Judged,
    edges,
    figures,
    fit_gate,
    pictures_of,
    rounds,
    scores_of,
)

NIH = "nih"
MADE = 3600
"""Pictures that are made for it."""
_LONGEST = 512
"""Of a film before it is shown elsewhere, pixels."""
_SHOWN_FILMS, _SHOWN_FOUND = 1000, 2
"""How many films of a hospital are shown elsewhere, some of them several times if it has fewer; how often a
picture that was found is."""


@dataclass(frozen=True, slots=True)
class Made:
    """gate: with edges, fitted on everything. figures: of gates that did not know what they judged."""

    gate: Gate
    figures: dict[str, Any]


def hospital_of(row: Labelled) -> str:
    """Collections of NIH's films are one hospital's; of others the source's first word says which it is."""
    return NIH if row.nih else row.source.split("_")[0]


def gate_of(
    tables: Sequence[Path],
    columns: Columns,
    folders: Sequence[Path],
    size: int,
    settings: GateSettings,
    kept: Path,
    report: Callable[[str], None],
) -> Made:
    """Read, fit and measure. folders: of other pictures. kept: folder of rounds, which are not made again.

    Raises UsageError if a folder of rounds is of other settings or pictures.
    """
    rows = [row for table in tables for row in read_table(table, columns)]
    given = [*_films(rows), *_found(folders), *_made(rows, settings.seed)]
    compute = Compute.choose("cpu")
    report(f"reading {len(given)} pictures")
    pictures = pictures_of(given, PreprocessSpec(size=size).judged(), settings.seed)
    kept.mkdir(parents=True, exist_ok=True)
    _same(kept / "settings.json", {**asdict(settings), "size": size, "pictures": len(pictures.chest)})
    parts = []
    for one in rounds(pictures):
        path = kept / f"{one.name}.npy"
        if not path.is_file():
            report(f"{one.name}: fitted without them")
            fitted = fit_gate(pictures, one.training, settings, compute)
            scores = scores_of(fitted, pictures.values[one.judged])
            data = BytesIO()
            np.save(data, scores)
            write_whole(path, data.getvalue())
        parts.append((np.flatnonzero(one.judged), np.load(path)))
    judged = Judged(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    low, high = edges(pictures, judged)
    report("fitted on everything")
    everything = np.ones(len(pictures.chest), np.bool_)
    gate = fit_gate(pictures, everything, settings, compute).with_edges(low, high)
    return Made(gate, figures(pictures, judged, low, high))


def save_gate(path: Path, made: Made, size: int, settings: GateSettings, about: Mapping[str, Any]) -> None:
    """Write the gate's checkpoint: tensors by `gate.….` names, figures and settings."""
    tensors = {f"gate.{name}": value for name, value in made.gate.state_dict().items()}
    save_checkpoint(
        path,
        tensors,
        {
            "kind": KIND,
            "size": size,
            "settings": asdict(settings),
            "figures": made.figures,
            "provenance": dict(about),
        },
    )


def load_gate(path: Path, size: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and figures of what `save_gate` wrote; UsageError if it is none, or for other squares."""
    tensors, about = load_checkpoint(path)
    if about["kind"] != KIND:
        raise UsageError(f"{path} is a checkpoint of the kind '{about['kind']}', not a gate")
    if about["size"] != size:
        raise UsageError(
            f"{path} judges squares of {about['size']} pixels, the classifier's have {size}: "
            f"screen train gate --size {size}"
        )
    return tensors, about["figures"]


def _same(path: Path, wanted: dict[str, Any]) -> None:
    text = json.dumps(wanted, sort_keys=True)
    if path.is_file() and path.read_text() != text:
        raise UsageError(
            f"{path.parent} holds rounds of other settings or pictures: remove it, or choose another --out"
        )
    write_whole(path, text.encode())


def _films(rows: Sequence[Labelled]) -> list[Given]:
    hospitals = [hospital_of(row) for row in rows]
    if len(set(hospitals)) == 1:
        # Nobody else to leave out: a fifth of the patients, then, which says less.
        hospitals = [f"fifth {cross_fold_of(row.patient_id, 0)}" for row in rows]
    sources = list(discover([row.path for row in rows], None))
    sizes = {name: hospitals.count(name) for name in set(hospitals)}
    given = []
    for index, (source, hospital) in enumerate(zip(sources, hospitals, strict=True)):
        # Films of a large hospital in turn, those of a small one several times.
        most = _SHOWN_FILMS / sizes[hospital]
        times = int((index + 1) * most) - int(index * most)
        given.append(Given(partial(_grey, source), True, hospital, "", min(times, 8)))
    return given


def _found(folders: Sequence[Path]) -> list[Given]:
    """A collection in several folders has a kind in each; else every picture is a kind of its own."""
    given = []
    for folder in folders:
        collection = "/".join(folder.parts[-2:])
        sources = list(discover([folder], None))
        places = [source.key.rpartition("/")[0] for source in sources]
        for source, place in zip(sources, places, strict=True):
            kind = place if len(set(places)) > 1 else source.key
            for mirrored in (False, True):
                given.append(Given(partial(_grey, source, mirrored), False, collection, kind, _SHOWN_FOUND))
    return given


def _made(rows: Sequence[Labelled], seed: int) -> list[Given]:
    films = greys(list(discover([row.path for row in rows], None)), 400)
    return [
        Given(partial(_itself, other.values), False, MADE_AT_ONCE, other.kind, index % 2)
        for index, other in enumerate(others(min(MADE, 2 * len(rows)), films, seed))
    ]


def _itself(values: Grey) -> Grey:
    return values


def _grey(source: Source, mirrored: bool = False) -> Grey:
    """In 8 bits, its longer side at most `_LONGEST`; black where it cannot be read."""
    film = read(source)
    if not isinstance(film, Film):
        return np.zeros((64, 64), np.uint8)
    grey: NDArray[Any] = (np.asarray(cv2.LUT(film.pixels.values, film.pixels.lookup), np.uint16) >> 8).astype(
        np.uint8
    )
    scale = min(1.0, _LONGEST / max(grey.shape))
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(grey[:, ::-1] if mirrored else grey)
