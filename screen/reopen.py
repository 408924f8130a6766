"""A row's film once more, for pictures in reports: through the same workers, reader and preprocessing."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.decode import Decoded
from screen.discover import Source
from screen.ledger import Ledger
from screen.rows import Row
from screen.workers import DecodePool

OpenSquare = Callable[[Row], NDArray[np.uint8] | None]


def square_opener(
    ledger: Ledger, pool: DecodePool, hidden_paths: Mapping[str, Path] | None = None
) -> OpenSquare:
    """A function that gives a row's square, uint8 [S, S]; None if the film is gone or is another one by now.

    pool: with nothing in flight. hidden_paths: where files lie whose names the ledger does not know.
    """
    paths = hidden_paths or {}

    def open_square(row: Row) -> NDArray[np.uint8] | None:
        path = paths.get(row.file) or ledger.path_of(row.file)
        if path is None:
            return None
        try:
            status = path.stat()
        except OSError:
            return None
        pool.submit(Source(path, row.file, status.st_size, status.st_mtime_ns))
        square = None
        while pool.in_flight:
            for _, outcome in pool.collect(1.0):
                result = outcome.result
                # The digest, not the file's time: the pixels that gave the score, or none.
                if isinstance(result, Decoded) and result.pixel_digest == row.pixel_digest:
                    square = result.square
        return square

    return open_square
