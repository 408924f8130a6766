"""Errors that a native decoder can only print, turned into exceptions."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_state = threading.local()


@contextmanager
def printed_errors_raised() -> Iterator[None]:
    """Raise the first error that a C callback in this thread could only print ("Exception ignored in …").

    Python's hook for them belongs to the whole process, so it is set once and asks which thread it is in.
    """
    _install()
    caught: list[str] = []
    _state.caught = caught
    try:
        yield
    finally:
        _state.caught = None
    if caught:
        raise RuntimeError(caught[0])


def _install() -> None:
    previous = sys.unraisablehook
    if getattr(previous, "of_cxr_screen", False):
        return

    def hook(unraisable: Any) -> None:
        caught: list[str] | None = getattr(_state, "caught", None)
        if caught is None:
            previous(unraisable)
            return
        # The text alone: the exception would keep the frame with its buffers alive.
        caught.append(str(unraisable.exc_value))

    hook.of_cxr_screen = True  # type: ignore[attr-defined]
    sys.unraisablehook = hook
