"""The protobuf wire format, read with bounds: enough to look into a model file before a runtime does.

https://protobuf.dev/programming-guides/encoding/
Nothing is copied and nothing is allocated by a length that the file claims; every message costs work from
one budget, so that a crafted file ends in a `WireError` and not in hours or gigabytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

_MAX_VARINT_BYTES = 10
_MAX_PACKED_BYTES = 4096
_MAX_TEXT_BYTES = 16 << 20
_WIDTHS = {1: 8, 5: 4}


class WireError(ValueError):
    """These bytes are no message, or one that costs more to read than any model does."""


class WireType(IntEnum):
    """How a field's value is encoded. Groups (3, 4) are refused: ONNX has none."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2
    FIXED32 = 5


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message, as it lies in the file.

    number: its number in the schema. varint: the value of a VARINT, unsigned 64 bits, else 0.
    payload: the bytes of every other kind of value, else empty. raw: the whole field, tag included.
    """

    number: int
    wire_type: WireType
    varint: int
    payload: memoryview
    raw: memoryview

    def text(self) -> str:
        """The payload of a string field. Raises WireError if it is another kind or no UTF-8."""
        if len(self.message()) > _MAX_TEXT_BYTES:
            raise WireError(f"field {self.number} is a longer text than any model has")
        try:
            return bytes(self.payload).decode()
        except UnicodeDecodeError:
            raise WireError(f"field {self.number} is not UTF-8 text") from None

    def message(self) -> memoryview:
        """The payload of a field that holds text, bytes or a message. Raises WireError for another kind."""
        if self.wire_type is not WireType.BYTES:
            raise WireError(f"field {self.number} has another type than it should")
        return self.payload

    def integers(self) -> Iterator[int]:
        """The signed 64-bit values of a short integer list (dimensions), one or packed. Raises WireError."""
        if self.wire_type is WireType.VARINT:
            yield _signed(self.varint)
            return
        packed, at = self.message(), 0
        if len(packed) > _MAX_PACKED_BYTES:
            raise WireError(f"field {self.number} lists more integers than any model does")
        while at < len(packed):
            value, at = _varint(packed, at)
            yield _signed(value)

    def integer(self) -> int:
        """The signed 64-bit value of an integer field. Raises WireError for another kind."""
        if self.wire_type is not WireType.VARINT:
            raise WireError(f"field {self.number} has another type than it should")
        return _signed(self.varint)


class Reader:
    """Reads messages and counts the fields that it has read, over all of them."""

    def __init__(self, max_fields: int) -> None:
        self._left = max_fields

    def fields(self, message: memoryview) -> Iterator[Field]:
        """The fields of a message, in the order of the file. Raises WireError."""
        at = 0
        while at < len(message):
            self._left -= 1
            if self._left < 0:
                raise WireError("more fields than any model has")
            start = at
            tag, at = _varint(message, at)
            number, kind = tag >> 3, tag & 7
            if not 0 < number < 1 << 29:
                raise WireError(f"field number {number} is not possible")
            value = 0
            begin = at
            if kind == WireType.VARINT:
                value, at = _varint(message, at)
                begin = at
            elif kind == WireType.BYTES:
                length, begin = _varint(message, at)
                at = begin + length
            elif kind in _WIDTHS:
                at = begin + _WIDTHS[kind]
            else:
                raise WireError(f"wire type {kind} is not used by ONNX")
            if at > len(message):
                raise WireError("a field ends behind the end of the message: is the file cut short?")
            yield Field(number, WireType(kind), value, message[begin:at], message[start:at])


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The unsigned 64-bit integer at `at`, and where the next thing begins."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= len(data):
            raise WireError("an integer ends behind the end of the message: is the file cut short?")
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + index + 1
    raise WireError("an integer is longer than 64 bits")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
