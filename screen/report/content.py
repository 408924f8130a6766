"""What the writers of one report share beside the rows: facts of the run, figures, the cases on the page.

Facts are kept in the ledger, so that reports can be written again. Verdicts are counted as they pass by.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from screen.codes import Reason, Status, Warn
from screen.decide import Case, Decision, Verdict, expected
from screen.decide.cases import Totals, UnscreenedStudy
from screen.decide.rates import FlagRate, flag_rate
from screen.report.charts import Histogram
from screen.report.nights import Beside, NewFiles, Night, beside, digest_of
from screen.report.viewer import Viewer


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run, as it really went.

    card_json: the model's own card, before any decision file. device: `DeviceInfo` as a dict.
    started, finished: ISO 8601 with offset. seconds: wall clock; stage_seconds: summed over workers.
    images_inferred, images_reused: films through the network, and films whose result was there already.
    identifiers: `full`, `pseudonym` or `none`. heatmaps: how many flagged images get a PNG at most.
    preprocess_drift: the model's probes were not equal to the byte. counts: more figures for `summary.json`
    (`known_ignored`, `gpu_decoder_losses`, …). limits: `screen.readers.Limits` of one file, as a dict.
    part: `K/N` if this was a part, else empty; listing: then the digest of what all parts list.
    parts: how many the run was screened in: times and counts are the sums of theirs.
    nights: those given with `--known`, by their time.
    Fields that came later have defaults: kept nights lack them.
    """

    card_json: str
    model_file_digest: str
    model_name: str
    device: dict[str, str | int]
    versions: dict[str, str]
    inputs: list[str]
    started: str
    finished: str
    seconds: float
    stage_seconds: dict[str, float]
    images_inferred: int
    images_reused: int
    batch_size: int
    workers: int
    identifiers: str
    heatmaps: int
    preprocess_drift: bool
    decode_policy: str
    counts: dict[str, int]
    limits: dict[str, float] = field(default_factory=dict)
    part: str = ""
    listing: str = ""
    parts: int = 1
    nights: tuple[Night, ...] = ()

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "RunFacts":
        """The facts again; keys of a newer version are ignored, those that an older one lacks have defaults.

        Raises ValueError or TypeError if one is missing that every version has.
        """
        plain = _known_fields(cls, json.loads(text))
        plain["nights"] = tuple(Night(**_known_fields(Night, night)) for night in plain.get("nights", ()))
        return cls(**plain)


def _known_fields(kind: type[RunFacts] | type[Night], plain: dict[str, Any]) -> dict[str, Any]:
    return {each.name: plain[each.name] for each in fields(kind) if each.name in plain}


LINES = 80
"""Lines of each of the page's lists of what needs a person; the rest is in `results.csv`."""
WARNED_FILES = 12
"""Files that the page names for each warning."""
FAILED_NAMES = 500
"""Failed files in the page's list to copy."""

NO_IMAGE = frozenset(
    {Reason.NOT_AN_IMAGE, Reason.DICOMDIR, Reason.EMPTY_FILE, Reason.UNREADABLE, Reason.FOLDER_UNREADABLE}
)
"""What is no image, or cannot even be opened."""
QUIET = frozenset({Warn.KNOWN, Warn.NO_PREAMBLE, Warn.NOT_SQUARE})
"""Warnings that ask nothing of anybody; they stay in the CSV and beside the case."""


@dataclass(slots=True)
class Tally:
    """Figures of all verdicts added so far.

    outcomes: files by status and reason. warnings: files by code. declared_chest: some file's tags say chest.
    unexplained: some radiograph was turned away by its picture alone, its tags do not say what it shows.
    images_screened: films with a result of their own; images_flagged: those of them that are.
    flagged_by: the same by finding. duplicates: the gate turns some of them away; screened_duplicates: those
    that it does not.
    failed, known_failures: the first new failed files, and the first that failed in an earlier night, too;
    failed_known: how many of the latter. failed_names: new ones first. unknown_kind: failed images of which
    nothing says that they are chest films. new: what no earlier night had. warned: screened files by warning
    code, the first of them by name.
    """

    outcomes: Counter[tuple[Status, Reason | None]] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    declared_chest: bool = False
    unexplained: bool = False
    images_screened: int = 0
    images_flagged: int = 0
    flagged_by: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    screened_duplicates: int = 0
    failed: list[Verdict] = field(default_factory=list)
    failed_known: int = 0
    known_failures: list[Verdict] = field(default_factory=list)
    unknown_kind: int = 0
    new: NewFiles = field(default_factory=NewFiles)
    _new_names: list[str] = field(default_factory=list)
    _known_names: list[str] = field(default_factory=list)
    warned: Counter[str] = field(default_factory=Counter)
    warned_files: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, verdict: Verdict) -> None:
        """Count one."""
        self.new.add(verdict)
        status = verdict.status
        self.outcomes[status, verdict.reason] += 1
        self.declared_chest |= verdict.row.declared_chest
        self.unexplained |= verdict.may_be_lost and not verdict.row.declared_chest
        if verdict.duplicate_of:
            self.duplicates += 1
            self.screened_duplicates += status is Status.SCREENED
        if verdict.counts:
            self.images_screened += 1
            self.images_flagged += verdict.flagged
            self.flagged_by.update(score.finding for score in verdict.scores if score.flagged)
        if status is Status.FAILED:
            self._add_failed(verdict)
        for code in verdict.warnings:
            self.warnings[code] += 1
            if status is Status.SCREENED:
                self.warned[code] += 1
                if len(self.warned_files[code]) < WARNED_FILES:
                    self.warned_files[code].append(verdict.row.file)

    def _add_failed(self, verdict: Verdict) -> None:
        known = Warn.KNOWN in verdict.warnings
        self.failed_known += known
        self.unknown_kind += not verdict.row.declared_chest and verdict.reason not in NO_IMAGE
        kept = self.known_failures if known else self.failed
        if len(kept) < LINES:
            kept.append(verdict)
        names = self._known_names if known else self._new_names
        if len(names) < FAILED_NAMES:
            names.append(verdict.row.file)

    @property
    def failed_names(self) -> list[str]:
        """The first failed files, new ones first."""
        return [*self._new_names, *self._known_names][:FAILED_NAMES]

    @property
    def files(self) -> int:
        """All verdicts."""
        return self.outcomes.total()

    def with_status(self, status: Status) -> int:
        """Files that ended so."""
        return sum(number for (each, _), number in self.outcomes.items() if each is status)

    def with_reason(self, reason: Reason) -> int:
        """Files without a score for this reason."""
        return sum(number for (_, each), number in self.outcomes.items() if each is reason)

    @property
    def exit_code(self) -> int:
        """0; 3 if somebody must look; 1 if nothing was screened although files that say chest were there.

        Somebody must look after failed files, and if nothing was screened although there were radiographs
        whose tags do not say what they show.
        """
        nothing_screened = not self.with_status(Status.SCREENED)
        if self.declared_chest and nothing_screened:
            return 1
        return 3 if self.with_status(Status.FAILED) or (self.unexplained and nothing_screened) else 0

    @property
    def part_exit_code(self) -> int:
        """0; 3 if a file failed. Whether nothing at all was screened is the whole night's question."""
        return 3 if self.with_status(Status.FAILED) else 0


@dataclass(frozen=True, slots=True)
class Picture:
    """JPEGs of one film for the page, and the PNG's path relative to DIR (empty if there is none)."""

    film: bytes
    overlay: bytes
    path: str


@dataclass(frozen=True, slots=True)
class Report:
    """One report, decided and ready for its page and its summary.

    shown: the first listed cases, in reading order. left_out: the first that are flagged and not listed.
    sample: random studies that are not flagged, for who reads blind.
    incomplete: the first cases with unread films. viewer: makes links to a case's films.
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
    left_out: Sequence[Case] = ()
    sample: Sequence[Case] = ()
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    viewer: Viewer | None = None

    @property
    def rates(self) -> dict[str, FlagRate]:
        """Of the findings that flag."""
        return flag_rates(self.tally, self.decision)

    @property
    def beside(self) -> Beside:
        """Tonight beside the nights before."""
        return beside(self.tally.new, self.facts.nights, digest_of(self.decision))


def flag_rates(tally: Tally, decision: Decision) -> dict[str, FlagRate]:
    """Of the findings that flag, beside what their operating points let expect."""
    rates = {}
    for name in decision.flagging:
        found = expected(decision.point(name), decision.card.finding(name).prevalence)
        rates[name] = flag_rate(tally.flagged_by[name], tally.images_screened, found)
    return rates
