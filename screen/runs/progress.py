"""What a run says while it runs, on standard error: a live line on a terminal, else one JSON object a line.

Nothing from a tag is ever said; file names as the run's files show them.
"""

import json
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import IO, Any, Protocol, Self, cast

from screen.log import log_to
from screen.text import printable

_LOG_INTERVAL = 10.0
_REDRAW_INTERVAL = 0.2
"""Seconds between two lines in a log, and between two looks of the live line."""


class Shown(Protocol):
    """What there is so far, after so many seconds."""

    def facts(self, seconds: float) -> dict[str, Any]:
        """For a log."""

    def line(self, seconds: float) -> str:
        """For a terminal."""


@dataclass(slots=True)
class Counts:
    """So far. listed: files found. done: files with a row; of these reused: from an earlier run.

    total: how many files there are in all; None while that is not known.
    """

    listed: int = 0
    done: int = 0
    reused: int = 0
    inferred: int = 0
    skipped: int = 0
    failed: int = 0
    total: int | None = None

    def plain(self) -> dict[str, int]:
        """Those that are known, by name."""
        return {name: count for name, count in asdict(self).items() if count is not None}

    def facts(self, seconds: float) -> dict[str, Any]:
        """All of them, and films per second."""
        return {**self.plain(), "images_per_second": round(self.inferred / seconds, 1)}

    def line(self, seconds: float) -> str:
        """The same in one line. The time left, where the total is known: as long a file as those so far."""
        of, left, new = "", "", self.done - self.reused
        if self.total is not None:
            of = f" of {max(self.total, self.done)}"
            rest = self.total - self.done
            left = f" · {_duration(rest * seconds / new)} left" if new and rest > 0 else ""
        return (
            f"{self.done}{of} files{left} · {self.inferred} inferred · {self.reused} reused · "
            f"{self.skipped} skipped · {self.failed} failed · {self.inferred / seconds:.1f} films/s"
        )


def _duration(seconds: float) -> str:
    """Of two units at most: `40 s`, `12 min`, `3 h 5 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Progress(ABC):
    """`tick` as often as you like, `event` for what should be kept.

    wants_total: somebody watches, to whom the time left is worth a second look at all folders.
    """

    wants_total = False

    def __init__(self, interval: float) -> None:
        self._started = time.monotonic()
        self._interval = interval
        self._next = self._started + interval

    def tick(self, counts: Shown) -> None:
        """The counts may have changed: shown if it is time to."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._interval
            self._show(counts, max(time.monotonic() - self._started, 1e-9))

    @abstractmethod
    def _show(self, counts: Shown, seconds: float) -> None: ...

    @abstractmethod
    def event(self, name: str, **facts: Any) -> None:
        """Something that an operator may want to know afterwards."""

    def finished(self, **facts: Any) -> None:
        """The last event. With reports: page (its path), flagged and cases (how many) are among the facts."""
        self.event("finished", **facts)

    def close(self) -> None:  # noqa: B027  a log has nothing to give back
        """No more ticks."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class JsonLines(Progress):
    """For logs: `{"event": …, …}`, flushed line by line."""

    def __init__(self) -> None:
        super().__init__(_LOG_INTERVAL)
        self._log = log_to(sys.stderr)

    def _show(self, counts: Shown, seconds: float) -> None:
        self.event("progress", **counts.facts(seconds))

    def event(self, name: str, **facts: Any) -> None:
        """A line now."""
        seconds = round(time.monotonic() - self._started, 1)
        # In one piece: a full disk takes the line or loses it.
        self._log.write(json.dumps({"event": name, "seconds": seconds, **facts}) + "\n")
        self._log.flush()


class Terminal(Progress):
    """For people: a live line, events above it."""

    wants_total = True

    def __init__(self) -> None:
        from rich.console import Console
        from rich.status import Status

        super().__init__(_REDRAW_INTERVAL)
        self._console = Console(file=cast("IO[str]", log_to(sys.stderr)), highlight=False)
        self._status = Status("", console=self._console)
        self._status.start()

    def _show(self, counts: Shown, seconds: float) -> None:
        self._status.update(counts.line(seconds))

    def event(self, name: str, **facts: Any) -> None:
        """One line, without markup and control characters: names are hostile."""
        text = ", ".join(f"{key} {printable(str(value))}" for key, value in facts.items() if value != "")
        self._console.print(f"{name}: {text}", markup=False, emoji=False)

    def finished(self, **facts: Any) -> None:
        """One sentence that says where to look."""
        if "page" not in facts:
            super().finished(**facts)
            return
        self._status.stop()
        failed = ""
        if facts["failed"]:
            failed = f", {facts['failed']} of {facts['listed']} files could not be read"
        said = f"{facts['flagged']} of {facts['cases']} cases flagged{failed}: {printable(facts['page'])}"
        self._console.print(said, markup=False, emoji=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._status.stop()


class Silence(Progress):
    """For callers from Python, who read the reports."""

    def __init__(self) -> None:
        super().__init__(float("inf"))

    def _show(self, counts: Shown, seconds: float) -> None:
        """Nothing."""

    def event(self, name: str, **facts: Any) -> None:
        """Nothing either."""


def progress_for_stderr() -> Progress:
    """Live on a terminal, JSON lines anywhere else."""
    return Terminal() if log_to(sys.stderr).isatty() else JsonLines()
