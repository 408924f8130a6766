"""Private files that are on the disk when their writer is done with them."""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol


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
