"""Stopping in order: the first SIGINT or SIGTERM is noted, a second one ends the process as ever."""

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Self

from screen.ledger import FilmKey, Row, Rows

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Within `with Stop() as stop`, `stop.signal` says which signal asked to stop, if any did."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    @property
    def exit_code(self) -> int:
        """128 + the signal's number."""
        return 128 + (self.signal or 0)

    def check(self) -> None:
        """Raises StoppedError once a signal has come."""
        if self.signal:
            raise StoppedError

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()


class StoppedError(Exception):
    """Raised where a stop must unwind what cannot end early by itself."""


class UntilStopped:
    """Rows that can be read until a signal comes: then whoever reads them is unwound by StoppedError."""

    def __init__(self, rows: Rows, stop: Stop) -> None:
        self._rows = rows
        self._stop = stop

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self._stop.check()
            yield row

    def __getitem__(self, position: int) -> Row:
        self._stop.check()
        return self._rows[position]

    def film_keys(self) -> Iterator[FilmKey]:
        for key in self._rows.film_keys():
            self._stop.check()
            yield key
