"""What the writers of one report share beside the rows: figures, and the few cases that the page shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from screen.cases import Case, Totals, UnscreenedStudy
from screen.decide import Decision
from screen.report.facts import RunFacts
from screen.report.histogram import Histogram
from screen.report.tally import Tally


@dataclass(frozen=True, slots=True)
class Picture:
    """JPEGs of one film for the page, and the PNG's path relative to DIR (empty if there is none)."""

    film: bytes
    overlay: bytes
    path: str


@dataclass(frozen=True, slots=True)
class Report:
    """One report, decided and ready for its page and its summary.

    shown: the first listed cases, in reading order. incomplete: the first cases with unread films.
    unscreened: the first studies without a screened film. ranks: of listed cases among the incomplete ones,
    by the leading film's file. histogram: None if no film was screened. pictures: by file name, of the films
    that could be opened.
    """

    decision: Decision
    facts: RunFacts
    tally: Tally
    totals: Totals
    shown: Sequence[Case]
    incomplete: Sequence[Case]
    unscreened: Sequence[UnscreenedStudy]
    ranks: Mapping[str, int]
    histogram: Histogram | None
    pictures: Mapping[str, Picture] = field(default_factory=dict)
