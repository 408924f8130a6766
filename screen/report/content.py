"""What all writers of one report share: the decided rows, and the pictures made of some of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from screen.decide import Case, Decision, Verdict
from screen.report.facts import RunFacts


@dataclass(frozen=True, slots=True)
class Picture:
    """JPEGs of one film for the page, and the PNG's path relative to DIR (empty if there is none)."""

    film: bytes
    overlay: bytes
    path: str


@dataclass(frozen=True, slots=True)
class Report:
    """One report, decided and ready to be written.

    cases: all of them, flagged first. pictures: by file name, of the films that could be opened.
    """

    verdicts: Sequence[Verdict]
    cases: Sequence[Case]
    decision: Decision
    facts: RunFacts
    code: int
    pictures: Mapping[str, Picture] = field(default_factory=dict)

    @property
    def listed(self) -> list[Case]:
        """The cases of `flagged.csv`, in reading order."""
        return [case for case in self.cases if case.listed]
