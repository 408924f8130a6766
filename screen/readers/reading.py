"""Files to films, by signature: the header first, and what it rules out is never decoded."""

import os
from typing import BinaryIO

from screen.codes import Reason
from screen.discover import Source
from screen.files import persistently
from screen.film import Film, Unscreened
from screen.preprocess import MIN_SIDE
from screen.readers.dicom import film_from_dicom
from screen.readers.limits import Limits, Refusal
from screen.readers.pictures import film_from_picture
from screen.readers.reduced import WHOLE, Aim
from screen.readers.signature import HEAD_BYTES, Kind, kind_from_head

_DEFAULT_LIMITS = Limits()
_ADVICE = {
    Kind.OTHER_IMAGE: "convert it to PNG, TIFF, JPEG or DICOM",
    Kind.MULTIPART: "an answer of a DICOMweb server: take the files out of it",
}
_BLOCK = 4096
"""Bytes; what a disk or a copy loses, it loses in blocks."""
_VOLUME = 32769, b"CD001"
"""Where a CD's image, whose first blocks are zeros, says what it is."""


def read(source: Source, limits: Limits = _DEFAULT_LIMITS, aim: Aim = WHOLE) -> Film | Unscreened:
    """A film to be screened, or why there is none. Never raises for what a file holds.

    aim: the shortcuts that may be taken on the way; none unless it says so.
    """
    if source.problem is not None:
        return Unscreened(source.problem)
    try:
        result, now = persistently(lambda: _opened(source, limits, aim))
    except OSError as error:
        return Unscreened(Reason.UNREADABLE, error.strerror or type(error).__name__)
    if (now.st_size, now.st_mtime_ns) != (source.size, source.mtime_ns):
        declared_chest = result.declared_chest
        return Unscreened(Reason.CHANGED_WHILE_READ, identity=result.identity, declared_chest=declared_chest)
    return result


def _opened(source: Source, limits: Limits, aim: Aim) -> tuple[Film | Unscreened, os.stat_result]:
    with source.open() as stream:
        return _read(stream, source.size, limits, aim), os.fstat(stream.fileno())


def _read(stream: BinaryIO, size: int, limits: Limits, aim: Aim) -> Film | Unscreened:
    head = stream.read(HEAD_BYTES)
    if not head:
        return Unscreened(Reason.EMPTY_FILE)
    kind = kind_from_head(head)
    if kind is Kind.NO_IMAGE:
        return Unscreened(Reason.NOT_AN_IMAGE) if any(head) else _of_zeros(stream, limits)
    if kind in _ADVICE:
        return Unscreened(Reason.UNSUPPORTED_SYNTAX, _ADVICE[kind])
    if kind in (Kind.DICOM, Kind.DICOM_BARE):
        return film_from_dicom(stream, kind, limits, aim)
    try:
        limits.check_bytes(size)
        stream.seek(0)
        # A file that has grown since is found by its size and time.
        return film_from_picture(stream.read(size), kind, limits, aim)
    except Refusal as refusal:
        return Unscreened(refusal.reason, refusal.detail)


def _of_zeros(stream: BinaryIO, limits: Limits) -> Unscreened:
    """A file whose head is zeros: of a film's size, something went wrong on its way."""
    stream.seek(0)
    zeros = 0
    while zeros < limits.max_bytes and (chunk := stream.read(1 << 20)):
        rest = chunk.lstrip(b"\0")
        zeros += len(chunk) - len(rest)
        if rest:
            stream.seek(_VOLUME[0])
            if zeros < _BLOCK or stream.read(len(_VOLUME[1])) == _VOLUME[1]:
                return Unscreened(Reason.NOT_AN_IMAGE)
            return Unscreened(Reason.CORRUPT_HEADER, "it begins with zeros: a copy that lost blocks?")
    return Unscreened(Reason.EMPTY_FILE if zeros >= MIN_SIDE**2 else Reason.NOT_AN_IMAGE)
