"""A row: all that a decision or a report needs to know about one file. Versioned; kept in the ledger.

Reports, pages and pictures are views of rows. Fields are only ever appended, with a default.
"""

import json
import math
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
_LARGEST_HALF = 65504.0
"""A float16's."""


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A float16 grid [K, h, w] as it is kept: its shape, and its bytes zlib-compressed in base64.

    Unpacked only for pictures: most rows are read for their scores.
    """

    shape: tuple[int, ...]
    data: str

    @classmethod
    def pack(cls, grid: NDArray[np.floating[Any]]) -> Self:
        """A grid [K, h, w] of logits, rounded to float16; beyond its range, its largest value."""
        values = np.clip(grid, -_LARGEST_HALF, _LARGEST_HALF).astype("<f2")
        return cls(values.shape, b64encode(zlib.compress(values.tobytes(), 1)).decode())

    def grid(self) -> NDArray[np.float16]:
        """The grid [K, h, w], all finite. Raises LedgerError if it is damaged."""
        try:
            size = 2 * math.prod(self.shape)
            inflater = zlib.decompressobj()
            # A few bytes may say gigabytes of zeros.
            data = inflater.decompress(b64decode(self.data), size + 1)
            values = np.frombuffer(data, "<f2").reshape(self.shape).astype(np.float16)
            if len(data) != size or not inflater.eof or not np.isfinite(values).all():
                raise ValueError("its values are not those of its shape")
        except (ValueError, TypeError, OverflowError, zlib.error) as error:
            raise LedgerError("a heat map in the ledger is damaged; start over with --fresh") from error
        return values


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
    decided_before: how and when an earlier night decided about it, as `Ledger.decided` has it.
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
    decided_before: str = ""

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
        """The row again; fields of a newer version are ignored.

        Raises ValueError, KeyError or TypeError if it is broken. Types within are as the text has them: it is
        ours (`screen.ledger.foreign` looks at those of others).
        """
        try:
            return cls._from_plain(json.loads(text))
        except TypeError:
            return cls._from_plain(_without_unknown(json.loads(text)))
        except RecursionError as error:
            raise ValueError("nested without end") from error

    @classmethod
    def _from_plain(cls, plain: dict[str, Any]) -> Self:
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


def _without_unknown(plain: dict[str, Any]) -> dict[str, Any]:
    """A row's JSON without what newer versions have added, to it or to what it holds."""
    if not isinstance(plain, dict):
        raise TypeError("no object")
    row = {name: value for name, value in plain.items() if name in _FIELDS}
    for part, names in _PARTS.items():
        if isinstance(row.get(part), dict):
            row[part] = {name: value for name, value in row[part].items() if name in names}
    return row


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
_PARTS = {
    part: frozenset(field.name for field in fields(record))
    for part, record in (("identity", Identity), ("geometry", Geometry), ("inference", Inference))
}


class Rows(Protocol):
    """Rows in INPUT order that can be read more than once, as a ledger lists them."""

    def __iter__(self) -> Iterator[Row]:
        """All of them."""

    def __getitem__(self, position: int, /) -> Row:
        """One by its place, from 0."""

    def film_keys(self) -> Iterator[FilmKey]:
        """Of those that are screened and have pixels, in the same order; cheaper than whole rows."""
