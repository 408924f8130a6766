"""A ledger's reports, and its films once more for their pictures: through the same workers and reader."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.decide import Decision
from screen.decode import Decoded, DecodePool
from screen.discover import Source
from screen.ledger import Ledger, Row
from screen.report import RunFacts, write_reports
from screen.run.stopping import Stop, UntilStopped


def reports_from_ledger(
    folder: Path, ledger: Ledger, decision: Decision, facts: RunFacts, pool: DecodePool, stop: Stop
) -> int:
    """Every report of the rows that INPUT lists, into `folder`; the exit code.

    pool: with nothing in flight. Raises LedgerError, and StoppedError after a signal: then earlier reports,
    if any, are as they were.
    """
    rows = UntilStopped(ledger.listed_rows(), stop)
    return write_reports(folder, rows, decision, facts, Reopener(ledger, pool, stop.check).squares)


class Reopener:
    """Opens the films of rows, as many at a time as the pool has room for."""

    def __init__(self, ledger: Ledger, pool: DecodePool, check_stop: Callable[[], None]) -> None:
        """pool: with nothing in flight. check_stop: raises when films are not to be waited for any more."""
        self._ledger = ledger
        self._pool = pool
        self._check_stop = check_stop

    def squares(self, rows: Iterable[Row]) -> Iterator[tuple[Row, NDArray[np.uint8] | None]]:
        """Every row with its square, uint8 [S, S], in any order.

        None if the film is gone, is another one by now, or cannot be read any more.
        """
        gone: list[Row] = []
        reading: dict[str, Row] = {}

        def sources() -> Iterator[Source | None]:
            for row in rows:
                source = self._source(row)
                if source is None:
                    gone.append(row)
                else:
                    reading[source.key] = row
                yield source

        for finished in self._pool.map(sources()):
            self._check_stop()
            yield from ((row, None) for row in gone)
            gone.clear()
            for source, outcome in finished:
                row, film = reading.pop(source.key), outcome.result
                # The digest, not the file's time: the pixels that gave the score, or none.
                if isinstance(film, Decoded) and film.pixel_digest == row.pixel_digest:
                    yield row, film.square
                else:
                    yield row, None

    def _source(self, row: Row) -> Source | None:
        path = self._ledger.path_of(row.file)
        if path is None:
            return None
        try:
            status = path.stat()
        except OSError:
            return None
        return Source(path, row.file, status.st_size, status.st_mtime_ns)
