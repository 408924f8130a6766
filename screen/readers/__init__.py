"""Bytes to films: DICOM and pictures, their headers, encodings and greys."""

from screen.readers.limits import Limits, Refusal
from screen.readers.reading import read
from screen.readers.reduced import Aim

__all__ = ["Aim", "Limits", "Refusal", "read"]
