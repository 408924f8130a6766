"""Files to films, by signature: the header first, and what it rules out is never decoded."""

import os
from typing import BinaryIO

from screen.discover import Source
from screen.film import Film, Unscreened
from screen.readers.dicom import film_from_dicom
from screen.readers.limits import Limits
from screen.readers.pictures import film_from_picture
from screen.readers.refusal import Refusal
from screen.readers.signature import HEAD_BYTES, Kind, kind_from_head
from screen.reasons import Reason
from screen.transient import persistently

__all__ = ["Limits", "read"]

_DEFAULT_LIMITS = Limits()


def read(source: Source, limits: Limits = _DEFAULT_LIMITS) -> Film | Unscreened:
    """A film to be screened, or why there is none. Never raises for what a file holds."""
    if source.problem is not None:
        return Unscreened(source.problem)
    try:
        result, now = persistently(lambda: _opened(source, limits))
    except OSError as error:
        return Unscreened(Reason.UNREADABLE, error.strerror or type(error).__name__)
    if (now.st_size, now.st_mtime_ns) != (source.size, source.mtime_ns):
        declared_chest = result.declared_chest
        return Unscreened(Reason.CHANGED_WHILE_READ, identity=result.identity, declared_chest=declared_chest)
    return result


def _opened(source: Source, limits: Limits) -> tuple[Film | Unscreened, os.stat_result]:
    with source.open() as stream:
        return _read(stream, source.size, limits), os.fstat(stream.fileno())


def _read(stream: BinaryIO, size: int, limits: Limits) -> Film | Unscreened:
    head = stream.read(HEAD_BYTES)
    if not head:
        return Unscreened(Reason.EMPTY_FILE)
    kind = kind_from_head(head)
    if kind is Kind.NO_IMAGE:
        return Unscreened(Reason.NOT_AN_IMAGE)
    if kind is Kind.OTHER_IMAGE:
        return Unscreened(Reason.UNSUPPORTED_SYNTAX, "convert it to PNG, TIFF, JPEG or DICOM")
    if kind in (Kind.DICOM, Kind.DICOM_BARE):
        return film_from_dicom(stream, kind, limits)
    try:
        limits.check_bytes(size)
        return film_from_picture(head + stream.read(limits.max_bytes), kind, limits)
    except Refusal as refusal:
        return Unscreened(refusal.reason, refusal.detail)
