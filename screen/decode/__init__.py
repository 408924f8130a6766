"""Sources to squares, in processes that may die."""

from screen.decode.one_file import Decoded, Outcome, decode
from screen.decode.pool import DecodePool

__all__ = ["DecodePool", "Decoded", "Outcome", "decode"]
