"""How many files there are in all, counted in the background while the first of them are screened."""

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from screen.discover import Source, Step
from screen.errors import InputError
from screen.runs.part import Part
from screen.runs.progress import Counts


class FileCount:
    """Walks through all folders a second time, in a thread of its own. Its troubles are nobody's."""

    def __init__(self, steps: Iterator[Step], part: Part | None, counts: Counts) -> None:
        """part: whose files count; None: all do. counts: get their total when all are counted."""
        self._steps = steps
        self._part = part
        self._counts = counts
        self._ended = False
        self._thread = threading.Thread(target=self._count, name="file count", daemon=True)

    def _count(self) -> None:
        count = 0
        try:
            for step in self._steps:
                if self._ended:
                    return
                count += isinstance(step, Source) and (self._part is None or self._part.has(step.key))
        except (OSError, InputError):
            return
        self._counts.total = count

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
