"""What an ONNX file is made of, read with bounds before any runtime sees it.

Below, the protobuf wire format (https://protobuf.dev/programming-guides/encoding/): nothing is copied and
nothing is allocated by a length that the file claims; every message costs work from one budget, so that a
crafted file ends in a `WireError` and not in hours or gigabytes. Field numbers are those of onnx.proto.

Refused on sight, because nothing that screening needs has them: data outside the file, graphs within nodes
(control flow), functions, training parts, sparse tensors, several graphs, tensors that announce more values
than they hold. Protobuf lets the last of several values win; here a second one is refused, so that this
reader and a runtime cannot understand the same bytes differently.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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


_MAX_FIELDS = 100_000
_MAX_METADATA_BYTES = 16 << 20
_MAX_RANK = 16
_METADATA_FIELD = 14

Shape = tuple[int | str, ...]
"""A fixed length, or the name of a free dimension (empty if it has none)."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of the graph. dtype: TensorProto.DataType (1 float32, 2 uint8, 10 float16, …)."""

    dtype: int
    shape: Shape


@dataclass(slots=True)
class Structure:
    """One ModelProto. opsets: version by domain, `""` being ONNX's own."""

    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, TensorInfo] = field(default_factory=dict)
    outputs: dict[str, TensorInfo] = field(default_factory=dict)
    operators: set[str] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)
    initializers: int = 0


def structure_from_bytes(data: bytes) -> Structure:
    """The structure of an ONNX file. Raises WireError, saying what is wrong, and never anything else."""
    return _StructureReader().read(memoryview(data))


def fields_but_metadata(data: bytes) -> Iterator[memoryview]:
    """A ModelProto's top-level fields as they lie in the file, without metadata_props. Raises WireError."""
    for f in Reader(_MAX_FIELDS).fields(memoryview(data)):
        if f.number != _METADATA_FIELD:
            yield f.raw


def fields_but_entry(data: bytes, key: str) -> Iterator[memoryview]:
    """All top-level fields as they lie in the file, without the metadata entry `key`. Raises WireError."""
    reader = Reader(_MAX_FIELDS)
    for f in reader.fields(memoryview(data)):
        is_entry = f.number == _METADATA_FIELD and any(
            part.number == 1 and part.text() == key for part in reader.fields(f.message())
        )
        if not is_entry:
            yield f.raw


class _StructureReader:
    def __init__(self) -> None:
        self._reader = Reader(_MAX_FIELDS)
        self._out = Structure()
        self._metadata_bytes = 0

    def read(self, model: memoryview) -> Structure:
        out, has_graph = self._out, False
        for f in self._once(model, {1, 2, 3, 4, 5, 6, 7}):
            match f.number:
                case 1:
                    out.ir_version = f.integer()
                case 7:
                    has_graph = True
                    self._graph(f.message())
                case 8:
                    domain, version = self._opset(f.message())
                    if domain in out.opsets:
                        raise WireError(f"operator set '{domain}' is imported twice")
                    out.opsets[domain] = version
                case 14:
                    self._metadata(f.message())
                case 20 | 25 | 26:
                    raise WireError("training parts, functions and device lists are not accepted")
        if not has_graph:
            raise WireError("it holds no graph")
        return out

    def _once(self, message: memoryview, singular: set[int]) -> Iterator[Field]:
        """The fields of a message, none of the singular ones twice."""
        seen: set[int] = set()
        for f in self._reader.fields(message):
            if f.number in singular:
                if f.number in seen:
                    raise WireError(f"field {f.number} is there twice")
                seen.add(f.number)
            yield f

    def _opset(self, message: memoryview) -> tuple[str, int]:
        domain, version = "", 0
        for f in self._once(message, {1, 2}):
            if f.number == 1:
                domain = f.text()
            elif f.number == 2:
                version = f.integer()
        return _plain_domain(domain), version

    def _metadata(self, message: memoryview) -> None:
        self._metadata_bytes += len(message)
        if self._metadata_bytes > _MAX_METADATA_BYTES:
            raise WireError(f"more than {_MAX_METADATA_BYTES >> 20} MiB of metadata")
        texts = {1: "", 2: ""}
        for f in self._once(message, {1, 2}):
            if f.number in texts:
                texts[f.number] = f.text()
        if texts[1] in self._out.metadata:
            raise WireError(f"metadata '{texts[1][:64]}' is there twice")
        self._out.metadata[texts[1]] = texts[2]

    def _graph(self, message: memoryview) -> None:
        out = self._out
        for f in self._once(message, {2, 10}):
            match f.number:
                case 1:
                    self._node(f.message())
                case 5:
                    out.initializers += 1
                    self._tensor(f.message())
                case 11 | 12:
                    named = out.inputs if f.number == 11 else out.outputs
                    name, info = self._value_info(f.message())
                    if name in named:
                        raise WireError(f"'{name[:64]}' is there twice among the graph's inputs or outputs")
                    named[name] = info
                case 15:
                    raise WireError("sparse tensors are not accepted")

    def _node(self, message: memoryview) -> None:
        operator = domain = ""
        for f in self._once(message, {3, 4, 6, 7, 8}):
            match f.number:
                case 4:
                    operator = f.text()
                case 5:
                    self._attribute(f.message())
                case 7:
                    domain = _plain_domain(f.text())
        self._out.operators.add(operator)
        self._out.domains.add(domain)

    def _attribute(self, message: memoryview) -> None:
        for f in self._reader.fields(message):
            match f.number:
                case 5 | 10:
                    self._tensor(f.message())
                case 6 | 11:
                    raise WireError("a node holds a graph of its own: control flow is not accepted")
                case 22 | 23:
                    raise WireError("sparse tensors are not accepted")

    def _tensor(self, message: memoryview) -> None:
        dims: list[int] = []
        for f in self._reader.fields(message):
            match f.number:
                case 1:
                    dims.extend(f.integers())
                    if len(dims) > _MAX_RANK:
                        raise WireError("a tensor has more dimensions than any model needs")
                case 13 | 14:
                    # Any value: runtimes cut the enumeration to 32 bits, so 2³² + 1 would be EXTERNAL too.
                    if f.number == 13 or f.varint != 0:
                        raise WireError("a tensor's data lie outside the file: export it as one file")
        # The narrowest type has 2 bits a value.
        if any(d < 0 for d in dims) or math.prod(dims) > 4 * len(message):
            raise WireError("a tensor announces more values than it holds")

    def _value_info(self, message: memoryview) -> tuple[str, TensorInfo]:
        name, info = "", TensorInfo(0, ())
        for f in self._once(message, {1, 2}):
            if f.number == 1:
                name = f.text()
            elif f.number == 2:
                # TypeProto.tensor_type: whatever else the type may be leaves dtype 0.
                for kind in self._once(f.message(), {1}):
                    if kind.number == 1:
                        info = self._tensor_type(kind.message())
        return name, info

    def _tensor_type(self, message: memoryview) -> TensorInfo:
        dtype = 0
        dimensions: list[int | str] = []
        for f in self._once(message, {1, 2}):
            if f.number == 1:
                dtype = f.integer()
            elif f.number == 2:
                for dimension in self._reader.fields(f.message()):
                    if dimension.number == 1:
                        dimensions.append(self._dimension(dimension.message()))
        return TensorInfo(dtype, tuple(dimensions))

    def _dimension(self, message: memoryview) -> int | str:
        length: int | str = ""
        for f in self._once(message, {1, 2}):
            readers: dict[int, Callable[[], int | str]] = {1: f.integer, 2: f.text}
            if f.number in readers:
                length = readers[f.number]()
        return length


def _plain_domain(domain: str) -> str:
    """ONNX's own operators have two names for their domain."""
    return "" if domain == "ai.onnx" else domain
