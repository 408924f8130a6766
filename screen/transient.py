"""Errors of disks and networks that may pass: waiting a moment costs less than losing a film."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

_ERRNOS = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.EAGAIN,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOLINK,
        errno.EREMOTEIO,
    }
)
_PAUSES = (0.1, 0.4, 1.5)
"""Seconds. What lasts longer is for the next run: the row's reason is one that a plain rerun repeats."""

T = TypeVar("T")


def persistently(call: Callable[[], T]) -> T:
    """What `call` returns; called again after a pause if it fails in a way that may pass. Raises OSError."""
    for pause in _PAUSES:
        try:
            return call()
        except OSError as error:
            if error.errno not in _ERRNOS:
                raise
        time.sleep(pause)
    return call()
