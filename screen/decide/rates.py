"""Shares of films with their intervals, and whether a night's is what its decision lets expect."""

import math
from dataclasses import dataclass

from screen.decide.decision import FILMS, Expected

_Z = 1.959964


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); 0 … 1 without trials."""
    if trials == 0:
        return 0.0, 1.0
    p = successes / trials
    centre = (p + _Z * _Z / (2 * trials)) / (1 + _Z * _Z / trials)
    half = _Z * math.sqrt(p * (1 - p) / trials + _Z * _Z / (4 * trials**2)) / (1 + _Z * _Z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


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
