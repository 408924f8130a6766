"""DICOM files in HTTP bodies: `multipart/related` (RFC 2387; PS3.18 8.6.1.2), streamed both ways."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from email.message import Message
from pathlib import Path

from screen.archive.connection import AnswerError, Trouble, cut_short

_MOST_HEADERS = 1 << 14
_MOST_AROUND = 1 << 16
"""Bytes of a part's header lines, and of what may stand before the first part and behind the last."""
_CHUNK = 1 << 20


def only_part(content_type: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content of the one part of an answer. It is whole if this ends without an error.

    Raises AnswerError for an answer of another kind; one that was cut short is asked for again.
    """
    buffer = bytearray(b"\r\n")  # the first boundary may be the first line
    delimiter = b"\r\n--" + _boundary(content_type)
    source = iter(chunks)

    def more() -> None:
        chunk = next(source, None)
        if chunk is None:
            raise cut_short()
        buffer.extend(chunk)

    def until(mark: bytes, most: int) -> None:
        """Drop everything up to the mark and the mark itself."""
        while (found := buffer.find(mark)) < 0:
            if len(buffer) > most:
                raise _unreadable("has no parts")
            more()
        del buffer[: found + len(mark)]

    until(delimiter, _MOST_AROUND)
    until(b"\r\n\r\n", _MOST_HEADERS)
    # What ends the part may have come in pieces: so much is held back.
    while (end := buffer.find(delimiter)) < 0:
        if (ready := len(buffer) - len(delimiter)) > 0:
            yield bytes(buffer[:ready])
            del buffer[:ready]
        more()
    yield bytes(buffer[:end])
    del buffer[: end + len(delimiter)]
    while len(buffer) < 2:
        more()
    if not buffer.startswith(b"--"):
        raise _unreadable("has several parts")
    # To the end, so that the connection can be used again.
    left = len(buffer)
    for chunk in source:
        left += len(chunk)
        if left > _MOST_AROUND:
            raise _unreadable("does not end behind its part")


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        raise _unreadable("is no multipart/related")
    if not 0 < len(boundary) <= 200 or not boundary.isascii():
        raise _unreadable("has no boundary")
    return boundary.encode()


def _unreadable(what: str) -> AnswerError:
    return AnswerError(Trouble.UNREADABLE, f"an answer {what}")


class FilesBody:
    """DICOM files as one body. Its length is known before the first byte is sent."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Raises OSError if one cannot be found."""
        boundary = secrets.token_hex(16)
        self._files = files
        self._head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._end = f"--{boundary}--\r\n".encode()
        self.content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        around = len(self._head) + len(b"\r\n")
        self.length = sum(path.stat().st_size + around for path in files) + len(self._end)

    def __call__(self) -> Iterator[bytes]:
        """The bytes, from the first one on. Raises OSError."""
        for path in self._files:
            yield self._head
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk
            yield b"\r\n"
        yield self._end
