"""A run's reports: CSV files, summary, page and pictures, written as one set. All are views of rows."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.decide import Decision, Verdict, cases, decide
from screen.errors import LedgerError
from screen.report import overlays
from screen.report.content import Picture, Report
from screen.report.facts import RunFacts
from screen.report.page import page
from screen.report.summary import exit_code, summary_json
from screen.report.tables import findings_csv, flagged_csv, results_csv
from screen.report.worklist import PAGE_CASES
from screen.rows import Row

__all__ = ["RunFacts", "remove_reports", "write_reports"]

OpenSquare = Callable[[Row], NDArray[np.uint8] | None]

_SUMMARY = "summary.json"
_HEATMAPS = "heatmaps"
# The summary goes first and comes last: where it is, the others are, and belong to it.
_NAMES = (_SUMMARY, "report.html", "flagged.csv", "results.csv", "findings.csv", _HEATMAPS)
_UNFINISHED = ".reports-"
_DRAWERS = 2
_THUMBNAIL = 256
"""Pixels; shown at 168, so that dense screens and print have something to show."""


def write_reports(
    out: Path, rows: Iterable[Row], decision: Decision, facts: RunFacts, open_square: OpenSquare
) -> int:
    """Decide all rows and write every report into `out`, replacing earlier ones; the exit code 0, 3 or 1.

    rows: in INPUT order. open_square: uint8 [S, S] of a row's film, None if it cannot be had any more (that
    costs only its picture); called for flagged films alone and never with `--identifiers none`.
    All files are made in a folder aside and renamed when they are whole, `summary.json` last: an
    interrupted call leaves no report, or an incomplete set without a summary, never half a file.
    Raises LedgerError if the folder cannot be written.
    """
    verdicts = decide(list(rows), decision)
    report = Report(verdicts, cases(verdicts, decision), decision, facts, exit_code(verdicts))
    try:
        _remove_unfinished(out)
        aside = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=out))
        try:
            _write_all(aside, report, open_square)
            remove_reports(out, _keep=aside)
            for name in reversed(_NAMES):
                if (aside / name).exists():
                    (aside / name).rename(out / name)
            _sync_folder(out)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise LedgerError(
            f"{out}: the reports cannot be written ({error.strerror}); mend that and run the command again"
        ) from error
    return report.code


def remove_reports(out: Path, *, _keep: Path | None = None) -> None:
    """Take away earlier reports, `summary.json` first, and what an interrupted call left.

    Raises LedgerError if they cannot be removed.
    """
    try:
        for name in _NAMES:
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


def _write_all(folder: Path, report: Report, open_square: OpenSquare) -> None:
    pictures = _draw(folder / _HEATMAPS, report, open_square)
    report = replace(report, pictures=pictures)
    paths = {file: picture.path for file, picture in pictures.items()}
    _write(folder / "flagged.csv", flagged_csv(report.listed, report.decision, paths))
    _write(folder / "results.csv", results_csv(report.verdicts))
    if len(report.decision.card.findings) > 1:
        _write(folder / "findings.csv", findings_csv(report.verdicts))
    _write(folder / "report.html", page(report))
    _write(folder / _SUMMARY, summary_json(report))
    _sync_folder(folder)


def _draw(folder: Path, report: Report, open_square: OpenSquare) -> dict[str, Picture]:
    """Pictures by file: PNGs of the strongest flagged films, JPEGs of the films that stand on the page."""
    folder.mkdir(mode=0o700)
    if report.facts.identifiers == "none":
        return {}
    listed = report.listed
    on_page = {case.lead.row.file for case in listed[:PAGE_CASES]}
    flagged = sorted((film for case in listed for film in case.films if film.flagged), key=_strongest_first)
    on_disk = {film.row.file for film in flagged[: report.facts.heatmaps]}
    drawn: dict[str, Future[Picture]] = {}
    # OpenCV releases the GIL: pictures are drawn while the next films are read.
    with ThreadPoolExecutor(_DRAWERS) as pool:
        for film in flagged:
            file = film.row.file
            if file in on_page or file in on_disk:
                square = open_square(film.row)
                if square is not None:
                    place = folder if file in on_disk else None
                    drawn[file] = pool.submit(_picture, film, report, square, place, file in on_page)
    pictures = {file: future.result() for file, future in drawn.items()}
    _sync_folder(folder)
    return pictures


def _picture(
    film: Verdict, report: Report, square: NDArray[np.uint8], folder: Path | None, on_page: bool
) -> Picture:
    inference, geometry = film.row.inference, film.row.geometry
    if inference is None or geometry is None:
        raise ValueError(f"{film.row.file} is screened but has no heat map or geometry")
    finding = report.decision.card.finding(film.top.finding)
    grid = inference.heatmap[report.decision.card.findings.index(finding)]
    over = overlays.overlay(square, geometry, grid, finding.heatmap_scale)
    bare = overlays.content(square, geometry)
    path = ""
    if folder is not None:
        name = overlays.picture_name(film.row)
        _write(folder / name, overlays.sheet(bare, over, finding.name, finding.heatmap_scale))
        path = f"{_HEATMAPS}/{name}"
    if not on_page:
        return Picture(b"", b"", path)
    return Picture(overlays.thumbnail(bare, _THUMBNAIL), overlays.thumbnail(over, _THUMBNAIL), path)


def _strongest_first(film: Verdict) -> tuple[float, str]:
    return -film.top.margin, film.row.file


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
