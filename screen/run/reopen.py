"""Rows' films once more, for pictures in reports: through the same workers, reader and preprocessing."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from screen.decode import Decoded, DecodePool
from screen.discover import Source
from screen.ledger import Ledger, Row

_LOOK = 0.5
"""Seconds between two looks at signals while films are read."""


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
        left = iter(rows)
        reading: dict[str, Row] = {}
        more = True
        while more or reading:
            while more and self._pool.has_room:
                row = next(left, None)
                if row is None:
                    more = False
                elif (source := self._source(row)) is None:
                    yield row, None
                else:
                    reading[source.key] = row
                    self._pool.submit(source)
            self._check_stop()
            for source, outcome in self._pool.collect(_LOOK):
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
