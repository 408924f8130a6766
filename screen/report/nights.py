"""Tonight beside the nights before: what each brought that no night before it had, and what is unusual."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from screen.codes import Status, Warn
from screen.decide import Decision, Verdict
from screen.decide.rates import share_by_chance

ENOUGH = 50
"""Films: fewer say nothing of a share."""
_ENOUGH_NIGHTS = 3
"""Fewer say nothing of how many films a night has."""
_FACTOR = 2
"""So many times fewer, or more, films than in any night before are unusual."""


@dataclass(slots=True)
class NewFiles:
    """What a night met for the first time: files without the warning `known`.

    films: screened, a film that was sent twice counts twice. flagged: of them. failed: could not be read.
    """

    films: int = 0
    flagged: int = 0
    failed: int = 0

    def add(self, verdict: Verdict) -> None:
        """Count one."""
        if Warn.KNOWN in verdict.warnings:
            return
        if verdict.status is Status.SCREENED:
            self.films += 1
            self.flagged += verdict.flagged
        elif verdict.status is Status.FAILED:
            self.failed += 1


@dataclass(frozen=True, slots=True)
class Night:
    """A night before tonight, in figures like `NewFiles`'.

    started: ISO 8601 with offset. decision: what `flagged` was decided by, as `digest_of` has it.
    part: `K/N` if it is a part of a night, else empty.
    """

    started: str
    films: int
    flagged: int
    failed: int
    decision: str
    part: str = ""


def digest_of(decision: Decision) -> str:
    """SHA-256 (hex) of the whole decision, thresholds included: flags are compared under one alone."""
    return hashlib.sha256(decision.to_json().encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Beside:
    """Tonight beside the nights before.

    flagged, failed: ranges of these shares of a night like those before; None: too little is known to say,
    or tonight has no share, as it brought no file.
    films: the fewest and the most new files of a night before. unusual: of these words, those of which
    tonight lies outside.
    """

    flagged: tuple[float, float] | None
    failed: tuple[float, float] | None
    films: tuple[int, int] | None
    unusual: tuple[str, ...]


def beside(tonight: NewFiles, nights: Sequence[Night], decision: str) -> Beside:
    """Hold tonight against them. decision: tonight's digest; of nights decided otherwise no flag counts.

    A share is unusual if chance would have it there in fewer than 1 of 100 nights, and no night before had
    it there either; of failures, only more are. The number of files is, if it lies far outside all of them.
    """
    alike = [night for night in nights if night.decision == decision]
    flagged = _usual([(night.flagged, night.films) for night in alike], tonight.films)
    met = tonight.films + tonight.failed
    failed = _usual([(night.failed, night.films + night.failed) for night in nights], met)
    numbers = [night.films + night.failed for night in nights if not night.part]
    films = (min(numbers), max(numbers)) if len(numbers) >= _ENOUGH_NIGHTS else None
    unusual = []
    if films and not films[0] / _FACTOR <= met <= films[1] * _FACTOR:
        unusual.append("films")
    if flagged and tonight.films and not flagged[0] <= tonight.flagged / tonight.films <= flagged[1]:
        unusual.append("flagged")
    if failed and met and tonight.failed / met > failed[1]:
        unusual.append("failed")
    return Beside(flagged, failed, films, tuple(unusual))


def _usual(nights: Sequence[tuple[int, int]], further: int) -> tuple[float, float] | None:
    """Of (hits, files) of each night, where the share of `further` files lies; None without any of these.

    None with fewer than `ENOUGH` files, too.
    """
    hits, files = (sum(column) for column in zip(*nights, strict=True)) if nights else (0, 0)
    if files < ENOUGH or not further:
        return None
    shares = [part / of for part, of in nights if of >= ENOUGH]
    low, high = share_by_chance(hits, files, further)
    return min(low, *shares, 1.0), max(high, *shares, 0.0)
