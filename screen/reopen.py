"""A row's film once more, for pictures in reports: through the same workers, reader and preprocessing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screen.decode import Decoded
from screen.discover import Source
from screen.ledger import Ledger
from screen.preprocess import PreprocessSpec
from screen.readers import Limits
from screen.rows import Row
from screen.workers import DecodePool

OpenSquare = Callable[[Row], NDArray[np.uint8] | None]


@contextmanager
def squares_of(
    ledger: Ledger, spec: PreprocessSpec, hidden_paths: Mapping[str, Path] | None = None
) -> Iterator[OpenSquare]:
    """A function that gives a row's square, uint8 [S, S]; None if the film is gone or is another one by now.

    hidden_paths: where files lie whose names the ledger does not know.
    """
    paths = hidden_paths or {}
    with DecodePool(1, spec, Limits()) as pool:

        def open_square(row: Row) -> NDArray[np.uint8] | None:
            path = paths.get(row.file) or ledger.path_of(row.file)
            if path is None:
                return None
            try:
                status = path.stat()
            except OSError:
                return None
            pool.submit(Source(path, row.file, status.st_size, status.st_mtime_ns))
            while pool.in_flight:
                for _, outcome in pool.collect(1.0):
                    result = outcome.result
                    # The digest, not the file's time: pixels that gave the score, or none.
                    if isinstance(result, Decoded) and result.pixel_digest == row.pixel_digest:
                        return result.square
            return None

        yield open_square
