"""A ledger's reports, and its films once more for their pictures: through the same workers and reader."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.decide import Decision
from screen.decode import Decoded, DecodePool
from screen.discover import Source
from screen.ledger import Ledger, Row
from screen.report import RunFacts, write_reports
from screen.report.viewer import Viewer
from screen.report.writing import mark_nothing
from screen.runs.stopping import Stop, StoppedError, UntilStopped


def reports_from_ledger(
    folder: Path,
    ledger: Ledger,
    decision: Decision,
    facts: RunFacts,
    open_pool: Callable[[], DecodePool] | None,
    stop: Stop,
    *,
    listed: bool,
    viewer: Viewer | None = None,
) -> int:
    """Every report of the rows that INPUT lists, into `folder`; the exit code.

    open_pool: called when there is a film to read again; None if films cannot be. listed: later nights take
    the cases of `flagged.csv` for read. viewer: where the page's cases lead to. Raises LedgerError, and
    StoppedError after a signal: then earlier reports, if any, are as they were.
    """
    rows = UntilStopped(ledger.listed_rows(), stop)
    squares = Reopener(ledger, open_pool, stop.check).squares
    mark = ledger.mark_listed if listed else mark_nothing
    with decision_kept(ledger, decision) if folder == ledger.path.parent else nullcontext():
        code = write_reports(folder, rows, decision, facts, squares, mark, viewer)
    # Only now: of a report that was not finished nobody has read.
    ledger.commit()
    return code


@contextmanager
def decision_kept(ledger: Ledger, decision: Decision) -> Iterator[None]:
    """Within, the folder's reports are written: then they are what was decided, and when it first was."""
    before, now = ledger.decision(), datetime.now().astimezone()
    ledger.keep_decision(None)
    try:
        yield
    except StoppedError:
        ledger.roll_back()
        ledger.keep_decision(before)
        raise
    text = decision.to_json()
    same = before is not None and before[0] == text
    ledger.keep_decision(before if same else (text, now.isoformat(timespec="seconds")))


class Reopener:
    """Opens the films of rows, as many at a time as the pool has room for."""

    def __init__(
        self, ledger: Ledger, open_pool: Callable[[], DecodePool] | None, check_stop: Callable[[], None]
    ) -> None:
        """open_pool: gives a pool with nothing in flight, asked once, when it is needed; None: there is none.

        check_stop: raises when films are not to be waited for any more.
        """
        self._ledger = ledger
        self._open_pool = open_pool
        self._check_stop = check_stop

    def squares(self, rows: Iterable[Row]) -> Iterator[tuple[Row, NDArray[np.uint8] | None]]:
        """Every row with its square, uint8 [S, S], as `films` has it."""
        return ((row, None if film is None else film.square) for row, film in self.films(rows))

    def films(self, rows: Iterable[Row]) -> Iterator[tuple[Row, Decoded | None]]:
        """Every row with its film, in any order.

        None if the film is gone, is another one by now, or cannot be read any more.
        """
        left = iter(rows)
        for row in left:
            self._check_stop()
            source = self._source(row) if self._open_pool is not None else None
            if source is None:
                yield row, None
            elif self._open_pool is not None:
                yield from self._read(self._open_pool(), row, source, left)

    def _read(
        self, pool: DecodePool, row: Row, source: Source, left: Iterator[Row]
    ) -> Iterator[tuple[Row, Decoded | None]]:
        gone: list[Row] = []
        reading = {source.key: row}

        def sources() -> Iterator[Source | None]:
            yield source
            for each in left:
                found = self._source(each)
                if found is None:
                    gone.append(each)
                else:
                    reading[found.key] = each
                yield found

        for finished in pool.map(sources()):
            self._check_stop()
            yield from ((each, None) for each in gone)
            gone.clear()
            for read, outcome in finished:
                wanted, film = reading.pop(read.key), outcome.result
                # The digest, not the file's time: the pixels that gave the score, or none.
                if isinstance(film, Decoded) and film.pixel_digest == wanted.pixel_digest:
                    yield wanted, film
                else:
                    yield wanted, None

    def _source(self, row: Row) -> Source | None:
        path = self._ledger.path_of(row.file)
        if path is None:
            return None
        try:
            status = path.stat()
        except OSError:
            return None
        return Source(path, row.file, status.st_size, status.st_mtime_ns)
