"""A run's reports: CSV files, summary, page and pictures, written as one set. All are views of rows.

Rows stream past; what must be sorted or grouped lies in a database aside. So a night of a million files
takes no more memory than one of a thousand.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from screen.decide import Case, Cases, Decision, Verdicts, decide, verdicts_alone
from screen.decide.scratch import Scratch
from screen.errors import LedgerError
from screen.files import csv_file, new_file, sync_folder, whole_file
from screen.ledger import Row, Rows
from screen.report.charts import Spread
from screen.report.content import LINES, Picture, Report, RunFacts, Tally
from screen.report.page import page
from screen.report.pictures import HEATMAPS, OpenSquares, draw
from screen.report.summary import part_summary_json, summary_json
from screen.report.tables import (
    FINDINGS_COLUMNS,
    FLAGGED_COLUMNS,
    RESULTS_COLUMNS,
    finding_lines,
    flagged_line,
    results_line,
)
from screen.report.viewer import Viewer
from screen.report.worklist import PAGE_CASES, SAMPLE

SUMMARY_NAME = "summary.json"
PAGE_NAME = "report.html"
DICOM_TABLE, SEND_TABLE = "dicom.csv", "send.csv"
"""Of the DICOM objects that are made of a finished run later: like reports, of this decision and no other."""
# The summary goes first and comes last: where it is, the others are, and belong to it.
REPORT_NAMES = (
    SUMMARY_NAME,
    DICOM_TABLE,
    SEND_TABLE,
    PAGE_NAME,
    "flagged.csv",
    "results.csv",
    "findings.csv",
    HEATMAPS,
)
_UNFINISHED = ".reports-"
_NOT_WRITTEN = "{}: the reports cannot be written ({}); mend that and run the command again"


def mark_nothing(lead: Row) -> None:
    """For reports that nobody is meant to have read."""


def write_reports(
    out: Path,
    rows: Rows,
    decision: Decision,
    facts: RunFacts,
    open_squares: OpenSquares,
    mark_listed: Callable[[Row], None] = mark_nothing,
    viewer: Viewer | None = None,
) -> int:
    """Decide all rows and write every report into `out`, replacing earlier ones; the exit code 0, 3 or 1.

    rows: in INPUT order; all are read once, single ones again. open_squares: for films of flagged cases and
    of others on the page, and never with `--identifiers none`; a film that is gone costs only its picture.
    mark_listed: gets the leading film of each case in `flagged.csv`. viewer: where the page's cases lead to.
    All files are made in a folder aside and renamed when they are whole, `summary.json` last: an
    interrupted call leaves no report, or an incomplete set without a summary, never half a file.
    Raises LedgerError if the folder cannot be written.
    """
    try:
        _remove_unfinished(out)
        aside = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=out))
        try:
            with Scratch(aside) as scratch:
                code = _Writer(aside, rows, decision, facts, scratch, mark_listed, viewer).write(open_squares)
            remove_reports(out, _keep=aside)
            for name in reversed(REPORT_NAMES):
                if (aside / name).exists():
                    (aside / name).rename(out / name)
            sync_folder(out)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except (OSError, sqlite3.OperationalError) as error:
        trouble = error.strerror if isinstance(error, OSError) else error
        raise LedgerError(_NOT_WRITTEN.format(out, trouble)) from error
    return code


def write_part_summary(out: Path, rows: Rows, decision: Decision, facts: RunFacts) -> int:
    """`summary.json` of a part into `out`, in place of all reports that are there; the exit code 0 or 3.

    rows: the part's own, each read once. Raises LedgerError if the folder cannot be written.
    """
    tally = Tally()
    for verdict in verdicts_alone(rows, decision):
        tally.add(verdict)
    remove_reports(out)
    try:
        with whole_file(out / SUMMARY_NAME) as stream:
            stream.write(part_summary_json(tally, decision, facts))
    except OSError as error:
        raise LedgerError(_NOT_WRITTEN.format(out, error.strerror)) from error
    return tally.part_exit_code


def remove_reports(out: Path, *, _keep: Path | None = None) -> None:
    """Take away earlier reports, `summary.json` first, and what an interrupted call left.

    Raises LedgerError if they cannot be removed.
    """
    try:
        for name in REPORT_NAMES:
            path = out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        _remove_unfinished(out, _keep)
    except OSError as error:
        raise LedgerError(f"{out}: earlier reports cannot be removed ({error.strerror})") from error


def _remove_unfinished(out: Path, keep: Path | None = None) -> None:
    for folder in out.glob(f"{_UNFINISHED}*"):
        if folder != keep and folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)


class _Writer:
    """Writes one set of reports into an empty folder."""

    def __init__(
        self,
        folder: Path,
        rows: Rows,
        decision: Decision,
        facts: RunFacts,
        scratch: Scratch,
        mark_listed: Callable[[Row], None],
        viewer: Viewer | None,
    ) -> None:
        self._folder = folder
        self._decision = decision
        self._facts = facts
        self._mark_listed = mark_listed
        self._viewer = viewer
        self._verdicts: Verdicts = decide(rows, decision, scratch)
        self._cases = Cases(self._verdicts, scratch)
        self._tally = Tally()
        self._spread = Spread(scratch)

    def write(self, open_squares: OpenSquares) -> int:
        """Every file; the exit code."""
        self._write_files()
        self._cases.settle()
        (self._folder / HEATMAPS).mkdir(mode=0o700)
        # Drawn with what makes the report: made again it is equal to the byte.
        seed = f"{self._decision.digest} {self._tally.files}"
        sample = list(self._cases.sample(SAMPLE, seed)) if self._cases.totals().listed else []
        pictures = {}
        if self._facts.identifiers != "none":
            pictures = draw(
                self._folder / HEATMAPS,
                self._verdicts,
                self._cases,
                self._facts.heatmaps,
                self._decision,
                open_squares,
                sample,
            )
        report = self._write_cases(pictures, sample)
        for name, content in ((PAGE_NAME, page(report)), (SUMMARY_NAME, summary_json(report))):
            with new_file(self._folder / name) as stream:
                stream.write(content)
        sync_folder(self._folder)
        return self._tally.exit_code

    def _write_files(self) -> None:
        """What has a line for each file, and in the same pass everything that is counted or sorted."""
        with ExitStack() as stack:
            results = stack.enter_context(csv_file(self._folder / "results.csv", RESULTS_COLUMNS, new_file))
            findings = None
            if len(self._decision.card.findings) > 1:
                path = self._folder / "findings.csv"
                findings = stack.enter_context(csv_file(path, FINDINGS_COLUMNS, new_file))
            for position, verdict in enumerate(self._verdicts):
                results.writerow(results_line(verdict))
                if findings is not None:
                    findings.writerows(finding_lines(verdict))
                self._tally.add(verdict)
                self._cases.add(position, verdict)
                if verdict.counts and verdict.primary is not None:
                    self._spread.add(verdict.primary)

    def _write_cases(self, pictures: dict[str, Picture], sample: Sequence[Case]) -> Report:
        """`flagged.csv`, and what the page shows of cases."""
        shown = []
        incomplete = list(self._cases.incomplete(LINES))
        of_interest = {case.lead.row.file for case in incomplete}
        ranks = {}
        with csv_file(self._folder / "flagged.csv", FLAGGED_COLUMNS, new_file) as flagged:
            for rank, case in enumerate(self._cases.listed(), 1):
                file = case.lead.row.file
                self._mark_listed(case.lead.row)
                picture = pictures.get(file)
                flagged.writerow(flagged_line(rank, case, self._decision, picture.path if picture else ""))
                if rank <= PAGE_CASES:
                    shown.append(case)
                if file in of_interest:
                    ranks[file] = rank
        return Report(
            decision=self._decision,
            facts=self._facts,
            tally=self._tally,
            totals=self._cases.totals(),
            shown=shown,
            incomplete=incomplete,
            unscreened=self._cases.unscreened_studies(LINES),
            ranks=ranks,
            histogram=self._spread.histogram(),
            left_out=list(self._cases.left_out(LINES)),
            sample=sample,
            pictures=pictures,
            viewer=self._viewer,
        )
