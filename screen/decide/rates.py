"""Shares of films with their intervals, and whether a night's is what its decision lets expect."""

import math
from dataclasses import dataclass

from screen.decide.decision import FILMS, Expected

_Z95, _Z99 = 1.959964, 2.575829


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); 0 … 1 without trials."""
    if trials == 0:
        return 0.0, 1.0
    p = successes / trials
    centre = (p + _Z95 * _Z95 / (2 * trials)) / (1 + _Z95 * _Z95 / trials)
    half = _Z95 * math.sqrt(p * (1 - p) / trials + _Z95 * _Z95 / (4 * trials**2)) / (1 + _Z95 * _Z95 / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def share_by_chance(successes: int, trials: int, further: int) -> tuple[float, float]:
    """Where the share of `further` trials lies in 99 of 100 cases, if nothing but chance differs.

    All that is known are the earlier trials. On Anscombe's (1948) scale a share's variance hangs on the
    number of trials alone, so that both numbers' parts add up. 0 … 1 without trials.
    """
    if not trials or not further:
        return 0.0, 1.0
    middle = 2 * math.asin(math.sqrt((successes + 0.375) / (trials + 0.75)))
    half = _Z99 * math.sqrt(1 / (trials + 0.5) + 1 / (further + 0.5))

    def share(angle: float) -> float:
        angle = min(max(angle, 0.0), math.pi)
        return min(max((math.sin(angle / 2) ** 2 * (further + 0.75) - 0.375) / further, 0.0), 1.0)

    return share(middle - half), share(middle + half)


@dataclass(frozen=True, slots=True)
class FlagRate:
    """Of one finding in one night. films: those with a result of their own; flagged: of them.

    low, high: 95 % interval of the share. outside: it has no value in common with what is expected, a range
    itself; never without an expectation.
    """

    films: int
    flagged: int
    low: float
    high: float
    outside: bool


def flag_rate(flagged: int, films: int, expected: Expected | None) -> FlagRate:
    """A night's share of flagged films beside the one that its decision lets expect."""
    low, high = wilson(flagged, films)
    outside = expected is not None and not (
        low <= expected.flags_range[1] / FILMS and expected.flags_range[0] / FILMS <= high
    )
    return FlagRate(films, flagged, low, high, outside)
