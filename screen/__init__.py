"""Batch screening of chest radiographs: folders of DICOM or pictures in, ranked reports out.

From Python: `Screener` for verdicts, `run` for a whole run with its reports; both raise `ScreenError`.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from screen.api import RunResult, Screener, run
    from screen.decide import Verdict
    from screen.errors import ScreenError

__version__ = "0.2.0"
__all__ = ["RunResult", "ScreenError", "Screener", "Verdict", "__version__", "run"]

# ONNX Runtime's wheel looks a host up and leaves a device id in the user's cache, unless this stands in the
# environment before its first import. Everything of ours imports this package first, and children inherit it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_HOMES = {
    "RunResult": "screen.api",
    "ScreenError": "screen.errors",
    "Screener": "screen.api",
    "Verdict": "screen.decide",
    "run": "screen.api",
}


def __getattr__(name: str) -> Any:
    """What Python calls, when it is asked for: whoever needs the version alone loads no OpenCV."""
    if name not in _HOMES:
        raise AttributeError(f"module 'screen' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
