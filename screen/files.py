"""Files that are read in one go or written whole, private ones, keys, and errors of disks that may pass."""

import csv
import errno
import io
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from screen.errors import UsageError


def read_bounded(path: Path, limit: int) -> bytes | None:
    """All bytes of a file; None if there are more than `limit`. Raises OSError."""
    with path.open("rb") as stream:
        # Nothing is read of what is too large by its length; the bound is for a file that grows.
        if os.fstat(stream.fileno()).st_size > limit:
            return None
        data = stream.read(limit + 1)
    return data if len(data) <= limit else None


def write_whole(path: Path, data: bytes) -> None:
    """Durable before it has its name, so that a reader finds the old file or the new one. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class LineWriter(Protocol):
    """What `csv.writer` gives."""

    def writerow(self, line: Iterable[str], /) -> object:
        """Write one line."""

    def writerows(self, lines: Iterable[Iterable[str]], /) -> object:
        """Write several."""


def write_file(path: Path, content: bytes) -> None:
    """A new file, 0600. Raises FileExistsError."""
    with _new_file(path) as file:
        file.write(content)


@contextmanager
def csv_file(path: Path, columns: Sequence[str]) -> Iterator[LineWriter]:
    """A new CSV file, 0600, UTF-8 and LF, written line by line; the first line names the columns."""
    with _new_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        yield writer
        text.detach()  # flushes; the file is not the wrapper's to close


@contextmanager
def private_files() -> Iterator[None]:
    """Within, new files are 0600 and new folders 0700, SQLite's side files included."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Names within the folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def configuration_folder() -> Path:
    """Where this user's keys lie."""
    import click  # decode workers need this module, and none of click

    return Path(click.get_app_dir("cxr-screen"))


def secret_from_file(path: Path) -> str:
    """The text of a key file, which is made if there is none.

    Raises UsageError if others can read or replace it, OSError if it cannot be kept there.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _create(path)
    with path.open(encoding="utf-8") as file:
        check_private(path, file.fileno())
        return file.read().strip()


def check_private(path: Path, descriptor: int) -> None:
    """Raises UsageError if an opened file is not ours, or if others can read or replace it."""
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise UsageError(f"{path}: must be yours and only yours to read (chmod 600)")


def _create(path: Path) -> None:
    """A new random key, whole or not at all, unless there is one."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # link, not rename: of two runs that start together the first one's key stays.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


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
