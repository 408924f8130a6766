"""From folders and files to sources: what there is to screen, in a stable order, nothing left out in silence.

Order: INPUTs as given, then by the raw bytes of the relative path. A symbolic link to a file is a source of
its own (two that show the same film end as duplicates by their pixels); a linked folder is walked, each real
folder once, so loops end. A dangling link and a folder that cannot be listed are sources with a problem.
Sockets, pipes and devices are no files and are passed over.
"""

# Raw bytes, which pathlib does not have, are what the order is made of.
# ruff: noqa: PTH116, PTH118

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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


_BLOCK = 1 << 16
"""Bytes; longer than any path, so that the first block shows what separates paths."""


def paths_from_list(stream: BinaryIO) -> Iterator[Path]:
    """Paths, one a line, or separated by NUL (`find -print0`), streamed. Any bytes are a path's."""
    rest = stream.read(_BLOCK)
    separator = b"\0" if b"\0" in rest else b"\n"
    while block := stream.read(_BLOCK):
        *lines, rest = (rest + block).split(separator)
        yield from (Path(os.fsdecode(line)) for line in lines if line)
    yield from (Path(os.fsdecode(line)) for line in rest.split(separator) if line)


def discover(inputs: Sequence[Path], exclude: Path | None) -> Iterator[Source]:
    """Sources of all `inputs` (folders, recursively, and files), each file once; listed while they are used.

    exclude: the run's own folder, never an input, wherever it lies and whether or not it exists yet.
    Raises InputError at once if an input does not exist, later if one vanishes on the way.
    """
    for path in inputs:
        _input_status(path)
    return _Walk(exclude).sources(inputs)


def discover_listed(paths: Iterable[Path], exclude: Path | None) -> Iterator[Source]:
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
    """What one discovery has seen: folders by identity, files that were given by name by their real place."""

    def __init__(self, exclude: Path | None) -> None:
        self._excluded = None if exclude is None else os.fsencode(os.path.realpath(exclude))
        self._folders: set[tuple[int, int]] = set()
        self._named: set[bytes] = set()

    def sources(self, inputs: Sequence[Path]) -> Iterator[Source]:
        for path in inputs:
            status = _input_status(path)
            raw = os.fsencode(path)
            if self._is_excluded(raw):
                continue
            if stat.S_ISDIR(status.st_mode):
                yield from self._tree(raw)
            elif self._is_new(raw):
                yield _source(raw, status)

    def listed(self, paths: Iterable[Path]) -> Iterator[Source]:
        for path in paths:
            raw = os.fsencode(path)
            if self._is_excluded(raw):
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

    def _tree(self, top: bytes) -> Iterator[Source]:
        """Depth first, with a stack of its own: no folder is too deep."""
        stack = [self._listing(top)]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
            elif isinstance(step, Source):
                yield step
            else:
                stack.append(self._listing(step))

    def _listing(self, folder: bytes) -> Iterator[Source | bytes]:
        """Files as sources, folders as paths, in the order of the paths below them."""
        try:
            identity = _identity(_status(folder))
            if identity in self._folders:
                return
            names = persistently(lambda: _names(folder))
        except OSError:
            yield _problem(folder, Reason.FOLDER_UNREADABLE)
            return
        self._folders.add(identity)
        for name in names:
            path = os.path.join(folder, name.rstrip(_MARKS))
            if name.endswith((_IS_FOLDER, _IS_LINK)) and self._is_excluded(path):
                continue
            if name.endswith(_IS_FOLDER):
                yield path
                continue
            if self._named and os.path.join(os.path.realpath(folder), name.rstrip(_MARKS)) in self._named:
                continue
            try:
                status = _status(path)
            except OSError:
                yield _problem(path, Reason.UNREADABLE)
                continue
            if stat.S_ISREG(status.st_mode):
                yield _source(path, status)

    def _is_excluded(self, raw: bytes) -> bool:
        if self._excluded is None:
            return False
        real = os.path.realpath(raw)
        return real == self._excluded or real.startswith(self._excluded.rstrip(b"/") + b"/")

    def _is_new(self, raw: bytes) -> bool:
        """Whether a file that is given by name was neither given nor listed before."""
        folder, name = os.path.split(raw)
        folder = folder or b"."
        place = os.path.join(os.path.realpath(folder), name)
        if place in self._named or _identity(os.stat(folder)) in self._folders:
            return False
        self._named.add(place)
        return True


def _identity(status: os.stat_result) -> tuple[int, int]:
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
        if entry.is_dir():
            return _IS_FOLDER
        return _IS_LINK if entry.is_symlink() else b""
    except OSError:
        return b""


def _source(raw: bytes, status: os.stat_result) -> Source:
    return Source(Path(os.fsdecode(raw)), key_from_path(raw), status.st_size, status.st_mtime_ns)


def _problem(raw: bytes, reason: Reason) -> Source:
    return Source(Path(os.fsdecode(raw)), key_from_path(raw), 0, 0, reason)
