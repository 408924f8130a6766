"""A part of a run: which files are its own, where several machines share one night, and what all parts list.

By a hash of the name, never by the place in the listing: machines list a folder at different moments, and
a file that arrives in between would move all that stand behind it.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from screen.errors import UsageError

_MOST = 500
"""Parts: the ledgers of all of them are open at once when they are put together."""


@dataclass(frozen=True, slots=True)
class Part:
    """`number` (from 1) of `of` parts."""

    number: int
    of: int

    @classmethod
    def from_text(cls, text: str) -> Self:
        """`K/N`. Raises UsageError."""
        found = re.fullmatch(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", text)
        part = cls(int(found[1]), int(found[2])) if found else None
        if part is None or not part.number <= part.of <= _MOST:
            raise UsageError(f"--part is K/N, with K from 1 to N, and N up to {_MOST}; not '{text}'")
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, key: str) -> bool:
        """Whether the source of that key is its own: SHA-256 of the key, mod N."""
        return int.from_bytes(sha256(key.encode()).digest()) % self.of == self.number - 1


class Listing:
    """Every file that INPUT lists, the other parts' included: how many there are, and a digest of them."""

    def __init__(self) -> None:
        self.files = 0
        self._digest = sha256()

    def add(self, key: str) -> int:
        """The place of the next one, from 0."""
        place = self.files
        self.files += 1
        self._digest.update(f"{key}\0".encode())
        return place

    def digest(self) -> str:
        """SHA-256, hex: equal for parts that listed the same."""
        return self._digest.hexdigest()
