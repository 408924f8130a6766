"""Counting verdicts as they pass by: all that the summary and the page say of files, in flat memory."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from screen.decide import Verdict
from screen.reasons import Reason, Status

LINES = 80
"""Lines of each of the page's lists of what needs a person; the rest is in `results.csv`."""
WARNED_FILES = 12
"""Files that the page names for each warning."""


@dataclass(slots=True)
class Tally:
    """Figures of all verdicts added so far.

    outcomes: files by status and reason. warnings: files by code. declared_chest: some file's tags say chest.
    images_screened: films with a result of their own; images_flagged: those of them that are.
    duplicates: the gate turns some of them away; screened_duplicates: those that it does not.
    failed: the first failed files. warned: screened files by warning code, and the first of them by name.
    """

    outcomes: Counter[tuple[Status, Reason | None]] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    declared_chest: bool = False
    images_screened: int = 0
    images_flagged: int = 0
    duplicates: int = 0
    screened_duplicates: int = 0
    failed: list[Verdict] = field(default_factory=list)
    warned: Counter[str] = field(default_factory=Counter)
    warned_files: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, verdict: Verdict) -> None:
        """Count one."""
        status = verdict.status
        self.outcomes[status, verdict.reason] += 1
        self.declared_chest |= verdict.row.declared_chest
        if verdict.duplicate_of:
            self.duplicates += 1
            self.screened_duplicates += status is Status.SCREENED
        if verdict.counts:
            self.images_screened += 1
            self.images_flagged += verdict.flagged
        if status is Status.FAILED and len(self.failed) < LINES:
            self.failed.append(verdict)
        for code in verdict.warnings:
            self.warnings[code] += 1
            if status is Status.SCREENED:
                self.warned[code] += 1
                if len(self.warned_files[code]) < WARNED_FILES:
                    self.warned_files[code].append(verdict.row.file)

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
        """0; 3 if some files failed; 1 if nothing was screened although files that say chest were there."""
        if self.declared_chest and not self.with_status(Status.SCREENED):
            return 1
        return 3 if self.with_status(Status.FAILED) else 0
