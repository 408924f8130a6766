"""Damage to image files, as archives, networks and attackers do it: every mutation is bytes -> bytes.

The structure is read anew before each one, as far as it can be followed, so that they can be stacked.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random

from benchmarks.material.contradictions import contradicted
from benchmarks.material.structure import UNDEFINED, Element, as_item, elements, fragments, segments
from screen.readers.signature import Kind, kind_from_head

Mutation = Callable[[bytes, Random], bytes]

_EXTREMES = (0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 127, 128, 255, 256, 4095, 32767, 32768, 65534, 65535)
_LONG_EXTREMES = (*_EXTREMES, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
_NUMBERS = (
    b"", b"0", b"-0", b"1", b"-1", b"1e-30", b"1e30", b"1e308", b"9e999", b"nan", b"inf", b"-inf", b"0x10",
    b"99999999999999999999", b"1.5", b"1\\2\\3", b"\\", b" ", b"one", b"\xff\xfe", b"2147483648", b"65536",
)  # fmt: skip
_TEXTS = (
    b"", b"\\", b"\0" * 64, b"\x1b$B", b"\xff" * 17, b"ISO 2022 IR 87\\ISO_IR 192", b"ISO_IR 192", b"=1+1",
    b"\xe2\x80\xae", b"\xed\xa0\x80", b"A" * 65535, b"MONOCHROME1", b"RGB", b"PALETTE COLOR", b"YBR_FULL_422",
    b"GB18030", b"none", b"\x1b(J\x1b)I",
)  # fmt: skip
_SYNTAXES = (
    b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2",
    b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.51", b"1.2.840.10008.1.2.4.57",
    b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.81",
    b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.91", b"1.2.840.10008.1.2.4.201",
    b"1.2.840.10008.1.2.4.203", b"1.2.840.10008.1.2.5", b"1.2.3", b"",
)  # fmt: skip
_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OW PN SH SL SQ SS ST TM UC UI UL UN UR US UT UV".split()

# ── any bytes ────────────────────────────────────────────────────────────────────────────────────────────


def _flipped_bits(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwritten_run(data: bytes, rng: Random) -> bytes:
    at, length = rng.randrange(len(data)), rng.choice((1, 2, 4, 16, 256, 4096))
    fill = rng.choice((b"\0", b"\xff", None))
    run = rng.randbytes(length) if fill is None else fill * length
    return data[:at] + run[: len(data) - at] + data[at + length :]


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _cut_near_end(data: bytes, rng: Random) -> bytes:
    return data[: -rng.randint(1, min(64, len(data)))]


def _inserted(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 2, 7, 64, 1000))) + data[at:]


def _removed(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 2, 8, 100, 2000)) :]


def _repeated(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data))
    end = at + rng.choice((2, 8, 64, 1024))
    return data[:end] + data[at:end] * rng.choice((1, 2, 20)) + data[end:]


def _extreme_integer(data: bytes, rng: Random) -> bytes:
    """A 16 or 32-bit number anywhere: sizes, counts and offsets live on even places."""
    at = rng.randrange(len(data)) & ~1
    order = rng.choice("<>")
    if rng.random() < 0.5:
        number = struct.pack(f"{order}H", rng.choice(_EXTREMES))
    else:
        number = struct.pack(f"{order}I", rng.choice(_LONG_EXTREMES))
    return data[:at] + number + data[at + len(number) :]


_ANYWHERE: tuple[Mutation, ...] = (
    _flipped_bits, _flipped_bits, _overwritten_run, _cut, _cut_near_end, _inserted, _removed, _repeated,
    _extreme_integer, _extreme_integer,
)  # fmt: skip

# ── DICOM elements ───────────────────────────────────────────────────────────────────────────────────────


def _on_element(change: Callable[[bytes, Element, Random], bytes]) -> Mutation:
    def mutated(data: bytes, rng: Random) -> bytes:
        found = elements(data)
        return change(data, rng.choice(found), rng) if found else data

    return mutated


@_on_element
def _element_dropped(data: bytes, e: Element, rng: Random) -> bytes:
    return data[: e.start] + data[e.end :]


@_on_element
def _element_doubled(data: bytes, e: Element, rng: Random) -> bytes:
    return data[: e.end] + data[e.start : e.end] * rng.choice((1, 1, 50)) + data[e.end :]


@_on_element
def _element_moved(data: bytes, e: Element, rng: Random) -> bytes:
    rest = data[: e.start] + data[e.end :]
    to = rng.choice(elements(data)).start
    return rest[:to] + data[e.start : e.end] + rest[to:]


@_on_element
def _element_lies_about_length(data: bytes, e: Element, rng: Random) -> bytes:
    length = rng.choice((*_LONG_EXTREMES, e.end - e.value + 1, e.end - e.value + 2, len(data)))
    return e.with_value(data, data[e.value : e.end], length)


@_on_element
def _element_has_another_vr(data: bytes, e: Element, rng: Random) -> bytes:
    return data[: e.start + 4] + rng.choice(_VRS) + data[e.start + 6 :] if e.vr else data


@_on_element
def _element_says_something_else(data: bytes, e: Element, rng: Random) -> bytes:
    return e.with_value(data, rng.choice((*_TEXTS, *_NUMBERS, rng.randbytes(rng.randrange(40)))))


@_on_element
def _element_is_a_sequence(data: bytes, e: Element, rng: Random) -> bytes:
    """Items within items, deeper than anything real."""
    depth = rng.choice((1, 3, 50, 2000))
    tag = data[e.start : e.start + 4]
    item = struct.pack(f"{e.order}HHI", 0xFFFE, 0xE000, UNDEFINED)
    opened = tag + (b"SQ\0\0" if e.vr else b"") + struct.pack(f"{e.order}I", UNDEFINED) + item
    return data[: e.start] + opened * depth + data[e.start :]


def _header_field_extreme(data: bytes, rng: Random) -> bytes:
    """Rows, BitsStored, windows, table descriptors … (groups 0028 and 0020), as numbers of their own kind."""
    fields = [e for e in elements(data) if e.tag >> 16 == 0x0028]
    if not fields:
        return data
    e = rng.choice(fields)
    value = data[e.value : e.end]
    if e.vr in (b"US", b"SS", b"OW") or (not e.vr and len(value) in (2, 6)):
        words = [rng.choice(_EXTREMES) for _ in range(rng.choice((len(value) // 2 or 1, 1, 2, 3)))]
        return e.with_value(data, struct.pack(f"{e.order}{len(words)}H", *words))
    return e.with_value(data, rng.choice((*_NUMBERS, *_TEXTS)))


def _another_syntax(data: bytes, rng: Random) -> bytes:
    for e in elements(data):
        if e.tag == 0x00020010:
            uid = rng.choice(_SYNTAXES)
            return e.with_value(data, uid + b"\0" * (len(uid) % 2))
    return data


_ON_DICOM: tuple[Mutation, ...] = (
    _element_dropped, _element_doubled, _element_moved, _element_lies_about_length, _element_has_another_vr,
    _element_says_something_else, _element_is_a_sequence, _header_field_extreme, _header_field_extreme,
    _header_field_extreme, _another_syntax,
)  # fmt: skip

# ── encapsulated pixels ──────────────────────────────────────────────────────────────────────────────────


def _on_fragment(change: Callable[[bytes, Element, Random], bytes]) -> Mutation:
    def mutated(data: bytes, rng: Random) -> bytes:
        found = fragments(data)
        return change(data, rng.choice(found[1:]), rng) if len(found) > 1 else data

    return mutated


@_on_fragment
def _fragment_split(data: bytes, e: Element, rng: Random) -> bytes:
    at = rng.randrange(e.end - e.value + 1)
    parts = data[e.value : e.value + at], data[e.value + at : e.end]
    if rng.random() < 0.3:
        parts = parts[::-1]
    return data[: e.start] + b"".join(as_item(part) for part in parts) + data[e.end :]


@_on_fragment
def _fragment_emptied(data: bytes, e: Element, rng: Random) -> bytes:
    return data[: e.start] + as_item(b"") * rng.choice((1, 100)) + data[e.end :]


@_on_fragment
def _rle_header_changed(data: bytes, e: Element, rng: Random) -> bytes:
    """One of the sixteen numbers that begin an RLE frame (PS3.5 G.5)."""
    at = e.value + 4 * rng.randrange(16)
    return data[:at] + struct.pack("<I", rng.choice((*_LONG_EXTREMES, len(data)))) + data[at + 4 :]


def _offsets_changed(data: bytes, rng: Random) -> bytes:
    found = fragments(data)
    if not found:
        return data
    offsets = [rng.choice((*_LONG_EXTREMES, len(data))) for _ in range(rng.choice((0, 1, 2, 300)))]
    return data[: found[0].start] + as_item(struct.pack(f"<{len(offsets)}I", *offsets)) + data[found[0].end :]


# ── code streams and pictures ────────────────────────────────────────────────────────────────────────────


def _segment_changed(data: bytes, rng: Random) -> bytes:
    found = segments(data)
    if not found:
        return data
    start, end = rng.choice(found)
    segment = data[start:end]
    match rng.randrange(6):
        case 0:
            return data[:start] + data[end:]
        case 1:
            return data[:end] + segment * rng.choice((1, 3, 100)) + data[end:]
        case 2:
            return data[: start + 2] + struct.pack(">H", rng.choice(_EXTREMES)) + data[start + 4 :]
        case 3:
            return data[: start + 1] + bytes([rng.randrange(0x4F, 0x100)]) + data[start + 2 :]
        case 4:
            other = rng.choice(found)[0]
            return data[:other] + segment + data[other:]
        case _:
            return _byte_changed(data, start + 4, end, rng)


def _byte_changed(data: bytes, start: int, end: int, rng: Random) -> bytes:
    if start >= end:
        return data
    at = rng.randrange(start, end)
    value = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return data[:at] + bytes([value]) + data[at + 1 :]


def _png_chunk_changed(data: bytes, rng: Random) -> bytes:
    """With a checksum that fits, or the decoder would not look at it."""
    if not data.startswith(b"\x89PNG"):
        return data
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((at, min(at + 8 + length, len(data) - 4)))
        at += 12 + length
    start, end = rng.choice(chunks)
    body = bytearray(data[start + 4 : end])
    body[rng.randrange(len(body))] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
    return data[: start + 4] + bytes(body) + struct.pack(">I", zlib.crc32(body)) + data[end + 4 :]


_ON_STREAMS: tuple[Mutation, ...] = (
    _fragment_split, _fragment_emptied, _rle_header_changed, _offsets_changed, _segment_changed,
    _segment_changed, _segment_changed,
)  # fmt: skip


def _spliced(data: bytes, other: bytes, rng: Random) -> bytes:
    """Another film's code stream under this header, or two files cut and joined anywhere."""
    mine, theirs = fragments(data), fragments(other)
    if len(mine) > 1 and len(theirs) > 1 and rng.random() < 0.7:
        value = other[theirs[1].value : theirs[1].end]
        return data[: mine[1].start] + as_item(value) + data[mine[-1].end :]
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def mutated(seeds: Sequence[bytes], rng: Random) -> bytes:
    """One of the seeds, damaged in one to four ways. seeds: files that are not empty."""
    data = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        if not data:
            break
        is_dicom = kind_from_head(data[:132]) in (Kind.DICOM, Kind.DICOM_BARE)
        chance = rng.random()
        if rng.random() < 0.4:
            data = contradicted(data, rng)
        elif chance < 0.04:
            data = _spliced(data, rng.choice(seeds), rng)
        elif is_dicom and chance < 0.4:
            data = rng.choice(_ON_DICOM)(data, rng)
        elif is_dicom and chance < 0.65:
            data = rng.choice(_ON_STREAMS)(data, rng)
        elif not is_dicom and chance < 0.5:
            data = rng.choice((_segment_changed, _png_chunk_changed))(data, rng)
        else:
            data = rng.choice(_ANYWHERE)(data, rng)
    return data
