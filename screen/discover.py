"""From folders and files to sources: what there is to screen, in a stable order, nothing left out in silence.

Order: INPUTs as given, then by the raw bytes of the relative path. A symbolic link to a file is a source of
its own (two that show the same film end as duplicates by their pixels); a linked folder is walked, each real
folder once, so loops end. A dangling link, a folder that cannot be listed, and what lies too deep for the
system's paths are sources with a problem. Sockets, pipes and devices are no files and are passed over. So is
a folder that an earlier run left its reports in, with all that is in it; a file in there that is given by
name is taken. Folders are known by device and inode: their real paths would cost more with every level.
"""

# Raw bytes, which pathlib does not have, are what the order is made of.
# ruff: noqa: PTH115, PTH116, PTH118, PTH120

import contextlib
import os
import re
import select
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO

from screen.codes import Reason
from screen.errors import InputError
from screen.files import persistently
from screen.text import escaped


@dataclass(frozen=True, slots=True)
class Source:
    """One file: a stable key, a change token, and `open()`.

    key: the file as reports show it: INPUT as typed, joined with the relative path; valid text and unique
    (see `key_from_path`). size: bytes. problem: why `open()` is not worth trying.
    """

    path: Path
    key: str
    size: int
    mtime_ns: int
    problem: Reason | None = None

    @property
    def change_token(self) -> str:
        """Differs when the file was changed."""
        return f"{self.size}-{self.mtime_ns}"

    def open(self) -> BinaryIO:
        """The file, for reading. Raises OSError, also if it is no regular file any more."""
        # A pipe that took the file's place would block a plain open for ever.
        fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError("not a regular file any more")
        return os.fdopen(fd, "rb")


def key_from_path(path: bytes) -> str:
    """A path's raw bytes as text: bytes that are not UTF-8 and invisible characters become %XX.

    A literal % that could be taken for such an escape becomes %25, so that two paths never share a key.
    """
    literal = re.sub(rb"%(?=[0-9A-Fa-f]{2})", b"%25", path)
    return escaped(literal.decode("utf-8", "surrogateescape"))


class Pause(Enum):
    """A step of discovery that found no file: whoever takes steps may look at signals and at other work."""

    WALKING = auto()
    """There is more to look at, at once."""
    WAITING = auto()
    """The list on standard input has nothing for us yet."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A folder with an earlier run's reports, by its key: it is no input."""

    key: str


Step = Source | PassedOver | Pause

_BLOCK = 1 << 16
"""Bytes; longer than any path, so that the first block shows what separates paths."""
_LOOK = 0.2
"""Seconds between two pauses while a list has nothing for us."""


def paths_from_list(stream: BinaryIO) -> Iterator[Path | Pause]:
    """Paths, one a line, or separated by NUL (`find -print0`), each as soon as it is complete.

    Any bytes are a path's. A stream that is no file of the system's is never waited for in pauses.
    Raises InputError if the stream cannot be read, or is no list of paths.
    """
    rest = separator = b""
    for block in _blocks(stream):
        rest += block
        separator = separator or _separator(rest, waited=not block)
        if separator:
            *lines, rest = rest.split(separator)
            yield from (Path(os.fsdecode(line)) for line in lines if line)
        if len(rest) > _BLOCK:
            raise InputError("the list on standard input is none: 64 KiB without an end of line or NUL")
        if not block:
            yield Pause.WAITING
    yield from (Path(os.fsdecode(line)) for line in rest.split(separator or b"\n") if line)


def _separator(start: bytes, *, waited: bool) -> bytes:
    """What separates a list's paths, by how it starts; empty while that cannot be told.

    A name may hold a line end. So one in the middle of what is there decides only if nothing follows soon.
    Where both are there, the end of what is there decides, else what there is more of: no name holds a NUL,
    but a list of lines may be damaged in one place.
    """
    if b"\0" in start:
        lines = start.endswith(b"\n") or start.count(b"\n") > start.count(b"\0") > 0
        return b"\n" if lines and not start.endswith(b"\0") else b"\0"
    decided = start.endswith(b"\n") or len(start) >= _BLOCK or (waited and b"\n" in start)
    return b"\n" if decided else b""


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """What the stream has, as soon as it has it; empty while it has nothing. Raises InputError."""
    try:
        descriptor = stream.fileno()
    except OSError:
        while block := stream.read(_BLOCK):
            yield block
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        try:
            # Past the stream's buffer, which would wait until it is full.
            if not poll.poll(_LOOK * 1000):
                yield b""
                continue
            block = os.read(descriptor, _BLOCK)
        except BlockingIOError:
            continue
        except OSError as error:
            raise InputError(f"the list on standard input cannot be read ({error.strerror})") from error
        if not block:
            return
        yield block


def discover(inputs: Sequence[Path], exclude: Path | None) -> Iterator[Source]:
    """Sources of all `inputs` (folders, recursively, and files), each file once; listed while they are used.

    exclude: the run's own folder, never an input, wherever it lies. It need not exist before the first step.
    Raises InputError at once if an input does not exist, later if one vanishes on the way.
    """
    steps = discover_in_steps(inputs, exclude)
    return (step for step in steps if isinstance(step, Source))


def discover_in_steps(inputs: Sequence[Path], exclude: Path | None) -> Iterator[Step]:
    """As `discover`, with pauses between folders, and naming the folders that are passed over."""
    for path in inputs:
        _input_status(path)
    return _Walk(exclude).steps(inputs)


def discover_listed(paths: Iterable[Path | Pause], exclude: Path | None) -> Iterator[Step]:
    """Sources of a list that may be long: not kept; a path that is not there is a source too.

    A file that is listed again in the same words gets the same key; who keeps keys sees that.
    """
    return _Walk(exclude).listed(paths)


def _input_status(path: Path) -> os.stat_result:
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be found ({error.strerror}); check the path") from error
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise InputError(f"{path}: neither a file nor a folder")
    return found


class _Walk:
    """What one discovery has seen: folders, and files that were given by name, by their folder and name."""

    def __init__(self, exclude: Path | None) -> None:
        self._exclude = exclude
        self._excluded: _Identity | None = None
        self._folders: set[_Identity] = set()
        self._passed_over: set[_Identity] = set()
        self._named: set[tuple[_Identity, bytes]] = set()

    def steps(self, inputs: Sequence[Path]) -> Iterator[Step]:
        self._find_excluded()
        for path in inputs:
            status = _input_status(path)
            raw = os.fsencode(path)
            if self._leads_into_excluded(raw):
                continue
            if stat.S_ISDIR(status.st_mode):
                yield from self._tree(raw)
            elif self._is_new(raw):
                yield _source(raw, status)

    def listed(self, paths: Iterable[Path | Pause]) -> Iterator[Step]:
        self._find_excluded()
        for path in paths:
            if isinstance(path, Pause):
                yield path
                continue
            raw = os.fsencode(path)
            if b"\0" in raw:
                # No system call takes it.
                yield _problem(raw, Reason.UNREADABLE)
                continue
            if self._leads_into_excluded(raw):
                continue
            try:
                status = _status(raw)
            except OSError:
                yield _problem(raw, Reason.UNREADABLE)
                continue
            if stat.S_ISDIR(status.st_mode):
                yield from self._tree(raw)
            elif stat.S_ISREG(status.st_mode):
                yield _source(raw, status)
            else:
                # Found in a folder it is passed over; named in a list it is somebody's mistake.
                yield _problem(raw, Reason.UNREADABLE)

    def _tree(self, top: bytes) -> Iterator[Step]:
        """Depth first, with a stack of its own: no folder is too deep."""
        stack = [self._listing(top)]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
            elif isinstance(step, bytes):
                stack.append(self._listing(step))
            else:
                yield step

    def _listing(self, folder: bytes) -> Iterator[Step | bytes]:
        """Files as sources, folders as paths, in the order of the paths below them."""
        yield Pause.WALKING
        try:
            identity = _identity(_status(folder))
            if identity in self._folders or identity in self._passed_over or identity == self._excluded:
                return
            names = persistently(lambda: _names(folder))
        except OSError:
            yield _problem(folder, Reason.FOLDER_UNREADABLE)
            return
        if _holds_a_run(folder, names):
            # Apart from those that were listed: a file in there that is given by name is still new.
            self._passed_over.add(identity)
            yield PassedOver(key_from_path(folder))
            return
        self._folders.add(identity)
        for name in names:
            path = os.path.join(folder, name.rstrip(_MARKS))
            if name.endswith(_IS_LINK) and self._leads_into_excluded(path):
                continue
            if name.endswith((_IS_FOLDER, _IS_FOLDER + _IS_LINK)):
                yield path
                continue
            if (identity, name.rstrip(_MARKS)) in self._named:
                continue
            try:
                status = _status(path)
            except OSError:
                yield _problem(path, Reason.UNREADABLE)
                continue
            yield _source(path, status) if stat.S_ISREG(status.st_mode) else Pause.WALKING

    def _find_excluded(self) -> None:
        if self._exclude is not None:
            with contextlib.suppress(OSError):
                self._excluded = _identity(self._exclude.stat())

    def _leads_into_excluded(self, raw: bytes) -> bool:
        return self._excluded is not None and _leads_into(raw, self._excluded)

    def _is_new(self, raw: bytes) -> bool:
        """Whether a file that is given by name was neither given nor listed before."""
        folder, name = os.path.split(raw)
        identity = _identity(os.stat(folder or b"."))
        if (identity, name) in self._named or identity in self._folders:
            return False
        self._named.add((identity, name))
        return True


_Identity = tuple[int, int]
"""A folder's device and inode."""

_LEDGER, _LOCK, _SUMMARY, _RESULTS = b"ledger.sqlite", b".lock", b"summary.json", b"results.csv"
_LEDGER_WAL = b"ledger.sqlite-wal"
_SUMMARY_SAYS, _SUMMARY_HEAD = b'"cxr_screen_summary"', 1024
_SQLITE, _APPLICATION = b"SQLite format 3\0", b"CXRS"
_APPLICATION_AT = 68
"""The byte at which a database's header holds its application id (sqlite.org/fileformat2.html)."""


def _holds_a_run(folder: bytes, names: list[bytes]) -> bool:
    """Whether a run has, or had, this folder for its reports: by the ledger that it left there.

    Reports that were written again elsewhere have no ledger beside them, and are told by their summary.
    """
    try:
        if _LEDGER in names and (_LOCK in names or _SUMMARY in names):
            header = _head(os.path.join(folder, _LEDGER), _APPLICATION_AT + len(_APPLICATION))
            # The ledger of a run that is at work, or was killed, may have its application id beside it only.
            ours = header[_APPLICATION_AT:] == _APPLICATION or _LEDGER_WAL in names
            return header.startswith(_SQLITE) and ours
        if _SUMMARY in names and _RESULTS in names:
            return _SUMMARY_SAYS in _head(os.path.join(folder, _SUMMARY), _SUMMARY_HEAD)
    except OSError:
        pass
    return False


def _head(path: bytes, size: int) -> bytes:
    """A file's first bytes. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def _leads_into(path: bytes, folder: _Identity) -> bool:
    """Whether `path`, through whatever links, leads to that folder or below it, or would if it were there."""
    try:
        at = _nearest_folder(path)
    except OSError:
        return False
    try:
        below, here = None, _identity(os.fstat(at))
        while here not in (folder, below):
            parent = os.open("..", _WAY, dir_fd=at)
            os.close(at)
            at, below, here = parent, here, _identity(os.fstat(parent))
    except OSError:
        return False
    finally:
        os.close(at)
    return here == folder


_WAY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_LINKS = 40
"""In a row; the kernel follows no more."""


def _nearest_folder(path: bytes) -> int:
    """A descriptor of the folder that `path` leads to or lies in; if that is not there, of the nearest above.

    Raises OSError.
    """
    while True:
        try:
            return os.open(path or b".", _WAY)
        except (FileNotFoundError, NotADirectoryError):
            if path in (b"", b"/"):
                raise
        for _ in range(_MOST_LINKS):
            try:
                path = os.path.join(os.path.dirname(path), os.readlink(path))
            except OSError:
                break
        path = os.path.dirname(path)


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _status(path: bytes) -> os.stat_result:
    return persistently(lambda: os.stat(path))


def _names(folder: bytes) -> list[bytes]:
    """A folder's names, marked and sorted: as bytes, for a folder may hold a million."""
    with os.scandir(folder) as entries:
        return sorted(entry.name + _mark(entry) for entry in entries)


# No name holds either. The slash makes depth first the order of whole paths: "a.png" before "a/b.png".
_IS_FOLDER, _IS_LINK = b"/", b"\0"
_MARKS = _IS_FOLDER + _IS_LINK


def _mark(entry: os.DirEntry[bytes]) -> bytes:
    try:
        link = _IS_LINK if entry.is_symlink() else b""
        return _IS_FOLDER + link if entry.is_dir() else link
    except OSError:
        return b""


def _source(raw: bytes, status: os.stat_result) -> Source:
    return Source(Path(os.fsdecode(raw)), key_from_path(raw), status.st_size, status.st_mtime_ns)


def _problem(raw: bytes, reason: Reason) -> Source:
    return Source(Path(os.fsdecode(raw)), key_from_path(raw), 0, 0, reason)
