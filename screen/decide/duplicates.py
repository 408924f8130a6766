"""Which files show the same film, and which share a SOP Instance UID without doing so; in flat memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from screen.decide.scratch import Scratch, sortable
from screen.ledger import FilmKey

# Keys are hashes: short, and of one length whatever a header says.
_TABLES = """
CREATE TABLE film (
    position INTEGER PRIMARY KEY, uid BLOB NOT NULL, content BLOB NOT NULL, image BLOB NOT NULL,
    named INTEGER NOT NULL, has_result INTEGER NOT NULL, declared_chest INTEGER NOT NULL
);
CREATE TABLE repeated_uid (uid BLOB PRIMARY KEY, first_content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE filed_twice (content BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE film_group (
    first INTEGER PRIMARY KEY, image BLOB NOT NULL UNIQUE, holder INTEGER, declared_chest INTEGER NOT NULL,
    uid_reused INTEGER NOT NULL, identity_differs INTEGER NOT NULL
);
"""
# Where a query has one min() or max(), SQLite takes bare columns from that very row.
_REPEATED_UIDS = """
INSERT INTO repeated_uid
SELECT uid, content FROM (SELECT uid, content, min(position) FROM film GROUP BY uid HAVING count(*) > 1)
"""
_FILED_TWICE = """
INSERT INTO filed_twice
SELECT content FROM film CROSS JOIN repeated_uid USING (uid)
GROUP BY content HAVING min(image) <> max(image)
"""
# CROSS JOIN keeps the order of the tables: one pass over films, a look-up for each.
_GROUPS = """
INSERT INTO film_group
SELECT
    min(position), image, min(iif(has_result, position, NULL)), max(declared_chest),
    max(named) AND content <> max(first_content) AS reused, content IN filed_twice AS differs
FROM film CROSS JOIN repeated_uid USING (uid)
GROUP BY image HAVING count(*) > 1 OR reused OR differs
"""
_MEMBERS = """
SELECT position, first, holder, film_group.declared_chest, uid_reused, identity_differs
FROM film CROSS JOIN film_group USING (image)
"""


@dataclass(frozen=True, slots=True)
class Group:
    """A film that stands in several files, or under a UID that was another film's.

    first: its first file, by position in INPUT. holder: the first one that has a result, None without one.
    declared_chest: any file's tags say chest. uid_reused: an earlier, other film has its SOP Instance UID.
    identity_differs: the same film is filed under another patient or study, too.
    """

    first: int
    holder: int | None
    declared_chest: bool
    uid_reused: bool
    identity_differs: bool


class Duplicates:
    """Groups of equal films among rows; films that are alone and have their own UID are in none."""

    def __init__(self, keys: Iterable[FilmKey], scratch: Scratch) -> None:
        """keys: of screened rows that have pixels. scratch: where the index lies, for them only."""
        self._scratch = scratch
        scratch.script(_TABLES)
        scratch.insert_all("INSERT INTO film VALUES (?, ?, ?, ?, ?, ?, ?)", _films(keys))
        scratch.script(_REPEATED_UIDS)
        scratch.script(_FILED_TWICE)
        scratch.script(_GROUPS)

    def members(self) -> Iterator[tuple[int, Group]]:
        """(position, group) of every row that is in a group, in INPUT order."""
        for position, *group in self._scratch.select(f"{_MEMBERS} ORDER BY position"):
            yield position, _group(*group)

    def group_of(self, position: int) -> Group | None:
        """The group of one row."""
        found = self._scratch.select(f"{_MEMBERS} WHERE position = ?", (position,)).fetchone()
        return None if found is None else _group(*found[1:])


def _group(
    first: int, holder: int | None, declared_chest: int, uid_reused: int, identity_differs: int
) -> Group:
    return Group(first, holder, bool(declared_chest), bool(uid_reused), bool(identity_differs))


def _films(keys: Iterable[FilmKey]) -> Iterator[tuple[int, bytes, bytes, bytes, bool, bool, bool]]:
    for position, uid, whose, pixel_digest, has_result, declared_chest in keys:
        # A film without a UID is known by its pixels.
        stated = _hash(uid or pixel_digest)
        content = _hash(pixel_digest, stated)
        image = _hash(whose, content)
        yield position, stated, content, image, bool(uid), has_result, declared_chest


def _hash(text: str, salt: bytes = b"") -> bytes:
    return blake2b(sortable(text), digest_size=16, salt=salt).digest()
