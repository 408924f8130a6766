"""The two libraries that build and run engines, `tensorrt` and `tensorrt_rtx`: nearly the same interface."""

import importlib
import importlib.util
from types import ModuleType
from typing import Any

from screen.errors import BackendError, MissingExtraError

RTX, FULL = "tensorrt_rtx", "tensorrt"
_EXTRAS = {RTX: "trt", FULL: "tensorrt"}


def installed() -> list[str]:
    """Which of the libraries are here, by the names of their modules."""
    return [library for library in _EXTRAS if importlib.util.find_spec(library) is not None]


def library_module(name: str, what: str) -> ModuleType:
    """The library, imported. what: needs it, for the message. Raises MissingExtraError and BackendError."""
    if name not in _EXTRAS:
        raise BackendError(f"no TensorRT library is called '{name}'")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(what, _EXTRAS[name]) from error


def error_log(trt: Any) -> Any:
    """A logger that keeps errors (`errors`) for our own messages and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

    return Log()


def library_for(capability: str) -> str:
    """Which of the installed libraries has engines for a GPU, TensorRT-RTX if both do.

    capability: `sm89` …. Raises MissingExtraError if none is installed that does.
    """
    try:
        if capability in targets_of(library_module(RTX, "")):
            return RTX
    except MissingExtraError:
        pass
    library_module(FULL, f"TensorRT on this GPU ({capability})")
    return FULL


def targets_of(trt: Any) -> tuple[str, ...]:
    """Compute capabilities that TensorRT-RTX has engines for: `sm75` …."""
    return tuple(name.lower() for name in trt.ComputeCapability.__members__ if name.startswith("SM"))
