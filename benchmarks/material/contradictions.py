"""Well-formed files that contradict themselves: counts, types and lengths of fields, labels against data.

Random damage seldom gets this far: here every length is right that is not wrong on purpose.
"""

import struct
from collections.abc import Callable, Sequence
from random import Random

from benchmarks.material.structure import LONG_VRS, PIXEL_DATA, Element, elements, fragments
from screen.readers.signature import Kind, kind_from_head

_Change = Callable[[bytes, Random], bytes]

# Tag, and the value representation that the standard gives it.
_FIELDS: dict[int, bytes] = {
    0x00080060: b"CS", 0x00180015: b"CS", 0x00185101: b"CS", 0x00280002: b"US", 0x00280004: b"CS",
    0x00280006: b"US", 0x00280008: b"IS", 0x00280010: b"US", 0x00280011: b"US", 0x00280034: b"IS",
    0x00280100: b"US", 0x00280101: b"US", 0x00280102: b"US", 0x00280103: b"US", 0x00280120: b"SS",
    0x00280121: b"US", 0x00281050: b"DS", 0x00281051: b"DS", 0x00281052: b"DS", 0x00281053: b"DS",
    0x00281056: b"CS", 0x20500020: b"CS",
}  # fmt: skip
_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES, _ROWS, _COLUMNS = (
    0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011,
)  # fmt: skip
_ALLOCATED, _STORED, _HIGH, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_DESCRIPTORS, _TABLES = (0x00281101, 0x00281102, 0x00281103), (0x00281201, 0x00281202, 0x00281203)
_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 63, 255, 256, 4095, 4096, 32768, 65534, 65535)
_TEXTS = (
    b"",
    b"1",
    b"-1",
    b"0",
    b"2.5",
    b"1e9",
    b"nan",
    b"TEXT",
    b"512",
    b"99999999999",
    b"\xff",
    b"MONOCHROME2",
)
_PHOTOMETRICS = (
    b"MONOCHROME1", b"MONOCHROME2", b"PALETTE COLOR", b"RGB", b"YBR_FULL", b"YBR_FULL_422", b"YBR_RCT",
    b"YBR_ICT", b"YBR_PARTIAL_420", b"ARGB", b"HSV", b"",
)  # fmt: skip
_SYNTAXES = (
    *(b"1.2.840.10008.1.2" + end for end in (b"", b".1", b".2", b".5")),
    *(b"1.2.840.10008.1.2.4.%d" % n for n in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91, 92, 201, 202, 203)),
    b"1.2.840.113619.5.2",
)
_PACKED = {
    b"US": "H",
    b"SS": "h",
    b"UL": "I",
    b"SL": "i",
    b"FL": "f",
    b"FD": "d",
    b"AT": "I",
    b"OW": "H",
    b"OB": "B",
}
_TEXTUAL = (b"DS", b"IS", b"CS", b"LO", b"UN", b"UC", b"PN")


def contradicted(data: bytes, rng: Random) -> bytes:
    """A file with one or a few contradictions in it; as it was where it has no structure to contradict."""
    kind = kind_from_head(data[:256])
    changes: tuple[_Change, ...] = ()
    if kind in (Kind.DICOM, Kind.DICOM_BARE):
        changes = _ON_DICOM
    elif kind is Kind.TIFF:
        changes = (_tiff_field_changed,)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if changes:
            data = rng.choice(changes)(data, rng)
    return data


# ── DICOM ────────────────────────────────────────────────────────────────────────────────────────────────


def _field_of_odd_count_or_type(data: bytes, rng: Random) -> bytes:
    """Several values, none, or very many; in the field's own value representation or in another one."""
    tag = rng.choice(tuple(_FIELDS))
    vr = _FIELDS[tag] if rng.random() < 0.6 else rng.choice((*_PACKED, *_TEXTUAL))
    count = rng.choice((0, 1, 2, 2, 3, 4, 5, 300, 30000))
    if vr in _TEXTUAL:
        words = rng.choices((*_TEXTS, *_PHOTOMETRICS), k=min(count, 300))
        return _with_field(data, tag, vr, b"\\".join(words))
    return _with_field(data, tag, vr, _numbers(vr, count, rng), rng.choice((0, 0, 0, 1)))


def _numbers(vr: bytes, count: int, rng: Random) -> bytes:
    letter = _PACKED[vr]
    most = {"B": 255, "h": 32767}.get(letter, 65535)
    return struct.pack(f"<{count}{letter}", *(min(n, most) for n in rng.choices(_NUMBERS, k=count)))


def _labels_against_data(data: bytes, rng: Random) -> bytes:
    """Labels that fit each other, and not what is stored; one of them perhaps not even that."""
    photometric = rng.choice(_PHOTOMETRICS)
    samples = 1 if photometric.startswith((b"MONO", b"PAL")) else 3
    allocated = rng.choice((8, 16, 16))
    stored = rng.randint(1, allocated)
    labels = {
        _SAMPLES: samples,
        _PLANAR: rng.choice((0, 1)),
        _ALLOCATED: allocated,
        _STORED: stored,
        _HIGH: rng.randint(stored - 1, allocated - 1),
        _SIGNED: rng.choice((0, 0, 1)),
    }
    for tag in rng.sample(tuple(labels), rng.choice((0, 0, 1))):
        labels[tag] = rng.choice(_NUMBERS)
    for tag in rng.sample(tuple(labels), rng.randint(1, len(labels))):
        data = _with_field(data, tag, b"US", struct.pack("<H", labels[tag]))
    data = _with_field(data, _PHOTOMETRIC, b"CS", photometric)
    if photometric == b"PALETTE COLOR":
        data = _palette_of_odd_length(data, rng)
    return _pixels_refitted(data, rng) if rng.random() < 0.6 else data


def _other_size(data: bytes, rng: Random) -> bytes:
    """Rows and columns by a little: odd ones, or the two exchanged."""
    sizes = {e.tag: data[e.value : e.end] for e in elements(data) if e.tag in (_ROWS, _COLUMNS)}
    if len(sizes) != 2 or any(len(value) != 2 for value in sizes.values()):
        return data
    rows, columns = (struct.unpack("<H", sizes[tag])[0] for tag in (_ROWS, _COLUMNS))
    if rng.random() < 0.2:
        rows, columns = columns, rows
    for tag, size in ((_ROWS, rows), (_COLUMNS, columns)):
        changed = max(0, min(size + rng.choice((-1, 0, 1, 1)), 65535))
        data = _with_field(data, tag, b"US", struct.pack("<H", changed))
    return _pixels_refitted(data, rng)


def _pixels_refitted(data: bytes, rng: Random) -> bytes:
    """Uncompressed pixels as long as the labels say (or as two samples a pixel), give or take a few bytes."""
    found = {e.tag: e for e in elements(data)}
    pixels = found.get(PIXEL_DATA)
    sizes = [found.get(tag) for tag in (_ROWS, _COLUMNS, _SAMPLES, _ALLOCATED)]
    if pixels is None or fragments(data):
        return data
    numbers = [
        struct.unpack("<H", data[e.value : e.value + 2])[0] for e in sizes if e and e.end - e.value == 2
    ]
    if len(numbers) != 4:
        return data
    rows, columns, samples, allocated = numbers
    samples = rng.choice((samples, samples, 2))
    length = min(rows * columns * samples * max(1, allocated // 8), 1 << 20) + rng.choice((0, 0, 0, -1, 1, 2))
    stored = data[pixels.value : pixels.end] or b"\0"
    value = (stored * (max(length, 0) // len(stored) + 1))[: max(length, 0)]
    return pixels.with_value(data, value)


def _palette_of_odd_length(data: bytes, rng: Random) -> bytes:
    count = rng.choice((0, 1, 255, 256, 256, 257, 767, 4096, 65535))
    for descriptor, table in zip(_DESCRIPTORS, _TABLES, strict=True):
        numbers = [count, rng.choice((0, 0, 1, 32768, 65535)), rng.choice((8, 16, 16, 0, 12, 32))]
        if rng.random() < 0.2:
            numbers = numbers[: rng.randrange(3)] + rng.choices(_NUMBERS, k=rng.randrange(3))
        data = _with_field(data, descriptor, b"US", struct.pack(f"<{len(numbers)}H", *numbers))
        length = max(0, count * rng.choice((1, 2, 2, 2)) + rng.choice((0, 0, 0, -1, 1, 3)))
        data = _with_field(data, table, b"OW", rng.randbytes(length))
    return data


def _syntax_against_stream(data: bytes, rng: Random) -> bytes:
    return _with_field(data, 0x00020010, b"UI", rng.choice(_SYNTAXES))


def _frames_against_data(data: bytes, rng: Random) -> bytes:
    count = rng.choice(
        (b"0", b"-1", b"2", b"3", b"2\\1", b"65536", b"2147483648", b"1.5", b"1e300", b"two", b"")
    )
    return _with_field(data, _FRAMES, b"IS", count)


def _pixels_of_lying_length(data: bytes, rng: Random) -> bytes:
    pixels = next((e for e in elements(data) if e.tag == PIXEL_DATA), None)
    if pixels is None:
        return data
    length = rng.choice((0, 1, 2, len(data), 2**31, 2**32 - 2, 2**32 - 1, pixels.end - pixels.value - 1))
    return pixels.with_value(data, data[pixels.value : pixels.end], length)


_ON_DICOM: tuple[_Change, ...] = (
    _field_of_odd_count_or_type, _field_of_odd_count_or_type, _labels_against_data, _labels_against_data,
    _other_size, _syntax_against_stream, _frames_against_data, _pixels_of_lying_length,
    _palette_of_odd_length,
)  # fmt: skip


def _with_field(data: bytes, tag: int, vr: bytes, value: bytes, extra: int = 0) -> bytes:
    """The file with this element, new or in place of its own. extra: bytes by which its length lies."""
    found = elements(data)
    same = next((e for e in found if e.tag == tag), None)
    behind = same or next((e for e in found if e.tag > tag and e.tag >> 16 != 0xFFFE), None)
    if behind is None:
        return data
    value += b"\0" * (len(value) % 2)
    element = _element(behind, tag, vr, value, extra)
    return data[: behind.start] + element + data[same.end if same else behind.start :]


def _element(like: Element, tag: int, vr: bytes, value: bytes, extra: int) -> bytes:
    """Encoded as its neighbour is."""
    head = struct.pack(f"{like.order}HH", tag >> 16, tag & 0xFFFF)
    length = len(value) + extra
    if not like.vr and tag >> 16 != 2:
        return head + struct.pack(f"{like.order}I", length) + value
    if vr in LONG_VRS:
        return head + vr + struct.pack(f"{like.order}HI", 0, length) + value
    return head + vr + struct.pack(f"{like.order}H", length & 0xFFFF) + value


# ── TIFF ─────────────────────────────────────────────────────────────────────────────────────────────────

_TIFF_FIELDS = (256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 338, 339)
_TIFF_LIKELY = {
    258: (1, 4, 8, 16, 32),
    262: (0, 1, 2, 3, 5, 6),
    277: (1, 2, 3, 4),
    284: (1, 2),
    339: (1, 2, 3),
}
"""Values that some reader takes, for the fields where there are few."""
_TIFF_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q"}


def _tiff_field_changed(data: bytes, rng: Random) -> bytes:
    """A field of the first directory with another type, count or value; the directory is written anew."""
    order = "<" if data.startswith(b"II") else ">"
    entries = _tiff_entries(data, order)
    if not entries:
        return data
    tag = rng.choice((*_TIFF_FIELDS, *entries))
    numbers = _TIFF_LIKELY.get(tag, _NUMBERS) if rng.random() < 0.7 else _NUMBERS
    values: Sequence[int] = entries[tag][0] if tag in entries else ()
    values = values or [rng.choice(numbers)]
    match rng.randrange(5):
        case 0:
            values = [*values, *values]
        case 1:
            values = [*values, rng.choice(numbers)]
        case 2:
            values = rng.choices(numbers, k=rng.choice((1, 2, 3, 255, 256, 767, 768, 769, 1000)))
        case 3:
            values = [rng.choice(numbers)]
    kind = rng.choice((1, 3, 3, 4, 4, 4, *_TIFF_TYPES))
    letter = _TIFF_TYPES[kind]
    most = {"B": 255, "b": 127, "h": 32767, "H": 65535}.get(letter, 2**31 - 1)
    packed = struct.pack(f"{order}{len(values)}{letter}", *(min(v, most) for v in values))
    count = len(values) + rng.choice((0, 0, 0, 0, 1, -1))
    changed = struct.pack(f"{order}HHI", tag, kind, max(count, 0)) + packed
    directory = [entry for at, (_, entry) in sorted(entries.items()) if at != tag]
    # Twice the same tag: who reads the first one, and who the last?
    twice = [entries[tag][1], changed] if tag in entries and rng.random() < 0.2 else [changed]
    place = sum(at < tag for at in entries)
    return _with_directory(
        data, order, [*directory[:place], *rng.sample(twice, len(twice)), *directory[place:]]
    )


def _tiff_entries(data: bytes, order: str) -> dict[int, tuple[Sequence[int], bytes]]:
    """By tag: integers (none of other types), and the entry: its head, and the value behind it."""
    entries: dict[int, tuple[Sequence[int], bytes]] = {}
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, 64), 12):
            tag, kind, n = struct.unpack_from(f"{order}HHI", data, entry)
            letter = _TIFF_TYPES.get(kind, "B")
            size = min(n, 1 << 16) * struct.calcsize(letter)
            where = entry + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, entry + 8)[0]
            value = data[where : where + size]
            whole = f"{order}{len(value) // struct.calcsize(letter)}{letter}"
            values = struct.unpack_from(whole, value) if letter in "BHI" else ()
            entries[tag] = (values, data[entry : entry + 8] + value)
    except struct.error:
        return {}
    return entries


def _with_directory(data: bytes, order: str, entries: Sequence[bytes]) -> bytes:
    """The file with a new first directory at its end, the values behind it."""
    start = len(data) + len(data) % 2
    values_at = start + 2 + 12 * len(entries) + 4
    directory, behind = struct.pack(f"{order}H", len(entries)), b""
    for entry in entries:
        head, value = entry[:8], entry[8:]
        if len(value) <= 4:
            directory += head + value.ljust(4, b"\0")
        else:
            directory += head + struct.pack(f"{order}I", values_at + len(behind))
            behind += value + b"\0" * (len(value) % 2)
    moved = data[:4] + struct.pack(f"{order}I", start) + data[8:]
    return moved + b"\0" * (len(data) % 2) + directory + bytes(4) + behind
