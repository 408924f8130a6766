"""A row: all that a decision or a report needs to know about one file. Versioned; kept in the ledger.

Reports, pages and pictures are views of rows. Fields are only ever appended, with a default.
"""

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason, Status
from screen.errors import LedgerError
from screen.film import Identity
from screen.preprocess import Geometry

ROW_VERSION = 1


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A float16 grid [K, h, w] as it is kept: its shape, and its bytes zlib-compressed in base64.

    Unpacked only for pictures: most rows are read for their scores.
    """

    shape: tuple[int, ...]
    data: str

    @classmethod
    def pack(cls, grid: NDArray[np.floating[Any]]) -> Self:
        """A grid [K, h, w] of logits, rounded to float16."""
        values = grid.astype("<f2")
        return cls(values.shape, b64encode(zlib.compress(values.tobytes(), 1)).decode())

    def grid(self) -> NDArray[np.float16]:
        """The grid [K, h, w]. Raises LedgerError if it is damaged."""
        try:
            values = np.frombuffer(zlib.decompress(b64decode(self.data)), "<f2")
            return values.reshape(self.shape).astype(np.float16)
        except (ValueError, zlib.error) as error:
            raise LedgerError("a heat map in the ledger is damaged; start over with --fresh") from error


@dataclass(frozen=True, slots=True)
class Inference:
    """What one forward pass said of one film; thresholds and calibration have no part in it.

    logits: one per finding, in the model's order. gate: logit, > 0 means chest film. distance: from normal
    films, as the graph gives it. heatmap: [K, h, w], logit units before the bias.
    """

    logits: tuple[float, ...]
    gate: float
    distance: float
    heatmap: Heatmap
    weights_digest: str


@dataclass(frozen=True, slots=True)
class Row:
    """One input file.

    file: as reports show it (INPUT joined with the relative path, or its pseudonym).
    status, reason: what reading and inference made of it. The gate's verdict is a decision (`screen.decide`)
    and not in here: a picture that the gate will turn away is `screened` in its row.
    warnings: codes from `screen.codes.Warn` that reading gave.
    pixel_digest: hex; empty if there are no pixels. decode_policy: how pixels were read, `full` or a policy
    that the model lists. listed_before: a finished report of an earlier night has listed its case as flagged.
    """

    file: str
    status: Status
    reason: Reason | None = None
    detail: str = ""
    warnings: tuple[str, ...] = ()
    identity: Identity = field(default_factory=Identity)
    declared_chest: bool = False
    pixel_digest: str = ""
    decoder: str = ""
    decode_policy: str = "full"
    geometry: Geometry | None = None
    inference: Inference | None = None
    version: int = ROW_VERSION
    listed_before: bool = False

    def to_json(self) -> str:
        """The row as one line of JSON."""
        plain = _plain(self)
        plain["identity"] = _plain(self.identity)
        if self.geometry is not None:
            plain["geometry"] = _plain(self.geometry)
        if self.inference is not None:
            plain["inference"] = _plain(self.inference) | {"heatmap": _plain(self.inference.heatmap)}
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The row again; fields of a newer version are ignored. Raises ValueError if it is broken."""
        plain: dict[str, Any] = json.loads(text)
        if not plain.keys() <= _FIELDS:
            plain = {name: value for name, value in plain.items() if name in _FIELDS}
        plain["status"] = Status(plain["status"])
        plain["reason"] = Reason(plain["reason"]) if plain["reason"] else None
        plain["warnings"] = tuple(plain["warnings"])
        plain["identity"] = Identity(**plain["identity"])
        if plain["geometry"] is not None:
            plain["geometry"] = Geometry(**plain["geometry"])
        if (inference := plain["inference"]) is not None:
            packed = inference["heatmap"]
            inference["heatmap"] = Heatmap(tuple(packed["shape"]), packed["data"])
            inference["logits"] = tuple(inference["logits"])
            plain["inference"] = Inference(**inference)
        return cls(**plain)


def _plain(record: Any) -> dict[str, Any]:
    """A dataclass's fields; `asdict` copies every value deeply, which took most of a row's time."""
    return {name: getattr(record, name) for name in record.__slots__}


class FilmKey(NamedTuple):
    """Of a screened row, what tells whether another file shows the same film.

    position: in INPUT order. uid: the SOP Instance UID, empty if it has none. whose: patient and study.
    has_result: its inference is in this very row.
    """

    position: int
    uid: str
    whose: str
    pixel_digest: str
    has_result: bool
    declared_chest: bool


_FIELDS = frozenset(field.name for field in fields(Row))


class Rows(Protocol):
    """Rows in INPUT order that can be read more than once, as a ledger lists them."""

    def __iter__(self) -> Iterator[Row]:
        """All of them."""

    def __getitem__(self, position: int, /) -> Row:
        """One by its place, from 0."""

    def film_keys(self) -> Iterator[FilmKey]:
        """Of those that are screened and have pixels, in the same order; cheaper than whole rows."""
