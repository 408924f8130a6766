"""Drawings of the page, as inline SVG without a script or a style of their own: they print and scale."""

import math
from collections.abc import Callable

from screen.decide import Score
from screen.report.histogram import BINS, Histogram, logit
from screen.report.markup import probability, text

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
        f"calibrated probability of {text(films.finding, 40)} (logit scale)</text>"
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
