"""Standard streams whose trouble ends nothing: closed from the start, full, or read by nobody any more."""

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from screen.errors import ScreenError


class Log(io.TextIOBase):
    """Standard error as it should be for a night's work: what cannot be written is dropped.

    Each line is tried anew: a full disk may have room again.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """The stream's."""
        return self._stream.errors

    def write(self, text: str, /) -> int:
        """The number of characters, whatever became of them."""
        # ValueError: the stream has been closed.
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As `write`. What is still held back at the end would change the exit code of the interpreter."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether a person reads it."""
        try:
            return self._stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        """The stream's. Raises OSError and ValueError as it does."""
        return self._stream.fileno()


class Answer(Log):
    """Standard output, where a command's answer goes: one that is lost is an error.

    Nobody reading it any more (`| head`) stays a BrokenPipeError: click ends quietly then.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lost: OSError | None = None

    def write(self, text: str, /) -> int:
        """Raises ScreenError and BrokenPipeError."""
        # click asks with an empty text which kind of stream this is, and takes an error for an answer.
        if text == "":
            return 0
        self._answer(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Raises ScreenError and BrokenPipeError; not again for what is lost already: that has been said."""
        if self._lost is None:
            self._answer(self._stream.flush)

    def _answer(self, call: Callable[[], object]) -> None:
        try:
            if self._lost is not None:
                raise self._lost
            call()
        except BrokenPipeError as error:
            self._lost = error
            raise
        except OSError as error:
            self._lost = error
            raise ScreenError(f"standard output: cannot be written ({error.strerror})") from error


def secure_standard_streams() -> None:
    """To be called first of all: the three streams are there, and trouble with the log ends nothing.

    A descriptor that was closed becomes /dev/null: else the next file that is opened gets its number, and
    what a library says would be written into a ledger or a report.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free: this one.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
    sys.stdin = sys.stdin or _opened(0, "r")
    sys.stdout = Answer(sys.stdout or _opened(1, "w"))
    sys.stderr = Log(sys.stderr or _opened(2, "w"))


def log_to(stream: TextIO | None) -> Log:
    """A stream, `sys.stderr`, as a log; None is one that was closed from the start."""
    if isinstance(stream, Log):
        return stream
    return Log(io.StringIO() if stream is None else stream)


def _opened(descriptor: int, mode: str) -> TextIO:
    # closefd: the descriptor is to stay.
    return open(descriptor, mode, encoding="utf-8", closefd=False)  # type: ignore[return-value]
