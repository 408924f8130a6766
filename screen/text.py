"""Text from outside that steers nothing: no terminal, no line, no direction of reading, no spreadsheet."""

import re
import unicodedata

# Cc control, Cf format (bidirectional overrides, joiners), Cs lone surrogate (cannot be written), Zl and Zp
# line and paragraph separator.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# A spreadsheet that splits at another character than ours, or strips quotes, sees a cell begin after it.
_FORMULA = re.compile(r"""(^|[;,|"'])(\s*)(?=[=+\-@＝＋－＠])""")
_SIGN = re.compile(r"[=+\-@＝＋－＠]")


def is_invisible(c: str) -> bool:
    """Whether a character does something instead of being seen."""
    return unicodedata.category(c) in _INVISIBLE


def visible(text: str) -> str:
    """What can be seen of a text; the rest is dropped. For tags."""
    return text if text.isprintable() else "".join(c for c in text if not is_invisible(c))


def escaped(name: str) -> str:
    """Invisible characters percent-escaped, byte by byte, so that names stay distinct. For files."""
    return name if name.isprintable() else "".join(_percent(c) if is_invisible(c) else c for c in name)


def printable(text: str) -> str:
    """For a terminal: � for everything that is not simply a character."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def safe_text(text: str) -> str:
    """Text for a cell: no line ends or other invisible characters, and no formula wherever a cell may begin.

    A `'` goes before `= + - @` (and their full-width twins) at the start and after quotes and separators
    (OWASP, CSV injection).
    """
    text = visible(text)
    # Most cells have no such sign in them, and the search for a place is the dearest part of a line.
    return _FORMULA.sub(r"\1\2'", text) if _SIGN.search(text) else text


def safe_path(path: str) -> str:
    """A file's name for a cell: invisible characters are percent-escaped, so that names stay distinct."""
    return safe_text(escaped(path))


def _percent(c: str) -> str:
    # A byte that was no UTF-8 is the byte that it was.
    is_byte = "\udc80" <= c <= "\udcff"
    return "".join(f"%{b:02X}" for b in c.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass"))
