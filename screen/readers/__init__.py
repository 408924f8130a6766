"""Files to films, by signature: the header first, and what it rules out is never decoded."""

from screen.readers.limits import Limits, Refusal
from screen.readers.reading import read
from screen.readers.reduced import Aim

__all__ = ["Aim", "Limits", "Refusal", "read"]
