"""Model files are written whole or not at all, and a card changes without a byte of the graph changing."""

from pathlib import Path

from onnx import StringStringEntryProto

from screen.errors import ModelError
from screen.files import write_whole
from screen.model import ModelCard
from screen.model.card import METADATA_KEY
from screen.model.onnx_file import WireError, fields_but_entry

_METADATA_TAG = b"\x72"
"""Field 14 of ModelProto, length-delimited."""


def with_card(data: bytes, card: ModelCard) -> bytes:
    """An ONNX file with this card in place of its own, if it has one; every other byte stays as it is.

    What the weights digest covers is not serialised again: another protobuf might order it otherwise.
    Raises ModelError if these bytes are no ONNX file.
    """
    try:
        kept = list(fields_but_entry(data, METADATA_KEY))
    except WireError as error:
        raise ModelError(f"not an ONNX file: {error}") from error
    entry = StringStringEntryProto(key=METADATA_KEY, value=card.to_json()).SerializeToString()
    return b"".join([*kept, _METADATA_TAG, _varint(len(entry)), entry])


def write_model(path: Path, data: bytes) -> None:
    """Whole or not at all. Raises ModelError."""
    try:
        write_whole(path, data)
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror}") from error


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
