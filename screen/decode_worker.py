"""The process that decodes: a hostile or broken file may bring it down, and nothing else.

python -P -c … FD    speaks pickled messages over the inherited socket FD, see `screen.workers`
"""

import contextlib
import importlib
import resource
import signal
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

_MEMORY = 4 * 2**30
"""Bytes of heap. A film takes a tenth of it; beyond lies a bomb: better MemoryError than the OOM killer."""


@dataclass(frozen=True, slots=True)
class Bug:
    """An exception out of our own code. trace: frames and type, no message: it may quote a tag."""

    trace: str


def main(descriptor: int) -> None:
    """Serve until the other end closes."""
    # The parent decides when in-flight work ends; a terminal or systemd signals the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A core dump would hold a patient's film.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY if hard < 0 else min(_MEMORY, hard), hard))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # if memory ends, this process goes, not the run
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(Connection(descriptor))


def _serve(connection: Connection) -> None:
    try:
        import cv2

        cv2.setNumThreads(1)
        target, spec, limits, policy = connection.recv()
        module, function = target.split(":")
        decode = getattr(importlib.import_module(module), function)
    except Exception as error:
        connection.send(_bug(error))
        return
    connection.send(None)
    while True:
        source = connection.recv()
        try:
            answer = decode(source, spec, limits, policy)
        except Exception as error:
            answer = _bug(error)
        connection.send(answer)


def _bug(error: BaseException) -> Bug:
    frames = "".join(traceback.format_tb(error.__traceback__))
    return Bug(f"{frames}{type(error).__module__}.{type(error).__qualname__}")
