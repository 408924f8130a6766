"""Shortcuts from bytes to square that change pixels slightly: a model lists those that it accepts.

A model's entry in `decode_policies` names the shortcut, the version of its code here, and the certificate of
what it did to the scores; a shortcut that the model does not list, or lists in another version, is off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MARGIN = 2.5
"""Pixels of a film's longer side for each one of the network's input that no shortcut goes below: see
docs/decisions/shortcuts.md."""


class Shortcut(StrEnum):
    """What may be left out on the way to the square."""

    REDUCED_RESOLUTION = "reduced_resolution"
    """JPEG 2000 and HTJ2K: the finest wavelet levels are not decoded."""
    SCALED_JPEG = "scaled_jpeg"
    """8-bit JPEG: the inverse transform gives a smaller picture."""
    STEPWISE_RESIZE = "stepwise_resize"
    """Exact halvings first, then the area resize to the network's input."""

    @property
    def version(self) -> int:
        """Raised when the code gives other squares: earlier certificates are void then."""
        return _VERSIONS[self]


_VERSIONS = {
    Shortcut.REDUCED_RESOLUTION: 1,
    Shortcut.SCALED_JPEG: 1,
    Shortcut.STEPWISE_RESIZE: 1,
}


@dataclass(frozen=True, slots=True)
class DecodePolicy:
    """The shortcuts that may be taken; none of them: every stored pixel is decoded and counts."""

    shortcuts: frozenset[Shortcut] = frozenset()

    def __contains__(self, shortcut: Shortcut) -> bool:
        return shortcut in self.shortcuts

    def __str__(self) -> str:
        """`full`, or names and versions in fixed order: `scaled_jpeg.1+stepwise_resize.1`."""
        return "+".join(sorted(f"{s}.{s.version}" for s in self.shortcuts)) or "full"


FULL = DecodePolicy()


def policy_from_entries(entries: Iterable[dict[str, Any]]) -> DecodePolicy:
    """A model's `decode_policies` -> those of them that this code knows in the same version."""
    listed = {(entry.get("name"), entry.get("version")) for entry in entries}
    return DecodePolicy(frozenset(s for s in Shortcut if (str(s), s.version) in listed))
