"""The errors that end a run, one tree.

    ScreenError
    ├── UsageError      the command line asks for something that cannot be   exit 2
    ├── ModelError      the model file is not one that this code may run     exit 1
    ├── BackendError    the runtime or the device does not do its work       exit 1
    │   └── MemoryRefusedError   a batch does not fit: smaller ones may
    ├── EngineError     the engine file is not one that may run here         exit 1
    ├── SealError       a document was changed, or somebody else sealed it   exit 1
    ├── LedgerError     the run's folder or its memory cannot be used        exit 1
    ├── InputError      what was to be screened is missing or vanished       exit 1
    └── ArchiveError    an archive cannot be reached or does not do its work exit 1

A file that cannot be screened is no error: it is an `Unscreened` result (`screen.film`) and ends
as a row with a reason code. Messages say what to do next; they name files, never patients.
"""

import sys
from pathlib import Path


class ScreenError(Exception):
    """A failure with a message for the operator."""

    exit_code = 1


class UsageError(ScreenError):
    """The command line asks for something that cannot be done."""

    exit_code = 2


class ModelError(ScreenError):
    """The model file is broken, foreign, or made for other code."""


class BackendError(ScreenError):
    """The runtime or the device that was asked for is missing or failed."""


class MemoryRefusedError(BackendError):
    """The device has no memory for a batch of this size."""


class EngineError(ScreenError):
    """The engine file is foreign, changed, or made for something else."""


class SealError(ScreenError):
    """A document was changed, or sealed by somebody else."""


class LedgerError(ScreenError):
    """The run's folder or its ledger cannot be used."""


class InputError(ScreenError):
    """What was to be screened is missing or vanished on the way."""


class ArchiveError(ScreenError):
    """An archive cannot be reached, or does not do its work."""


class MissingExtraError(UsageError):
    """A part of the product that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': {how_to_install(extra)}")


def how_to_install(extra: str = "") -> str:
    """What to type for cxr-screen with an extra."""
    return install_line(f"cxr-screen[{extra}]" if extra else "cxr-screen")


def install_line(*words: str) -> str:
    """What to type for packages: into the environment that is running, in the versions that were tested."""
    import shlex

    constraints = _constraints()
    tested = ("-c", str(constraints)) if constraints else ()
    return shlex.join([sys.executable, "-m", "pip", "install", *tested, *words])


def _constraints() -> Path | None:
    """`constraints.txt` of the clone that is running, or that was installed from; a wheel has none."""
    import json
    from importlib import metadata
    from urllib.parse import unquote, urlsplit

    clones = [Path(__file__).parent.parent]
    try:
        origin = metadata.distribution("cxr-screen").read_text("direct_url.json")
        if (url := urlsplit(json.loads(origin or "{}").get("url", ""))).scheme == "file":
            clones.append(Path(unquote(url.path)))
    except (metadata.PackageNotFoundError, ValueError):
        pass
    found = (clone / "constraints.txt" for clone in clones if (clone / "pyproject.toml").is_file())
    return next((file for file in found if file.is_file()), None)
