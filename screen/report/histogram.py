"""How many films have which probability, on a logit axis; the axis ends where the films do."""

import math
from dataclasses import dataclass

from screen.decide import Score
from screen.scratch import Scratch

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
