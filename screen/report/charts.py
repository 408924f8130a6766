"""Drawings of the page, as inline SVG without a script or a style of their own: they print and scale.

The histogram has a logit axis, which ends where the films do.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from screen.decide import Score
from screen.decide.scratch import Scratch
from screen.report.markup import probability, text

BINS = 48


@dataclass(frozen=True, slots=True)
class Histogram:
    """Films by bin, of one finding and one threshold.

    low, high: the axis' ends in logits. below, flagged: films in each of the `BINS` bins.
    """

    finding: str
    threshold: float
    low: int
    high: int
    below: tuple[int, ...]
    flagged: tuple[int, ...]


class Spread:
    """Gathers scores. The bins hang on the lowest and the highest one, so all are kept, aside, until then."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        scratch.script("CREATE TABLE score (logit REAL NOT NULL, flagged INTEGER NOT NULL)")
        self._scores = scratch.inserts("INSERT INTO score VALUES (?, ?)")
        self._last: Score | None = None

    def add(self, score: Score) -> None:
        """One film's score; all are of the same finding."""
        self._last = score
        self._scores.add((logit(score.probability), score.flagged))

    def histogram(self) -> Histogram | None:
        """Of all scores; None if there are none."""
        if self._last is None:
            return None
        self._scores.flush()
        lowest, highest = self._scratch.select("SELECT min(logit), max(logit) FROM score").fetchone()
        threshold = logit(self._last.threshold)
        low, high = math.floor(min(lowest, threshold - 1)), math.ceil(max(highest, threshold + 1))
        below, hot = [0] * BINS, [0] * BINS
        for at, flagged in self._scratch.select("SELECT logit, flagged FROM score"):
            into = hot if flagged else below
            into[min(BINS - 1, int((at - low) / (high - low) * BINS))] += 1
        return Histogram(self._last.finding, self._last.threshold, low, high, tuple(below), tuple(hot))


def logit(p: float) -> float:
    """Clipped to the axis' ends, ±9.2 (probabilities of 0.0001 and 0.9999)."""
    p = min(max(p, 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))


_TICKS = (.0001, .001, .01, .02, .05, .1, .2, .35, .5, .65, .8, .9, .95, .98, .99, .999, .9999)  # fmt: skip
_WIDTH, _HEIGHT = 720, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 26, 40


def probability_bar(score: Score) -> str:
    """A bar from 0 to 1 with a tick at the threshold; the figures stand beside it in words."""
    reached = 200 * score.probability
    at = 200 * score.threshold
    kind = "hot" if score.flagged else "fill"
    return (
        '<svg class="bar" viewBox="0 0 200 14" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" y="3" width="200" height="8" rx="2"/>'
        f'<rect class="{kind}" y="3" width="{reached:.2f}" height="8" rx="2"/>'
        f'<line class="tick" x1="{at:.2f}" x2="{at:.2f}" y1="0" y2="14"/></svg>'
    )


def interval_bar(
    share: float, interval: tuple[float, float], usual: tuple[float, float] | None, top: float, *, hot: bool
) -> str:
    """A share with its interval on an axis from 0 to `top`, before the range that is usual."""
    at, low, high = (200 * value / top for value in (share, *interval))
    band = ""
    if usual is not None:
        left, right = (200 * min(value / top, 1) for value in usual)
        band = f'<rect class="usual" x="{left:.2f}" y="0" width="{max(1.5, right - left):.2f}" height="14"/>'
    kind = "hot" if hot else "fill"
    return (
        '<svg class="bar" viewBox="0 0 200 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" y="6" width="200" height="2"/>{band}'
        f'<rect class="{kind}" x="{low:.2f}" y="5" width="{max(1.5, high - low):.2f}" height="4" rx="1"/>'
        f'<rect class="{kind}" x="{max(0.0, at - 1.5):.2f}" y="1" width="3" height="12"/></svg>'
    )


def share_bar(share: float) -> str:
    """A plain bar for a share of 0 … 1: something that is not nothing stays visible."""
    width = 0 if share <= 0 else max(1.5, 200 * share)
    return (
        '<svg class="bar" viewBox="0 0 200 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="fill" y="1" width="{width:.2f}" height="12" rx="2"/></svg>'
    )


def histogram_chart(films: Histogram) -> str:
    """How many films have which probability, on a logit axis: both ends of the scale can be read."""
    threshold, low, high = logit(films.threshold), films.low, films.high
    highest = max(a + b for a, b in zip(films.below, films.flagged, strict=True))
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    floor = _TOP + inner_height

    def x(at: float) -> float:
        return _LEFT + (at - low) / (high - low) * inner_width

    step = inner_width / BINS
    parts = []
    for at, (a, b) in enumerate(zip(films.below, films.flagged, strict=True)):
        bottom = float(floor)
        for number, kind in ((a, "cold"), (b, "hot")):
            if number:
                height = max(1.0, number / highest * inner_height)
                bottom -= height
                parts.append(
                    f'<rect class="{kind}" x="{_LEFT + at * step + 0.75:.1f}" y="{bottom:.1f}" '
                    f'width="{step - 1.5:.1f}" height="{height:.1f}"/>'
                )
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"/>')
    parts.extend(_ticks(low, high, x, floor))
    parts.append(f'<text x="{_LEFT - 8}" y="{_TOP + 9}" text-anchor="end">{highest:,}</text>')
    parts.append(f'<text x="{_LEFT - 8}" y="{floor}" text-anchor="end">0</text>')
    parts.append(
        f'<text x="{_LEFT + inner_width / 2:.0f}" y="{_HEIGHT - 4}" text-anchor="middle">'
        f"probability of {text(films.finding, 40)} (the axis is stretched at both ends)</text>"
    )
    at_threshold = x(threshold)
    anchor = "start" if at_threshold < _WIDTH * 0.75 else "end"
    offset = 6 if anchor == "start" else -6
    parts.append(
        f'<line class="tick" x1="{at_threshold:.1f}" x2="{at_threshold:.1f}" y1="8" y2="{floor + 4}"/>'
        f'<text class="strong" x="{at_threshold + offset:.1f}" y="16" text-anchor="{anchor}">'
        f"threshold {probability(films.threshold)}</text>"
    )
    flagged, below = sum(films.flagged), sum(films.below)
    label = f"Histogram of {flagged + below:,} films: {flagged:,} at or over the threshold, {below:,} below"
    return (
        f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _ticks(low: float, high: float, x: Callable[[float], float], floor: int) -> list[str]:
    parts = []
    last = -math.inf
    for p in _TICKS:
        at = logit(p)
        if low <= at <= high and x(at) - last >= 42:
            last = x(at)
            parts.append(
                f'<line class="axis" x1="{last:.1f}" x2="{last:.1f}" y1="{floor}" y2="{floor + 4}"/>'
            )
            parts.append(f'<text x="{last:.1f}" y="{floor + 17}" text-anchor="middle">{p:g}</text>')
    return parts
