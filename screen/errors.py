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
        super().__init__(f"{what} needs the extra '{extra}': pip install 'cxr-screen[{extra}]'")
