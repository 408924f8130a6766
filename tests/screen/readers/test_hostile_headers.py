"""Data sets that are well formed and make no sense: reading never raises, and what it says can be written."""

import json
import struct
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword

from screen.film import Film, Unscreened
from screen.ledger import Row
from screen.readers import Limits
from screen.readers.tags import _KEYWORDS
from screen.runs.stream import row_from_film
from screen.text import safe_text
from tests.phantoms import dicom_file, film, film_values, read_from_bytes

VALUES = film_values(48, 40)
PIXELS_AT = dicom_file(VALUES, WindowCenter=2000, WindowWidth=3000).index(b"\xe0\x7f\x10\x00OW")
BASE = dicom_file(VALUES, WindowCenter=2000, WindowWidth=3000)
KNOWN = [tag for tag in map(tag_for_keyword, _KEYWORDS.split()) if tag is not None and tag >> 16 != 2]
SHORT_VRS = [b"AE", b"AS", b"CS", b"DA", b"DS", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"TM", b"UI",
             b"UL", b"US", b"FD", b"AT", b"ST"]  # fmt: skip
LONG_VRS = [b"OB", b"OW", b"OF", b"UN", b"UT", b"UC", b"UR", b"SV", b"UV", b"OD", b"OL"]
CHARSETS = [b"ISO_IR 100", b"ISO_IR 192", b"GB18030", b"\\ISO 2022 IR 87", b"ISO 2022 IR 149", b"punycode",
            b"hex", b"a\0b", b"ISO_IR 6\\\\ISO_IR 13", b"undefined", b"\xff"]  # fmt: skip

tags = st.one_of(
    st.sampled_from(KNOWN),
    st.integers(0x00080000, 0x7FDFFFFF),
    st.builds(
        lambda group, number: (2 * group + 1) << 16 | number,
        st.integers(4, 0x3000),
        st.integers(0x10, 0xFFFF),
    ),
)
values = st.one_of(
    st.binary(max_size=24),
    st.sampled_from(
        [b"-1\\2", b"1e400", b"nan", b"  ", b"\\\\\\", b"\x1b$B\x1b(B", b"=1+1", b"\0" * 9, b"A" * 2000]
    ),
    st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.integers(0, 65535), max_size=4).map(lambda words: struct.pack(f"<{len(words)}H", *words)),
)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    if vr in SHORT_VRS:
        return head + struct.pack("<H", len(value) & 0xFFFF) + value[:0xFFFF]
    return head + struct.pack("<HI", 0, len(value)) + value


elements = st.recursive(
    st.one_of(
        st.builds(element, tags, st.sampled_from(SHORT_VRS + LONG_VRS), values),
        st.sampled_from(CHARSETS).map(lambda name: element(0x00080005, b"CS", name)),
    ),
    lambda inner: st.builds(
        lambda tag, items: element(
            tag, b"SQ", b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item for item in items)
        ),
        tags,
        st.lists(st.lists(inner, max_size=3).map(b"".join), max_size=3),
    ),
    max_leaves=6,
)

A_SEQUENCE_FOR_A_TEXT = element(
    0x00080016, b"SQ", b"\xfe\xff\x00\xe0\x09\0\0\0" + element(0x00200013, b"IS", b"\1")
)


def check(result: Film | Unscreened) -> None:
    if isinstance(result, Film):
        assert result.pixels.values.shape == VALUES.shape or min(result.pixels.values.shape) >= 32
        identity = result.identity
    else:
        identity = result.identity
        row = row_from_film("file", result)
        assert Row.from_json(row.to_json()) == row
    for name in identity.__slots__:
        text = getattr(identity, name)
        text.encode()
        assert len(text) <= 256
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text)
        safe_text(text).encode()
    json.dumps([getattr(identity, name) for name in identity.__slots__])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


@settings(
    max_examples=120,
    deadline=None,
    phases=set(Phase) - {Phase.shrink, Phase.explain},
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(elements, min_size=1, max_size=8), st.booleans())
@example([A_SEQUENCE_FOR_A_TEXT], False)
@example([element(0x00080005, b"US", b"\1\0\2\0")], True)
@example([element(0x00080005, b"FD", b"\1" * 8)], True)
@example([element(0x00080005, b"CS", b"ISO\0IR 6")], True)
def test_any_data_set_ends_as_a_film_or_a_reason(
    folder: Path, made: list[bytes], keeps_the_film: bool
) -> None:
    """In front of a film's own elements (which then win or not), or in their place."""
    start = 132 + BASE[132:].index(b"\x08\x00\x16\x00UI") if keeps_the_film else PIXELS_AT
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(read_from_bytes(folder, BASE[:start] + b"".join(made) + BASE[start:]))
        check(read_from_bytes(folder, BASE[:PIXELS_AT] + b"".join(made) + BASE[PIXELS_AT:]))


@pytest.mark.parametrize("name", ["punycode", "idna", "unicode_escape", "rot13", "hex", "undefined"])
def test_only_dicoms_character_sets_are_used(folder: Path, name: str) -> None:
    data = dicom_file(
        VALUES, SpecificCharacterSet="ISO_IR 100", PatientID="a" * 20, WindowCenter=9, WindowWidth=9
    )
    declared = b"CS\x0a\x00" + name.encode().ljust(10)[:10]
    result: Any = read_from_bytes(folder, data.replace(b"CS\x0a\x00ISO_IR 100", declared), Limits())
    assert film(result).identity.patient_id == "a" * 20
