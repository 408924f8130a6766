"""What decode workers say, as JSON: who has seen hostile bytes is believed no more than need be.

Pickle would let a worker that a crafted file has taken over run code in the parent. Squares travel in shared
memory beside these messages.
"""

import contextlib
import json
import math
from dataclasses import astuple
from typing import Any

import numpy as np

from screen.codes import Reason, Warn
from screen.decode.one_file import Decoded, Outcome
from screen.errors import ScreenError
from screen.film import Identity, Unscreened
from screen.preprocess import Geometry
from screen.shortcuts import DecodePolicy, Shortcut

MAX_BYTES = 1 << 20
"""Of one message: identities and complaints are short."""

READY = b"{}"
_NO_SQUARE = np.zeros((0, 0), np.uint8)


class WorkerStartError(ScreenError):
    """A worker cannot even start. The message says where in our code, and no values."""


def start_error_to_bytes(where: str) -> bytes:
    """Tell that this worker will never take a file."""
    return json.dumps({"start_error": where}).encode()


def check_start(message: bytes) -> None:
    """Of a worker's first message. Raises WorkerStartError if it tells that the worker cannot start."""
    with contextlib.suppress(ValueError, RecursionError):
        plain = json.loads(message)
        if isinstance(plain, dict) and "start_error" in plain:
            raise WorkerStartError(
                f"the processes that decode cannot start: {str(plain['start_error'])[:500]}"
            )


def outcome_to_bytes(outcome: Outcome) -> bytes:
    """Everything but the square."""
    film = outcome.result
    plain: dict[str, Any] = {
        "seconds": [outcome.read_seconds, outcome.square_seconds, outcome.hash_seconds],
        "identity": astuple(film.identity),
        "declared_chest": film.declared_chest,
    }
    if isinstance(film, Unscreened):
        plain |= {"reason": film.reason, "detail": film.detail}
    else:
        plain |= {
            "pixel_digest": film.pixel_digest,
            "decoder": film.decoder,
            "warnings": film.warnings,
            "geometry": astuple(film.geometry),
            "shortcuts": sorted(film.policy.shortcuts),
            "header": film.header,
        }
    return json.dumps(plain).encode()


def outcome_from_bytes(data: bytes) -> Outcome:
    """The outcome again, its square [0, 0]. Raises ValueError for what no worker says,"""
    try:
        plain = json.loads(data)
        read, square, hashing = map(_seconds, plain["seconds"])
        names = Identity.__slots__
        identity = Identity(**dict(zip(names, map(_text, plain["identity"]), strict=True)))
        if "reason" in plain:
            reason = Reason(plain["reason"])
            film = Unscreened(reason, _text(plain["detail"]), identity, bool(plain["declared_chest"]))
            return Outcome(film, read, square, hashing)
        result = Decoded(
            identity=identity,
            pixel_digest=_digest(plain["pixel_digest"]),
            decoder=_text(plain["decoder"]),
            declared_chest=bool(plain["declared_chest"]),
            warnings=tuple(str(Warn(code)) for code in plain["warnings"]),
            geometry=_geometry(plain["geometry"]),
            square=_NO_SQUARE,
            policy=DecodePolicy(frozenset(map(Shortcut, plain["shortcuts"]))),
            header=_text(plain["header"]),
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("no worker's message") from error
    return Outcome(result, read, square, hashing)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    # Lone surrogates can be spelled in JSON, and stored nowhere.
    return value.encode("utf-8", "replace").decode()


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise TypeError
    return float(value)


def _digest(value: Any) -> str:
    if len(bytes.fromhex(value)) != 32:
        raise TypeError
    return str(value)


def _geometry(value: Any) -> Geometry:
    geometry = Geometry(*value)
    if any(type(n) is not int for n in value) or not geometry.is_fitted:
        raise TypeError
    return geometry
