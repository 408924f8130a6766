"""The process that decodes: a hostile or broken file may bring it down, and nothing else.

Sources come in over the inherited socket, pickled by the parent; answers go back as `screen.decode.messages`,
squares through the inherited memory, see `screen.decode.pool`.
"""

import contextlib
import mmap
import resource
import signal
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from screen.codes import Reason
from screen.decode import messages
from screen.decode.one_file import Decoded, Outcome
from screen.film import Unscreened
from screen.processes import called

_CHECKOUT = Path(__file__).resolve().parent.parent.parent
_FRAMES = 4


def main(socket: int, memory: int) -> None:
    """Serve until the other end closes."""
    # The parent decides when in-flight work ends; a terminal or systemd signals the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A core dump would hold a patient's film.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # if memory ends, this process goes, not the run
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(Connection(socket), memory)


def _serve(connection: Connection, memory: int) -> None:
    try:
        import cv2

        cv2.setNumThreads(1)
        target, spec, limits, policy = connection.recv()
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        allowed = limits.memory if hard < 0 else min(limits.memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))
        decode = called(target)
        squares = np.frombuffer(mmap.mmap(memory, 0), np.uint8).reshape(-1, spec.size, spec.size)
    except Exception as error:
        connection.send_bytes(messages.start_error_to_bytes(_where(error)))
        return
    connection.send_bytes(messages.READY)
    slot = 0
    while True:
        source = connection.recv()
        try:
            outcome = decode(source, spec, limits, policy)
            if isinstance(outcome.result, Decoded):
                squares[slot] = outcome.result.square
            answer = messages.outcome_to_bytes(outcome)
        except Exception as error:
            # Whatever one file makes our own code raise is that file's row: the others are still to be read.
            answer = messages.outcome_to_bytes(Outcome(_failed(error), 0.0, 0.0))
        connection.send_bytes(answer)
        slot = (slot + 1) % len(squares)


def _failed(error: Exception) -> Unscreened:
    if isinstance(error, MemoryError):
        return Unscreened(Reason.TOO_LARGE, "more memory than one film may take")
    return Unscreened(Reason.READER_ERROR, _where(error))


def _where(error: BaseException) -> str:
    """Where in our code, innermost first, and the exception's type. No message: it may quote a tag."""
    ours = [
        f"{Path(frame.filename).relative_to(_CHECKOUT)}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_CHECKOUT)
    ]
    return f"{type(error).__name__} in {' < '.join(reversed(ours[-_FRAMES:]))}"
