"""Pictures that are no chest radiograph, made: what a gate should turn away and nobody collects.

Each kind is one function of a random generator (and of films, for what is made of films). They are crude: a
gate has to tell them from films, not to learn what they show. Whole kinds are held out where it is measured.
"""

import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from screen.discover import Source
from screen.film import Film
from screen.readers import read

Grey = NDArray[np.uint8]
"""uint8 [H, W]."""
_SIDE = 320


@dataclass(frozen=True, slots=True)
class Other:
    """kind: a key of `KINDS`. values: uint8 [H, W]."""

    kind: str
    values: Grey


def others(count: int, films: Sequence[Grey], seed: int) -> Iterator[Other]:
    """`count` pictures, every kind as often, the same for the same seed and films.

    films: upright chest films, uint8 [H, W]: pieces of them are used.
    """
    names = list(KINDS)
    for index in range(count):
        kind = names[index % len(names)]
        rng = np.random.default_rng([seed, index])
        film = films[int(rng.integers(len(films)))]
        values = KINDS[kind](rng, film)
        if rng.random() < 0.25:
            values = 255 - values
        yield Other(kind, np.ascontiguousarray(values))


def greys(sources: Sequence[Source], count: int) -> list[Grey]:
    """About `count` films, evenly out of `sources`, in 8 bits, for `others`."""
    step = max(1, len(sources) // count)
    films = (read(source) for source in sources[::step])
    return [
        (np.asarray(cv2.LUT(film.pixels.values, film.pixels.lookup), np.uint16) >> 8).astype(np.uint8)
        for film in films
        if isinstance(film, Film)
    ]


def _shape(rng: Generator) -> tuple[int, int]:
    height, width = (int(side) for side in rng.integers(_SIDE * 5 // 8, _SIDE + 1, 2))
    return height, width


def _to_grey(values: NDArray[Any]) -> Grey:
    """Stretched from its smallest to its largest value."""
    low, high = float(values.min()), float(values.max())
    return ((values - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)


def _noise(rng: Generator, shape: tuple[int, int], power: float) -> NDArray[np.float64]:
    """Zero mean, unit variance, amplitude falling with frequency to that power: 0 is white."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(size=shape)) / frequency**power
    spectrum[0, 0] = 0
    values = np.fft.irfft2(spectrum, shape)
    return np.asarray(values / values.std())


def _nothing(rng: Generator, film: Grey) -> Grey:
    """An exposure of nothing: grain on an even ground, perhaps with collimated edges."""
    shape = _shape(rng)
    values = 128 + rng.uniform(1, 12) * _noise(rng, shape, rng.uniform(0, 0.5))
    if rng.random() < 0.5:
        top, left = (int(rng.integers(1, side // 3)) for side in shape)
        edged = np.full(shape, rng.choice([0.0, 255.0]))
        edged[top:-top, left:-left] = values[top:-top, left:-left]
        values = edged
    return np.clip(values, 0, 255).astype(np.uint8)


def _gradient(rng: Generator, film: Grey) -> Grey:
    """A ramp, or light that falls off from one place."""
    height, width = _shape(rng)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle, (cy, cx) = rng.uniform(0, 2 * np.pi), rng.uniform(-1, 1, 2)
    ramp = np.cos(angle) * x + np.sin(angle) * y
    values = ramp if rng.random() < 0.5 else np.hypot(x - cx, y - cy) ** rng.uniform(0.5, 2)
    return _to_grey(values + rng.uniform(0, 0.1) * rng.normal(size=values.shape))


def _white_noise(rng: Generator, film: Grey) -> Grey:
    return _to_grey(np.clip(_noise(rng, _shape(rng), 0), -2, 2))


def _coloured_noise(rng: Generator, film: Grey) -> Grey:
    return _to_grey(_noise(rng, _shape(rng), rng.uniform(0.5, 2.2)))


def _leaves(rng: Generator, film: Grey) -> Grey:
    """Things that hide one another, of every size: the statistics of photographs (Lee et al., IJCV 2001)."""
    height, width = _shape(rng)
    values = np.zeros((height, width), np.float64)
    for _ in range(int(rng.integers(60, 400))):
        radius = 4 / rng.uniform(0.03, 1)
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (max(1, int(radius)), max(1, int(radius * rng.uniform(0.3, 1))))
        grey = float(rng.uniform(0, 255))
        cv2.ellipse(values, centre, axes, float(rng.uniform(0, 180)), 0, 360, grey, -1)
    values += rng.uniform(0, 25) * _noise(rng, (height, width), rng.uniform(0.3, 1.2))
    return _to_grey(cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 2)))


def _words(rng: Generator, count: int) -> str:
    letters = np.array(list(string.ascii_letters + string.digits))
    return " ".join("".join(rng.choice(letters, int(rng.integers(1, 11)))) for _ in range(count))


def _text(rng: Generator, film: Grey) -> Grey:
    """A page of letters."""
    height, width = _shape(rng)
    page = np.full((height, width), 255, np.uint8)
    scale = float(rng.uniform(0.25, 0.8))
    y = int(30 * scale)
    while y < height:
        if rng.random() < 0.85:
            indent = int(rng.integers(4, 30))
            cv2.putText(page, _words(rng, int(rng.integers(1, 9))), (indent, y), 0, scale, 0, 1, cv2.LINE_AA)
        y += int(rng.uniform(30, 45) * scale)
    return page


def _plot(rng: Generator, film: Grey) -> Grey:
    """Axes with curves, points or bars in them."""
    height, width = _shape(rng)
    page = np.full((height, width), 255, np.uint8)
    left, bottom = int(width * rng.uniform(0.05, 0.2)), int(height * rng.uniform(0.8, 0.95))
    cv2.rectangle(page, (left, 10), (width - 10, bottom), 0, 1)
    for _ in range(int(rng.integers(1, 5))):
        count, grey = int(rng.integers(5, 60)), int(rng.integers(0, 200))
        x = np.linspace(left, width - 10, count)
        y = np.interp(np.cumsum(rng.normal(size=count)), [-8, 8], [bottom, 10])
        points = np.stack([x, y], 1).astype(np.int32)
        style = rng.integers(3)
        if style == 0:
            cv2.polylines(page, [points], False, grey, int(rng.integers(1, 4)), cv2.LINE_AA)
        for px, py in points.tolist():
            if style == 1:
                cv2.circle(page, (px, py), 3, grey, -1)
            elif style == 2:
                cv2.rectangle(page, (px, py), (px + max(1, (width - left) // count // 2), bottom), grey, -1)
    for tick in np.linspace(left, width - 40, 5).astype(int).tolist():
        cv2.putText(page, _words(rng, 1)[:4], (tick, height - 4), 0, 0.35, 0, 1, cv2.LINE_AA)
    return page


def _screenshot(rng: Generator, film: Grey) -> Grey:
    """Windows with bars, words and small pictures, a film's perhaps."""
    height, width = _SIDE * 5 // 8, _SIDE
    screen = np.full((height, width), int(rng.integers(0, 256)), np.uint8)
    for _ in range(int(rng.integers(2, 7))):
        top, left = int(rng.integers(height - 60)), int(rng.integers(width - 80))
        h, w = int(rng.integers(50, height)), int(rng.integers(70, width))
        window = screen[top : top + h, left : left + w]
        window[:] = rng.integers(0, 256)
        window[:12] = rng.integers(0, 256)
        ink = int(rng.integers(0, 256))
        cv2.putText(window, _words(rng, 3), (3, 9), 0, 0.3, ink, 1)
        if rng.random() < 0.4:
            side = min(window.shape[0] - 16, window.shape[1] // 3)
            window[14 : 14 + side, 2 : 2 + side] = cv2.resize(film, (side, side))
        for y in range(24, window.shape[0], int(rng.integers(10, 18))):
            cv2.putText(
                window, _words(rng, 4), (int(rng.integers(4, window.shape[1] // 2)), y), 0, 0.3, ink, 1
            )
    return screen


def _test_pattern(rng: Generator, film: Grey) -> Grey:
    """What one checks monitors and detectors with: wedges, line pairs, boards, rings."""
    height, width = _shape(rng)
    y, x = np.mgrid[:height, :width]
    period = int(rng.integers(4, 80))
    style = rng.integers(4)
    if style == 0:
        values = x // period * 1.0
    elif style == 1:
        values = np.sin(2 * np.pi * (x * rng.uniform(0, 1) + y * rng.uniform(0, 1)) / period)
    elif style == 2:
        values = (x // period + y // period) % 2 * 1.0
    else:
        values = np.sin(np.hypot(x - width / 2, y - height / 2) / period * rng.uniform(1, 6))
    return _to_grey(values + rng.uniform(0, 0.2) * rng.normal(size=values.shape))


def _slice(rng: Generator, film: Grey) -> Grey:
    """A bright ring with things in it on black, as slices through a head or trunk are."""
    side = _SIDE
    values = np.zeros((side, side), np.float64)
    centre, turn = (side // 2, side // 2), float(rng.uniform(-20, 20))
    a, b = (int(side * share) for share in rng.uniform(0.25, 0.46, 2))
    cv2.ellipse(values, centre, (a, b), turn, 0, 360, float(rng.uniform(120, 255)), -1)
    rim = int(rng.integers(4, 20))
    cv2.ellipse(values, centre, (a - rim, b - rim), turn, 0, 360, float(rng.uniform(40, 140)), -1)
    for _ in range(int(rng.integers(3, 14))):
        spot = tuple(int(side / 2 + rng.normal() * radius / 3) for radius in (a, b))
        axes = tuple(int(v) for v in rng.integers(4, side // 8, 2))
        grey = float(rng.uniform(0, 255))
        cv2.ellipse(values, spot, axes, float(rng.uniform(0, 180)), 0, 360, grey, -1)
    values[values > 0] += rng.uniform(2, 15) * _noise(rng, (side, side), 0.5)[values > 0]
    return np.clip(cv2.GaussianBlur(values, (0, 0), rng.uniform(0.5, 2.5)), 0, 255).astype(np.uint8)


def _limb(rng: Generator, film: Grey) -> Grey:
    """One to five bright rods in soft tissue: an arm, a leg, a hand."""
    height, width = _shape(rng)
    soft, bone = np.zeros((height, width)), np.zeros((height, width))
    for _ in range(int(rng.integers(1, 6))):
        lowest = rng.uniform(0.4, 1.1)
        above = (int(rng.uniform(0.1, 0.9) * width), int(-0.1 * height))
        end = (int(rng.uniform(0.1, 0.9) * width), int(lowest * height))
        thick = int(rng.uniform(0.06, 0.18) * width)
        cv2.line(soft, above, end, 90.0, int(thick * rng.uniform(1.8, 3)))
        cv2.line(bone, above, end, 150.0, thick)
        cv2.line(bone, above, end, float(rng.uniform(60, 140)), max(1, thick // 2))
        cv2.circle(bone, end, int(thick * rng.uniform(0.6, 1)), 140.0, -1)
    values = cv2.GaussianBlur(soft, (0, 0), 5) + cv2.GaussianBlur(bone, (0, 0), rng.uniform(1, 4))
    return _to_grey(values + rng.uniform(2, 8) * _noise(rng, (height, width), 0.7))


def _fan(rng: Generator, film: Grey) -> Grey:
    """Speckle in a sector on black, as ultrasound shows it."""
    height, width = _shape(rng)
    y, x = np.mgrid[:height, :width]
    x = x - width / 2
    radius, angle = np.hypot(x, y + 20), np.arctan2(x, y + 20)
    speckle = np.abs(_noise(rng, (height, width), 0.4)) * np.exp(_noise(rng, (height, width), 1.5) / 2)
    inside = (np.abs(angle) < rng.uniform(0.4, 0.9)) & (radius > 30) & (radius < height * rng.uniform(0.8, 1))
    return np.asarray(_to_grey(np.clip(speckle, 0, 4)) * inside, np.uint8)


def _tiles(rng: Generator, film: Grey) -> Grey:
    """One film several times on a sheet."""
    rows, columns = (int(n) for n in rng.integers(1, 5, 2))
    columns = max(columns, 3 if rows == 1 else 1)
    rows = max(rows, 3 if columns == 1 else 1)
    small = cv2.resize(film, (_SIDE // columns, _SIDE // rows), interpolation=cv2.INTER_AREA)
    gap = int(rng.integers(0, 8))
    small = cv2.copyMakeBorder(
        small, gap, gap, gap, gap, cv2.BORDER_CONSTANT, value=int(rng.integers(0, 256))
    )
    return np.tile(small, (rows, columns))


def _jigsaw(rng: Generator, film: Grey) -> Grey:
    """A film cut into pieces that lie in another order."""
    n = int(rng.integers(3, 8))
    side = _SIDE // n
    whole = cv2.resize(film, (side * n, side * n), interpolation=cv2.INTER_AREA)
    pieces = whole.reshape(n, side, n, side).swapaxes(1, 2).reshape(n * n, side, side)
    shuffled = pieces[rng.permutation(n * n)].reshape(n, n, side, side).swapaxes(1, 2)
    return np.asarray(shuffled.reshape(n * side, n * side), np.uint8)


def _sheared(rng: Generator, film: Grey) -> Grey:
    """A film whose rows were read with the wrong width."""
    width = film.shape[1]
    wrong = int(width * rng.choice([rng.uniform(0.4, 0.93), rng.uniform(1.07, 1.9)]))
    rows = film.size // wrong
    return film.reshape(-1)[: rows * wrong].reshape(rows, wrong)


def _edge(rng: Generator, film: Grey) -> Grey:
    """What lies at a film's edge, without lung: a shoulder, the neck, the belly."""
    height, width = film.shape
    h, w = int(height * rng.uniform(0.1, 0.2)), int(width * rng.uniform(0.1, 0.3))
    top = int(rng.choice([0, height - h]))
    left = int(rng.uniform(0, width - w))
    return film[top : top + h, left : left + w]


def _detail(rng: Generator, film: Grey) -> Grey:
    """A piece of a film, a tenth of its sides, enlarged: some ribs, a border."""
    height, width = film.shape
    h, w = (int(side * rng.uniform(0.08, 0.15)) for side in (height, width))
    top, left = int(rng.uniform(0, height - h)), int(rng.uniform(0, width - w))
    return film[top : top + h, left : left + w]


def _code(rng: Generator, film: Grey) -> Grey:
    """Bars or squares that a scanner reads, with a white margin."""
    n = int(rng.integers(15, 60))
    modules = rng.integers(0, 2, (1 if rng.random() < 0.5 else n, n)).astype(np.uint8) * 255
    values = cv2.resize(modules, _shape(rng)[::-1], interpolation=cv2.INTER_NEAREST)
    margin = int(rng.integers(5, 60))
    return np.asarray(
        cv2.copyMakeBorder(values, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=255)
    )


KINDS: dict[str, Callable[[Generator, Grey], Grey]] = {
    "nothing": _nothing,
    "gradient": _gradient,
    "white_noise": _white_noise,
    "coloured_noise": _coloured_noise,
    "leaves": _leaves,
    "text": _text,
    "plot": _plot,
    "screenshot": _screenshot,
    "test_pattern": _test_pattern,
    "slice": _slice,
    "limb": _limb,
    "fan": _fan,
    "tiles": _tiles,
    "jigsaw": _jigsaw,
    "sheared": _sheared,
    "edge": _edge,
    "detail": _detail,
    "code": _code,
}
