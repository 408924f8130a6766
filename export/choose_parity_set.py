"""The squares that ship with a model, for certificates made where it runs (`screen.engines.parity`)."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.backends import open_backend
from screen.backends.agreement import probabilities, scores_from_backend
from screen.errors import UsageError
from screen.files import whole_file, write_whole
from screen.machine import usable_cpus
from screen.model import Model

COUNT = 128
_BATCH = 16


def write_parity_set(model: Model, squares: NDArray[np.uint8], names: Sequence[str], out: Path) -> None:
    """Choose `COUNT` of the squares and write them to `out` (npz), and their films' names beside it (JSON).

    squares: uint8 [N, S, S] of films that may be passed on, by the model's preprocessing; names: N of them.
    Raises UsageError if they are too few to choose from.
    """
    if len(squares) < 2 * COUNT:
        raise UsageError(f"{len(squares)} films: a parity set is chosen from {2 * COUNT} or more")
    with open_backend(model, "cpu", _BATCH, usable_cpus()) as backend:
        scores = probabilities(model.card, scores_from_backend(backend, squares).logits)
    thresholds = [
        (index, point.threshold)
        for index, finding in enumerate(model.card.findings)
        for point in finding.operating_points
    ]
    chosen = sorted(chosen_films(scores, thresholds))
    with whole_file(_plain(out)) as stream:
        np.savez_compressed(
            stream, squares=squares[chosen], preprocess_digest=np.str_(model.card.preprocess_digest)
        )
    listed = json.dumps({"films": [names[index] for index in chosen]}, indent=1) + "\n"
    write_whole(out.with_suffix(".json"), listed.encode())


def chosen_films(scores: NDArray[np.float64], thresholds: Sequence[tuple[int, float]]) -> set[int]:
    """`COUNT` rows of scores [N, K]: an eighth spread over all scores, the others next to the thresholds.

    thresholds: finding's column and probability. Where an engine differs, verdicts near them flip first.
    """
    order = np.argsort(scores[:, 0], kind="stable")
    chosen = set(order[np.linspace(0, len(order) - 1, COUNT // 8).astype(int)].tolist())
    nearest = [np.argsort(np.abs(scores[:, k] - at), kind="stable").tolist() for k, at in thresholds]
    turn = 0
    while len(chosen) < COUNT:
        queue = nearest[turn % len(nearest)]
        chosen.add(queue.pop(0))
        turn += 1
    return chosen


def _plain(out: Path) -> Path:
    if out.suffix != ".npz":
        raise UsageError(f"{out}: a parity set is a file .npz")
    return out
