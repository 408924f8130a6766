"""Films as other hospitals make them, made of the films that there are.

A gate that knows a few collections takes what they have in common for what a chest film is: no edge, no
letters, no black beside the exposure. Each kind is one function of a random generator and a film. Whole kinds
are held out where the gate is measured: what it does with a hospital that nobody foresaw is what counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from train.data.others import Grey

ANOTHER = 0.35
"""How often a film has one more kind beside its own."""


@dataclass(frozen=True, slots=True)
class Shown:
    """kinds: of `KINDS`, the film's own first. values: uint8 [H, W], bone bright."""

    kinds: tuple[str, ...]
    values: Grey


def shown_elsewhere(film: Grey, kind: str, seed: Sequence[int]) -> Shown:
    """A film (or another picture) as that kind of hospital makes it, often with another kind as well.

    The same for the same seed.
    """
    rng = np.random.default_rng(seed)
    kinds = [kind]
    if rng.random() < ANOTHER:
        kinds.append(str(rng.choice([name for name in KINDS if name != kind])))
    values = film
    # A letter or a cable lies on the film, a border around it, a photograph is taken of all of it.
    for name in sorted(kinds, key=list(KINDS).index):
        values = np.ascontiguousarray(KINDS[name](rng, values))
    return Shown(tuple(kinds), values)


def _shares(rng: Generator, most: float) -> NDArray[np.float64]:
    """Of the film's sides (top, bottom, left, right) what is lost there: on one to three of them, up to
    `most` of each, of two that lie opposite half of it.
    """
    sides = rng.permutation(4)[: int(rng.integers(1, 4))]
    shares = np.zeros(4)
    shares[sides] = rng.uniform(0.05, most, len(sides))
    for first in (0, 2):
        pair = shares[first : first + 2]
        if pair.min() > 0:
            pair *= min(1.0, 1.25 * most / pair.sum())
    return shares


def _box(shape: tuple[int, ...], shares: NDArray[np.float64]) -> tuple[slice, slice]:
    height, width = shape
    top, bottom, left, right = shares
    return (
        slice(int(top * height), height - int(bottom * height)),
        slice(int(left * width), width - int(right * width)),
    )


def _scatter(rng: Generator, shape: tuple[int, ...], ground: float) -> NDArray[np.float32]:
    """What lies outside of the exposure: even, or a little uneven, with grain."""
    values = np.full(shape, ground, np.float32)
    if rng.random() < 0.6:
        coarse = rng.normal(size=(3, 3)).astype(np.float32) * rng.uniform(1, 10)
        values += cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
        values += rng.normal(size=shape).astype(np.float32) * float(rng.uniform(0.5, 4))
    return values


def _dark(rng: Generator) -> float:
    return float(rng.choice([0.0, rng.uniform(0, 40)]))


def _cables(rng: Generator, film: Grey) -> Grey:
    """Wires with electrodes, tubes, a pacemaker: bright, thin, bent."""
    height, width = film.shape
    bright = np.zeros(film.shape, np.uint8)
    for _ in range(int(rng.integers(2, 9))):
        ends = rng.uniform(-0.1, 1.1, (4, 2)) * (width, height)
        t = np.linspace(0, 1, 60)[:, None]
        curve = (1 - t) ** 3 * ends[0] + 3 * (1 - t) ** 2 * t * ends[1] + 3 * (1 - t) * t**2 * ends[2]
        points = (curve + t**3 * ends[3]).astype(np.int32)
        thick, grey = int(rng.integers(1, 5)), int(rng.integers(60, 230))
        cv2.polylines(bright, [points], False, grey, thick, cv2.LINE_AA)
        if rng.random() < 0.5:
            centre = (int(points[0, 0]), int(points[0, 1]))
            cv2.circle(bright, centre, int(width * rng.uniform(0.01, 0.03)), int(rng.integers(120, 256)), -1)
    if rng.random() < 0.3:
        centre = (int(width * rng.uniform(0.15, 0.85)), int(height * rng.uniform(0.1, 0.4)))
        axes = (int(width * rng.uniform(0.04, 0.09)), int(width * rng.uniform(0.03, 0.07)))
        cv2.ellipse(bright, centre, axes, float(rng.uniform(0, 180)), 0, 360, 240, -1, cv2.LINE_AA)
    covered = bright.astype(np.float32) / 255
    return (film + covered * (255 - film.astype(np.float32))).astype(np.uint8)


def _exposure(rng: Generator, film: Grey) -> Grey:
    """Too much, too little, too soft, too hard; noise, or a film that moved."""
    values: NDArray[Any] = film.astype(np.float32) / 255
    values **= float(np.exp(rng.uniform(-0.8, 0.8)))
    low, high = rng.uniform(-0.15, 0.15), rng.uniform(0.8, 1.2)
    values = np.clip((values - low) / (high - low), 0, 1)
    if rng.random() < 0.5:
        values = cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.5, 2.5)))
    if rng.random() < 0.5:
        grain = rng.normal(size=film.shape).astype(np.float32) * float(rng.uniform(0.01, 0.08))
        values = values + cv2.GaussianBlur(grain, (0, 0), float(rng.uniform(0.3, 1.2)))
    return np.asarray(np.clip(values * 255, 0, 255), np.uint8)


def _turned(rng: Generator, film: Grey) -> Grey:
    """On its side, upside down, or askew; a mirror image."""
    values = np.ascontiguousarray(np.rot90(film, int(rng.integers(4))))
    if rng.random() < 0.3:
        values = values[:, ::-1]
    height, width = values.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-15, 15)), 1.0)
    return np.asarray(
        cv2.warpAffine(values, turn, (width, height), flags=cv2.INTER_LINEAR, borderValue=_dark(rng)),
        np.uint8,
    )


def _cropped(rng: Generator, film: Grey) -> Grey:
    """A detector that was read where it was exposed: up to 40 % of each side are not there."""
    return film[_box(film.shape, _shares(rng, 0.4))]


def _collimated(rng: Generator, film: Grey) -> Grey:
    """Up to 40 % of each side were not exposed: dark, or white where somebody inverted the film."""
    ground = 255.0 if rng.random() < 0.15 else _dark(rng)
    values = _scatter(rng, film.shape, ground)
    box = _box(film.shape, _shares(rng, 0.4))
    values[box] = film[box]
    return np.clip(values, 0, 255).astype(np.uint8)


def _slanted(rng: Generator, film: Grey) -> Grey:
    """Collimator blades askew, their edges soft: what they hid is dark."""
    height, width = film.shape
    inside: NDArray[Any] = np.zeros(film.shape, np.float32)
    top, bottom, left, right = rng.uniform(0, 0.25, 4)
    corners = np.array([[left, top], [1 - right, top], [1 - right, 1 - bottom], [left, 1 - bottom]])
    corners += rng.uniform(-0.08, 0.08, (4, 2))
    angle = np.deg2rad(rng.uniform(-12, 12))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = ((corners - 0.5) @ turn + 0.5) * (width, height)
    cv2.fillConvexPoly(inside, corners.astype(np.int32), 1.0)
    inside = cv2.GaussianBlur(inside, (0, 0), float(rng.uniform(0.5, 6)))
    through = float(rng.choice([0.0, rng.uniform(0, 0.35)]))
    outside = _scatter(rng, film.shape, _dark(rng)) * (1 - through) + through * film
    return np.asarray(np.clip(inside * film + (1 - inside) * outside, 0, 255), np.uint8)


def _border(rng: Generator, film: Grey) -> Grey:
    """Around the film, or at some of its sides: a black or a white border, or a white one in a black one."""
    height, width = film.shape
    values: NDArray[Any] = film
    for grey in ((255, 0), (0,), (255,), (0, 255))[int(rng.integers(4))]:
        sides = rng.uniform(0.01, 0.18, 4) * (rng.random(4) < 0.75)
        top, bottom, left, right = (sides * (height, height, width, width)).astype(int).tolist()
        values = cv2.copyMakeBorder(values, top, bottom, left, right, cv2.BORDER_CONSTANT, value=grey)
    return np.asarray(values, np.uint8)


def _large_plate(rng: Generator, film: Grey) -> Grey:
    """A plate larger than what was exposed: the film lies somewhere on it, the rest is dark."""
    height, width = film.shape
    rows, columns = (int(side * rng.uniform(1, 1.7)) for side in film.shape)
    if max(rows / height, columns / width) < 1.15:
        rows = int(rows * 1.4)
    values = _scatter(rng, (rows, columns), _dark(rng))
    top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
    values[top : top + height, left : left + width] = film
    return np.clip(values, 0, 255).astype(np.uint8)


def _letters(rng: Generator) -> str:
    return "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVW 0123456789.:-/"), int(rng.integers(3, 22))))


def _labels(rng: Generator, film: Grey) -> Grey:
    """Boxes with letters at the edges, white on black or black on white: name, date, hospital."""
    values = film.copy()
    height, width = film.shape
    for _ in range(int(rng.integers(1, 4))):
        h, w = int(height * rng.uniform(0.04, 0.2)), int(width * rng.uniform(0.12, 0.45))
        top = int(rng.choice([rng.uniform(0, 0.06), rng.uniform(0.94, 1)]) * (height - h))
        left = int(rng.uniform(0, 1) * (width - w))
        ground = (0, 255, int(rng.integers(256)))[int(rng.integers(3))]
        box = np.ascontiguousarray(values[top : top + h, left : left + w])
        if rng.random() < 0.8:
            box[:] = ground
        ink = 255 if ground < 128 else 0
        lines = int(rng.integers(1, 5))
        for line in range(lines):
            place = (2, int((line + 0.8) * h / lines))
            cv2.putText(box, _letters(rng), place, 0, max(0.25, h / lines / 30), ink, 1, cv2.LINE_AA)
        values[top : top + h, left : left + w] = box
    return values


def _markers(rng: Generator, film: Grey) -> Grey:
    """Letters of lead, arrows, a scale, a stamp with the side: small and nearly white."""
    values = film.copy()
    height, width = film.shape
    for _ in range(int(rng.integers(1, 5))):
        x, y = int(width * rng.uniform(0, 0.9)), int(height * rng.uniform(0.05, 1))
        grey, size = int(rng.integers(190, 256)), float(height / 400 * rng.uniform(0.5, 2.5))
        style = rng.integers(4)
        if style < 2:
            words = str(
                rng.choice(["L", "R", "PA", "AP", "ERECT", "SUPINE", "PORTABLE", "LI", "RE", "D", "I"])
            )
            cv2.putText(values, words, (x, y), int(rng.integers(5)), size, grey, int(rng.integers(1, 4)))
        elif style == 2:
            length = int(width * rng.uniform(0.03, 0.12))
            cv2.arrowedLine(values, (x, y), (x + length, y - length), grey, 2)
        else:
            for tick in range(int(rng.integers(5, 20))):
                cv2.line(values, (0, y + 6 * tick), (6 + 6 * (tick % 5 == 0), y + 6 * tick), grey, 1)
    return values


def _inverted(rng: Generator, film: Grey) -> Grey:
    """Bone dark."""
    return np.asarray(255 - film, np.uint8)


def _light_box(rng: Generator, film: Grey) -> Grey:
    """Photographed from a light box: aslant, with what lies around it, glare, uneven light, JPEG's blocks."""
    height, width = film.shape
    rows, columns = (int(side * rng.uniform(1.02, 1.35)) for side in film.shape)
    ground = float(rng.choice([rng.uniform(0, 50), rng.uniform(180, 255)]))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    offset = np.array([columns - width, rows - height]) * rng.uniform(0, 1, 2)
    seen = corners + offset + rng.uniform(-0.05, 0.05, (4, 2)) * (width, height)
    warp = cv2.getPerspectiveTransform(corners, seen.astype(np.float32))
    values = _scatter(rng, (rows, columns), ground)
    warped = cv2.warpPerspective(film.astype(np.float32), warp, (columns, rows))
    covered = cv2.warpPerspective(np.ones(film.shape, np.float32), warp, (columns, rows))
    values = values * (1 - covered) + warped * rng.uniform(0.6, 1) + covered * rng.uniform(0, 50)
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    cy, cx = rng.uniform(-1, 1, 2)
    values *= 1 - rng.uniform(0, 0.5) * np.minimum(1, np.hypot(x - cx, y - cy) / 2)
    if rng.random() < 0.5:
        cy, cx = rng.uniform(-0.8, 0.8, 2)
        values += rng.uniform(20, 120) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / rng.uniform(0.01, 0.1))
    values += rng.normal(size=values.shape) * rng.uniform(1, 8)
    coded = cv2.imencode(
        ".jpg",
        np.clip(values, 0, 255).astype(np.uint8),
        [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))],
    )[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)


KINDS: dict[str, Callable[[Generator, Grey], Grey]] = {
    "exposure": _exposure,
    "cables": _cables,
    "cropped": _cropped,
    "collimated": _collimated,
    "slanted": _slanted,
    "markers": _markers,
    "large_plate": _large_plate,
    "border": _border,
    "labels": _labels,
    "turned": _turned,
    "inverted": _inverted,
    "light_box": _light_box,
}
"""In the order in which they are put on a film that has two."""
