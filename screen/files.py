"""Files that are read in one go or written whole, private ones, keys, and errors of disks that may pass."""

import csv
import errno
import io
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
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


@contextmanager
def new_file(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file that is not there yet, for writing; on the disk when the block ends. Raises OSError.

    For files in a folder that counts only as a whole; anywhere else use `whole_file`.
    """
    # O_EXCL: neither a file that is there nor a link that somebody planted is written to.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def whole_file(path: Path, mode: int | None = None, *, replace: bool = True) -> Iterator[BinaryIO]:
    """A file for writing that gets its name when it is on the disk: a reader finds the old one or the new.

    mode: None is that of the file that is replaced, else what the user's umask leaves. replace: else an
    earlier file of that name stays, whoever made it meanwhile. An exception in the block leaves everything as
    it was. What is no file (/dev/stdout, a pipe) is written to as it is. Raises OSError.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    draft = path.with_name(f"{_draft_prefix(path)}{secrets.token_hex(4)}")
    try:
        with new_file(draft, 0o666 if mode is None else mode) as stream:
            yield stream
        if replace:
            if mode is None and path.exists():
                draft.chmod(stat.S_IMODE(path.stat().st_mode))
            draft.replace(path)
        else:
            with suppress(FileExistsError):
                os.link(draft, path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, mode: int | None = None) -> None:
    """`whole_file` with all its bytes at once. Raises OSError."""
    with whole_file(path, mode) as stream:
        stream.write(data)


def remove_drafts(path: Path) -> None:
    """What writers of `path` left that were killed; only while nobody else writes it. Raises OSError."""
    prefix = _draft_prefix(path)
    for other in path.parent.iterdir():
        if other.name.startswith(prefix) and len(other.name) == len(prefix) + 8:
            other.unlink(missing_ok=True)


def _draft_prefix(path: Path) -> str:
    # A file's name has 255 bytes at most.
    return f".{os.fsdecode(os.fsencode(path.name)[:200])}."


class LineWriter(Protocol):
    """What `csv.writer` gives."""

    def writerow(self, line: Iterable[object], /) -> object:
        """Write one line."""

    def writerows(self, lines: Iterable[Iterable[object]], /) -> object:
        """Write several."""


Opener = Callable[[Path], AbstractContextManager[BinaryIO]]
"""`new_file` or `whole_file`."""


@contextmanager
def csv_file(path: Path, columns: Sequence[str], opener: Opener) -> Iterator[LineWriter]:
    """A CSV file, UTF-8 and LF, written line by line; the first line names the columns. Raises OSError."""
    with opener(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        yield writer
        text.detach()  # flushes; the file is not the wrapper's to close


def sync_folder(folder: Path) -> None:
    """Names within the folder are on the disk, as far as its file system can say. Raises OSError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # who may write there may still not list it
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems sync files alone.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def private_files() -> Iterator[None]:
    """Within, new files are 0600 and new folders 0700, SQLite's side files included."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def configuration_folder() -> Path:
    """Where this user's keys lie."""
    import click  # decode workers need this module, and none of click

    return Path(click.get_app_dir("cxr-screen"))


def secret_from_file(path: Path) -> str:
    """The text of a key file, which is made if there is none.

    Raises UsageError if others can read or replace it, OSError if it cannot be kept there.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        # Of two runs that start together the first one's key stays.
        with whole_file(path, 0o600, replace=False) as stream:
            stream.write(secrets.token_hex(32).encode() + b"\n")
    with path.open(encoding="utf-8") as file:
        check_private(path, file.fileno())
        return file.read().strip()


def check_private(path: Path, descriptor: int) -> None:
    """Raises UsageError if an opened file is not ours, or if others can read or replace it."""
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise UsageError(f"{path}: must be yours and only yours to read (chmod 600)")


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
