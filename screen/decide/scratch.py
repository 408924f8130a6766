"""Room for what a report must sort and group: a database aside, so that any night fits in memory."""

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

_CACHE_KIB = 16_000
_BATCH = 512


class Scratch:
    """A private SQLite database in a folder that the caller removes. Nothing in it is meant to last.

    Not to be shared between threads. Errors are SQLite's own.
    """

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "scratch.sqlite", isolation_level=None)
        for setting in (
            "journal_mode = OFF",
            "synchronous = OFF",
            "locking_mode = EXCLUSIVE",
            f"cache_size = -{_CACHE_KIB}",
        ):
            self._db.execute(f"PRAGMA {setting}")
        # What is sorted names patients too: it spills into this folder, not into one that all may use. A name
        # that is no UTF-8 cannot be said in SQL: SQLite's own place is then used, in files without a name.
        with contextlib.suppress(UnicodeEncodeError):
            quoted = str(folder.absolute()).replace("'", "''")
            self._db.execute(f"PRAGMA temp_store_directory = '{quoted}'")
        self._db.execute("BEGIN")

    def script(self, statements: str) -> None:
        """Several statements, each ended by a semicolon."""
        for statement in filter(str.strip, statements.split(";")):
            self._db.execute(statement)

    def select(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """A query's rows, streamed."""
        return self._db.execute(statement, values)

    def insert_all(self, statement: str, records: Iterable[Sequence[Any]]) -> None:
        """Insert everything that `records` yields."""
        self._db.executemany(statement, records)

    def inserts(self, statement: str) -> "Inserts":
        """For records that come one by one."""
        return Inserts(self._db, statement)

    def close(self) -> None:
        """Forget everything."""
        self._db.execute("PRAGMA temp_store_directory = ''")  # it is the whole process's
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Inserts:
    """Records on their way into a table, a batch at a time. What was not flushed cannot be selected."""

    def __init__(self, db: sqlite3.Connection, statement: str) -> None:
        self._db = db
        self._statement = statement
        self._waiting: list[Sequence[Any]] = []

    def add(self, record: Sequence[Any]) -> None:
        """One record, in the order of the statement's places."""
        self._waiting.append(record)
        if len(self._waiting) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Make everything that was added visible to queries."""
        self._db.executemany(self._statement, self._waiting)
        self._waiting.clear()


def sortable(text: str) -> bytes:
    """Text as bytes whose order is that of Python's strings, lone surrogates included."""
    return text.encode("utf-8", "surrogatepass")
