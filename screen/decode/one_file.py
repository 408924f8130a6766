"""One source to one square: what a decode worker does with a file."""

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason, Warn
from screen.discover import Source
from screen.film import Film, Identity, Unscreened
from screen.preprocess import Geometry, PreprocessSpec, square_from_pixels
from screen.readers import Aim, Limits, Refusal, read
from screen.readers.pictures import film_from_array
from screen.shortcuts import DecodePolicy, Shortcut


@dataclass(frozen=True, slots=True)
class Decoded:
    """A film on its way to the network: what `screen.film.Film` says, and the square in place of the pixels.

    square: uint8 [S, S]. warnings: the reader's and those of the square. policy: the shortcuts taken.
    header: what objects that are made of the film copy of it, as JSON; empty unless somebody asked for it.
    """

    identity: Identity
    pixel_digest: str
    decoder: str
    declared_chest: bool
    warnings: tuple[str, ...]
    geometry: Geometry
    square: NDArray[np.uint8]
    policy: DecodePolicy
    header: str = ""


_OUT_OF_MEMORY = Unscreened(Reason.TOO_LARGE, "more memory than one film may take")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a source, and the seconds that it cost: hash_seconds are no part of read_seconds."""

    result: Decoded | Unscreened
    read_seconds: float
    square_seconds: float
    hash_seconds: float = 0.0


def decode(source: Source, spec: PreprocessSpec, limits: Limits, policy: DecodePolicy) -> Outcome:
    """Read a source and make its square, by the shortcuts of `policy`. Never raises for what a file holds."""
    started = time.perf_counter()
    try:
        film = read(source, limits, Aim(spec.size, policy))
        read_done = time.perf_counter()
        if isinstance(film, Unscreened):
            return Outcome(_writable(film), read_done - started, 0.0)
        result = _decoded(film, spec, policy)
    except MemoryError:
        return Outcome(_OUT_OF_MEMORY, time.perf_counter() - started, 0.0)
    read_seconds = read_done - started - film.hash_seconds
    return Outcome(result, read_seconds, time.perf_counter() - read_done, film.hash_seconds)


def decode_array(
    values: NDArray[np.uint8] | NDArray[np.uint16], spec: PreprocessSpec, limits: Limits, policy: DecodePolicy
) -> Decoded | Unscreened:
    """`decode` for pixels that are in memory already: [H, W], full range, bone bright."""
    try:
        return _decoded(film_from_array(values, limits), spec, policy)
    except Refusal as refusal:
        return Unscreened(refusal.reason, refusal.detail)
    except MemoryError:
        return _OUT_OF_MEMORY


def _decoded(film: Film, spec: PreprocessSpec, policy: DecodePolicy) -> Decoded:
    """Raises MemoryError."""
    square = square_from_pixels(film.pixels, spec, stepwise=Shortcut.STEPWISE_RESIZE in policy)
    geometry = square.geometry
    warnings = list(film.warnings)
    if max(geometry.height, geometry.width) < spec.size:
        warnings.append(Warn.UPSCALED)
    if square.blank:
        warnings.append(Warn.BLANK)
    pose = square.pose
    said = {
        Warn.POLARITY_CONTRADICTED: pose.inverted,
        Warn.ON_ITS_SIDE: pose.on_its_side,
        Warn.UPSIDE_DOWN: pose.upside_down,
    }
    warnings += [code for code, holds in said.items() if holds]
    taken = frozenset({film.shortcut} if film.shortcut else ())
    if square.stepwise:
        taken |= {Shortcut.STEPWISE_RESIZE}
    return Decoded(
        identity=_writable_identity(film.identity),
        pixel_digest=film.pixel_digest.hex(),
        decoder=film.decoder,
        declared_chest=film.declared_chest,
        warnings=tuple(str(code) for code in warnings),
        geometry=geometry,
        square=square.values,
        policy=DecodePolicy(taken),
    )


def _writable(film: Unscreened) -> Unscreened:
    return replace(film, identity=_writable_identity(film.identity), detail=_text(film.detail))


def _writable_identity(identity: Identity) -> Identity:
    """Hostile headers hold lone surrogates, which neither SQLite nor UTF-8 can store."""
    return Identity(**{name: _text(getattr(identity, name)) for name in Identity.__slots__})


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode()
