"""Which entries of the vocabulary a header's text names, however it is spelled, damaged or cut off."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache
from typing import Generic, TypeVar

from screen.readers.vocabulary import PARTS, VIEWS, Part, View

MOST_CHARACTERS = 16
"""Of a code string (PS3.5 6.2); writers cut longer ones there, or one before."""
_MOST_READ = 64
"""Characters of a text that are looked at."""
_SHORTEST_CUT = 4
"""Letters of a cut-off word that may still be taken for the whole one."""
_SHORTEST_GROWN = 4
"""Letters of a word for the chest that is looked for behind another part's: ABDOMENLUNG."""


# What NFKD does not take apart.
_LETTERS = str.maketrans({"ł": "l", "ø": "o", "æ": "ae", "œ": "oe", "đ": "d", "ð": "d", "ı": "i", "þ": "th"})
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_GAP = re.compile(r"[^\w?�]+|_")
_LOST = re.compile(r"[?�]{1,3}")
"""What a writer put in place of a letter that its character set has not: a mark for each byte of it."""


_SIDE = re.compile(r"\b(left|right|lt|rt)(?=[a-z]{3})")
"""Written together with what it is the side of: LEFTKNEE."""


def folded(text: str) -> str:
    """Lower case, full-width letters narrow, accents gone, words parted by one space."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c)).translate(_LETTERS)
    # Composed again, or Korean syllables were in parts.
    return _GAP.sub(" ", unicodedata.normalize("NFC", plain)).strip()


def _plain(text: str) -> str:
    """What of a header's text is looked up."""
    return _SIDE.sub("", folded(text[:_MOST_READ]))


def _is_cut(plain: str) -> bool:
    """Whether the last word may have been longer."""
    return len(plain.encode()) >= MOST_CHARACTERS - 1


def spellings(entry: str) -> set[str]:
    """An entry of the table as `folded` leaves it, stars as they are: with and without ae for ä."""
    inner = entry.strip("*").replace("_", " ")
    start, end = ("*" if entry.startswith("*") else ""), ("*" if entry.endswith("*") else "")
    composed = unicodedata.normalize("NFC", inner).casefold()
    return {f"{start}{folded(form)}{end}" for form in (composed, composed.translate(_UMLAUTS))}


_Kind = TypeVar("_Kind", bound=Enum)


@dataclass(frozen=True, slots=True)
class _Words(Generic[_Kind]):
    """A table made ready, all folded. anywhere: longest first."""

    exact: Mapping[str, _Kind]
    stems: Mapping[str, _Kind]
    anywhere: tuple[tuple[str, _Kind], ...]
    longest: int

    @classmethod
    def of(cls, table: Mapping[_Kind, Iterable[str]]) -> "_Words[_Kind]":
        exact: dict[str, _Kind] = {}
        stems: dict[str, _Kind] = {}
        anywhere: dict[str, _Kind] = {}
        for kind, entries in table.items():
            for form in (form for entry in entries for form in spellings(entry)):
                target = anywhere if form.startswith("*") else stems if form.endswith("*") else exact
                target[form.strip("*")] = kind
        ordered = sorted(anywhere.items(), key=lambda item: -len(item[0]))
        longest = max(form.count(" ") for form in (*exact, *stems)) + 1
        return cls(exact, stems, tuple(ordered), longest)

    def kinds(self, text: str) -> set[_Kind]:
        """All that a text names; several words are looked for before their parts."""
        found: set[_Kind] = set()
        rest = _plain(text)
        is_cut = _is_cut(rest)
        for form, kind in self.anywhere:
            if form in rest:
                found.add(kind)
                # The word around it as well: what else could it be?
                rest = re.sub(rf"\w*{form}\w*" if form.isascii() else form, " ", rest)
        words = rest.split()
        at = 0
        while at < len(words):
            for count in range(min(self.longest, len(words) - at), 0, -1):
                phrase = " ".join(words[at : at + count])
                is_last = at + count == len(words)
                kind_or_none = self._kind(phrase) or (self._cut(phrase) if is_last and is_cut else None)
                if kind_or_none is not None:
                    found.add(kind_or_none)
                    break
            at += count
        return found

    def _kind(self, phrase: str) -> _Kind | None:
        if _LOST.search(phrase):
            return self._kind_with_gaps(phrase)
        if phrase in self.exact:
            return self.exact[phrase]
        # The longest stem: BRUSTWIRBEL is no BRUST.
        for length in range(len(phrase), phrase.rfind(" "), -1):
            kind = self.stems.get(phrase[:length])
            if kind is not None:
                return kind
        return None

    def _kind_with_gaps(self, phrase: str) -> _Kind | None:
        stripped = phrase.strip("?�")
        if not _LOST.search(stripped) and (kind := self._kind(stripped)) is not None:
            return kind
        letters = len(_LOST.sub("", phrase).replace(" ", ""))
        if letters < max(_SHORTEST_CUT - 1, 2 * len(_LOST.findall(phrase))):
            return None
        pattern = re.compile(".{1,3}".join(map(re.escape, _LOST.split(phrase))))
        kinds = {kind for form, kind in self.exact.items() if pattern.fullmatch(form)}
        # A stem that the phrase reaches the end of, or goes on behind.
        kinds |= {k for form, k in self.stems.items() if self._begins(form, phrase)}
        kinds |= {k for form, k in self.anywhere if pattern.fullmatch(form)}
        return kinds.pop() if len(kinds) == 1 else None

    @staticmethod
    def _begins(stem: str, phrase: str) -> bool:
        if stem.count(" ") != phrase.count(" "):
            return False
        parts = _LOST.split(phrase)
        heads = ((parts[:n], parts[n]) for n in range(1, len(parts)))
        return any(
            re.fullmatch(".{1,3}".join(map(re.escape, [*head, part[:length]])), stem)
            for head, part in heads
            for length in range(len(part) + 1)
            if sum(map(len, head)) + length >= _SHORTEST_CUT - 1
        )

    def _cut(self, phrase: str) -> _Kind | None:
        """What all words are that begin like this one."""
        if len(phrase) < _SHORTEST_CUT:
            return None
        forms = (*self.exact.items(), *self.stems.items(), *self.anywhere)
        kinds = {kind for form, kind in forms if form.startswith(phrase)}
        return kinds.pop() if len(kinds) == 1 else None

    def may_name(self, text: str, wanted: _Kind) -> bool:
        """Whether a cut-off last word, or the end of a word that grew together, may be one of this kind."""
        plain = _plain(text)
        words = plain.split()
        all_forms = (*self.exact.items(), *self.stems.items(), *self.anywhere)
        forms = [form for form, kind in all_forms if kind is wanted]
        may_be_cut = words and _is_cut(plain) and self._kind(words[-1]) is None
        if may_be_cut and any(form.startswith(words[-1]) for form in forms):
            return True
        ends = tuple(form for form in forms if len(form) >= _SHORTEST_GROWN)
        return any(
            word[:length] in self.stems and word[length:].endswith(ends)
            for word in words
            for length in range(_SHORTEST_CUT - 1, len(word))
        )


@cache
def _parts() -> _Words[Part]:
    return _Words.of(PARTS)


@cache
def _views() -> _Words[View]:
    return _Words.of(VIEWS)


@lru_cache(maxsize=256)  # a night's films say the same few words
def part_from_words(text: str) -> Part | None:
    """What BodyPartExamined names: the chest if it is among several parts; None if no word is known."""
    kinds = _parts().kinds(text)
    found = next((part for part in Part if part in kinds), None)
    # What may name the chest besides rules nothing out.
    return Part.VAGUE if found is Part.OTHER and _parts().may_name(text, Part.CHEST) else found


@lru_cache(maxsize=256)
def view_from_words(text: str) -> View | None:
    """What ViewPosition names; None if no word is known, or both a frontal and a lateral one."""
    kinds = _views().kinds(text)
    if View.DECUBITUS in kinds:
        return View.DECUBITUS
    if View.OBLIQUE in kinds:
        return View.OBLIQUE
    return kinds.pop() if len(kinds) == 1 else None
