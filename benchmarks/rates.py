"""Figures taken in turns: what is compared runs in the same turn, so that a machine's moods hit it alike."""

from dataclasses import dataclass, field
from statistics import median


@dataclass(slots=True)
class Turns:
    """One value for each turn, of any one unit."""

    turns: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The figure to quote."""
        return median(self.turns)

    @property
    def shown(self) -> str:
        """Median and extremes."""
        return f"{_short(self.median)} [{_short(min(self.turns))}, {_short(max(self.turns))}]"


def _short(value: float) -> str:
    """Three digits that count, for people."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
