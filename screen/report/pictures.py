"""Pictures of flagged films: which ones, and drawing them while the next films are read."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.decide import Case, Cases, Decision, Verdict, Verdicts
from screen.files import new_file, sync_folder
from screen.ledger import Row
from screen.report import overlays
from screen.report.content import Picture
from screen.report.worklist import PAGE_CASES

OpenSquares = Callable[[Iterable[Row]], Iterator[tuple[Row, NDArray[np.uint8] | None]]]
"""Rows to (row, its film's square, uint8 [S, S]) in any order; None where the film cannot be had any more."""

HEATMAPS = "heatmaps"
_DRAWERS = 2
_WAITING = 8
"""Squares that wait to be drawn, at most."""
_THUMBNAIL = 256
"""Pixels; shown at 168, so that dense screens and print have something to show."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A film to be drawn: as a PNG, for the page, or both."""

    verdict: Verdict
    on_disk: bool
    on_page: bool


def draw(
    folder: Path,
    verdicts: Verdicts,
    cases: Cases,
    most: int,
    decision: Decision,
    open_squares: OpenSquares,
    sample: Sequence[Case] = (),
) -> dict[str, Picture]:
    """Pictures by file: PNGs of the `most` strongest flagged films, JPEGs of those that stand on the page.

    sample: further cases on the page.

    folder: `heatmaps/`, there already. A film that cannot be had any more has no picture.
    """
    on_disk = set(disk := cases.strongest_films(most))
    on_page = set(page := cases.listed_leads(PAGE_CASES))
    wanted: dict[str, _Wanted] = {}

    def rows() -> Iterator[Row]:
        for position in dict.fromkeys((*disk, *page)):
            verdict = verdicts[position]
            wanted[verdict.row.file] = _Wanted(verdict, position in on_disk, position in on_page)
            yield verdict.row
        for case in sample:
            wanted[case.lead.row.file] = _Wanted(case.lead, on_disk=False, on_page=True)
            yield case.lead.row

    pictures: dict[str, Picture] = {}
    waiting: deque[tuple[str, Future[Picture]]] = deque()
    # OpenCV releases the GIL: pictures are drawn while the next films are read.
    with ThreadPoolExecutor(_DRAWERS) as pool:
        for row, square in open_squares(rows()):
            film = wanted.pop(row.file)
            if square is not None:
                waiting.append((row.file, pool.submit(_picture, folder, film, decision, square)))
            while len(waiting) > _WAITING:
                file, future = waiting.popleft()
                pictures[file] = future.result()
        pictures.update((file, future.result()) for file, future in waiting)
    sync_folder(folder)
    return pictures


def sheet_of(verdict: Verdict, decision: Decision, square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A film's sheet for its strongest finding, uint8 [H, W, 3], BGR. square: uint8 [S, S]."""
    finding = decision.card.finding(verdict.top.finding)
    return overlays.sheet(*_film_and_overlay(verdict, decision, square), finding.name, finding.heatmap_scale)


def _film_and_overlay(
    verdict: Verdict, decision: Decision, square: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    row = verdict.row
    inference, geometry = row.inference, row.geometry
    if inference is None or geometry is None:
        raise ValueError(f"{row.file} is screened but has no heat map or geometry")
    finding = decision.card.finding(verdict.top.finding)
    grid = inference.heatmap.grid()[decision.card.findings.index(finding)]
    over = overlays.overlay(square, geometry, grid, finding.heatmap_scale)
    return overlays.content(square, geometry), over


def _picture(folder: Path, film: _Wanted, decision: Decision, square: NDArray[np.uint8]) -> Picture:
    finding = decision.card.finding(film.verdict.top.finding)
    bare, over = _film_and_overlay(film.verdict, decision, square)
    path = ""
    if film.on_disk:
        name = overlays.picture_name(film.verdict.row)
        with new_file(folder / name) as stream:
            stream.write(overlays.png(overlays.sheet(bare, over, finding.name, finding.heatmap_scale)))
        path = f"{HEATMAPS}/{name}"
    if not film.on_page:
        return Picture(b"", b"", path)
    return Picture(overlays.thumbnail(bare, _THUMBNAIL), overlays.thumbnail(over, _THUMBNAIL), path)
