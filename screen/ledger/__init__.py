"""What a run remembers: a row for each file."""

from screen.ledger.foreign import Expected
from screen.ledger.known import Known
from screen.ledger.objects import DicomObject
from screen.ledger.rows import FilmKey, Heatmap, Inference, Row, Rows
from screen.ledger.store import Ledger, ListedFile, Timing

__all__ = [
    "DicomObject",
    "Expected",
    "FilmKey",
    "Heatmap",
    "Inference",
    "Known",
    "Ledger",
    "ListedFile",
    "Row",
    "Rows",
    "Timing",
]
