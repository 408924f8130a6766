"""Curves of the page, as inline SVG without a script: they print and scale."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from screen.evaluation.reliability import ReliabilityBin
from screen.report.markup import text

_SIDE, _LEFT, _BOTTOM, _PAD = 300, 46, 44, 12
_WIDTH, _HEIGHT = _LEFT + _SIDE + _PAD, _PAD + _SIDE + _BOTTOM
_MOST_POINTS = 400
"""Of a drawn curve: finer than its pixels."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A point on a curve, with its name."""

    x: float
    y: float
    name: str


def curve_chart(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    marks: Sequence[Mark],
    axes: tuple[str, str],
    chance: tuple[float, float],
    label: str,
) -> str:
    """A curve on the unit square. axes: what x and y are. chance: y of a guess, at x = 0 and at x = 1."""
    kept = np.unique(np.linspace(0, len(x) - 1, _MOST_POINTS).astype(int))
    parts = [
        _line([(0, chance[0]), (1, chance[1])], "chance"),
        _line(zip(x[kept], y[kept], strict=True), "curve"),
    ]
    for mark in marks:
        side, anchor = (8, "start") if mark.x < 0.6 else (-8, "end")
        parts.append(
            f'<circle class="mark" cx="{_x(mark.x):.1f}" cy="{_y(mark.y):.1f}" r="4"/>'
            f'<text class="mark" x="{_x(mark.x) + side:.1f}" y="{_y(mark.y) + 4:.1f}" '
            f'text-anchor="{anchor}">{text(mark.name, 30)}</text>'
        )
    return _chart(parts, axes, 1.0, label)


def reliability_chart(bins: Sequence[ReliabilityBin], label: str) -> str:
    """Share with the finding over the probability that was given, with intervals; right is the diagonal."""
    top = min(1.0, 1.05 * max(max(part.interval[1], part.probability) for part in bins))
    parts = [_line([(0, 0), (1, 1)], "chance")]
    for part in bins:
        x = part.probability / top
        low, high = part.interval[0] / top, min(1.0, part.interval[1] / top)
        parts.append(_line([(x, low), (x, high)], "bar"))
        parts.append(f'<circle class="mark" cx="{_x(x):.1f}" cy="{_y(part.observed / top):.1f}" r="4"/>')
    return _chart(parts, ("probability that was given", "share with the finding"), top, label)


@dataclass(frozen=True, slots=True)
class Week:
    """A week's share of films with its interval; alarm: it is marked."""

    name: str
    value: float
    low: float
    high: float
    alarm: bool = False


def weeks_chart(weeks: Sequence[Week], what: str, label: str) -> str:
    """Shares with their intervals, one beside the other. weeks: in their order, at least one."""
    top = min(1.0, max(0.01, 1.1 * max(week.high for week in weeks)))
    step = 1 / len(weeks)
    parts = [_line(((step * (at + 0.5), w.value / top) for at, w in enumerate(weeks)), "chance")]
    for at, week in enumerate(weeks):
        x = step * (at + 0.5)
        parts.append(_line([(x, week.low / top), (x, min(1.0, week.high / top))], "bar"))
        kind, size = ("alarm", 6) if week.alarm else ("week", 4)
        parts.append(f'<circle class="{kind}" cx="{_x(x):.1f}" cy="{_y(week.value / top):.1f}" r="{size}"/>')
    places = ((0, "start"), (len(weeks) // 2, "middle"), (len(weeks) - 1, "end"))
    for at, anchor in places if len(weeks) > 2 else ((0, "middle"),):
        x = _x(step * (at + 0.5))
        parts.append(
            f'<text x="{x:.1f}" y="{_y(0) + 16:.1f}" text-anchor="{anchor}">{text(weeks[at].name, 12)}</text>'
        )
    return _chart(parts, (f"share of {what}, by week", ""), top, label, named=True)


def _chart(
    parts: Iterable[str], axes: tuple[str, str], top: float, label: str, *, named: bool = False
) -> str:
    """named: what stands below the x axis is among the parts; y is in percent."""
    ticks = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        number = f"{round(100 * share * top, 1):g}%</text>" if named else f"{share * top:.2g}</text>"
        ticks.append(f'<text x="{_LEFT - 6}" y="{_y(share) + 4:.1f}" text-anchor="end">{number}')
        if not named:
            ticks.append(f'<text x="{_x(share):.1f}" y="{_y(0) + 16:.1f}" text-anchor="middle">{number}')
    middle = _PAD + _SIDE / 2
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(label)}">'
        f'<rect class="frame" x="{_LEFT}" y="{_PAD}" width="{_SIDE}" height="{_SIDE}"/>'
        f"{''.join(ticks)}{''.join(parts)}"
        f'<text x="{_x(0.5):.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{text(axes[0])}</text>'
        f'<text x="12" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 12 {middle:.0f})">'
        f"{text(axes[1])}</text></svg>"
    )


def _line(points: Iterable[tuple[float, float]], kind: str) -> str:
    path = " ".join(f"{_x(float(x)):.1f},{_y(float(y)):.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{path}"/>'


def _x(share: float) -> float:
    return _LEFT + share * _SIDE


def _y(share: float) -> float:
    return _PAD + (1 - share) * _SIDE
