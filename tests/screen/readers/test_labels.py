"""Pixels that are stored otherwise than their header says: read right where that is certain, or refused."""

import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from screen.codes import Reason, Warn
from screen.film import Film, Unscreened
from screen.readers.half_copied import check_copied
from tests.phantoms import dicom_file, encoded, film, film_values, read_from_bytes

VALUES = film_values(96, 80)
GREY = (VALUES >> 4).astype(np.uint8)
WINDOW = {"WindowCenter": 2000, "WindowWidth": 4000}


@pytest.fixture
def read_bytes(tmp_path: Path) -> Any:
    """Read a file that holds these bytes."""
    return lambda data: read_from_bytes(tmp_path, data)


def reason(result: Film | Unscreened) -> Reason:
    assert isinstance(result, Unscreened), result
    return result.reason


def header_end(data: bytes) -> int:
    """Where the file's meta information ends."""
    return int(144 + struct.unpack_from("<I", data, 140)[0])


def renamed(data: bytes, syntax: str) -> bytes:
    """The file under another transfer syntax of the same or a shorter length."""
    there = ExplicitVRLittleEndian if ExplicitVRLittleEndian.encode() in data else ImplicitVRLittleEndian
    return data.replace(there.encode(), syntax.encode().ljust(len(there), b"\0"), 1)


def deflated(data: bytes, wrapped: bytes) -> bytes:
    there = b"\x02\x00\x10\x00UI" + struct.pack("<H", 20) + b"1.2.840.10008.1.2.1\0"
    assert there in data
    name = b"1.2.840.10008.1.2.1.99"
    meta, data_set = data[: header_end(data)], wrapped
    longer = meta.replace(there, there[:6] + struct.pack("<H", len(name)) + name)
    length = struct.unpack_from("<I", longer, 140)[0] + len(longer) - len(meta)
    return longer[:140] + struct.pack("<I", length) + longer[144:] + data_set


def test_deflated_with_the_header_of_zlib(read_bytes: Any) -> None:
    plain = dicom_file(VALUES, **WINDOW)
    body = plain[header_end(plain) :]
    whole = deflated(plain, zlib.compress(body))
    np.testing.assert_array_equal(film(read_bytes(whole)).pixels.values, VALUES)
    damaged = bytearray(whole)
    damaged[-3000] ^= 1
    assert reason(read_bytes(bytes(damaged))) in (Reason.CORRUPT_HEADER, Reason.CORRUPT_PIXELS)


def test_ge_stores_big_endian_pixels_behind_a_little_endian_header(read_bytes: Any) -> None:
    plain = dicom_file(VALUES, ImplicitVRLittleEndian, frame=VALUES.astype(">u2").tobytes(), **WINDOW)
    name = b"1.2.840.113619.5.2"
    there = b"UI" + struct.pack("<H", 18) + b"1.2.840.10008.1.2\0"
    assert there in plain
    found = film(read_bytes(plain.replace(there, b"UI" + struct.pack("<H", 18) + name)))
    np.testing.assert_array_equal(found.pixels.values, VALUES)
    assert found.warnings == ()


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless, RLELossless, HTJ2KLossless])
def test_native_pixels_under_a_compressed_syntax(read_bytes: Any, syntax: str) -> None:
    odd = film_values(95, 81, 8).astype(np.uint8)
    for values, bits in ((VALUES, 12), (odd, 8)):
        plain = dicom_file(values, bits_stored=bits)
        there = b"UI" + struct.pack("<H", 20) + b"1.2.840.10008.1.2.1\0"
        name = syntax.encode() + b"\0" * (len(syntax) % 2)
        data = plain.replace(there, b"UI" + struct.pack("<H", len(name)) + name, 1)
        data = data[:140] + struct.pack("<I", header_end(plain) - 144 + len(name) - 20) + data[144:]
        np.testing.assert_array_equal(film(read_bytes(data)).pixels.values, values)
        assert reason(read_bytes(data[:-500])) is Reason.CORRUPT_PIXELS


def test_pixels_of_an_unknown_syntax_are_not_guessed_at(read_bytes: Any) -> None:
    assert reason(read_bytes(renamed(dicom_file(VALUES), "1.2.3.4.5"))) is Reason.UNSUPPORTED_SYNTAX


# ── frames and fragments ─────────────────────────────────────────────────────────────────────────────────


def jpeg(samples: NDArray[np.uint8]) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(samples, level=95))


def fragments(syntax: str, *parts: bytes, frames: int) -> bytes:
    data = dicom_file(GREY, syntax, bits_stored=8, frame=b"?" * 64, NumberOfFrames=frames)
    there = encapsulate([b"?" * 64])
    assert there in data
    items = b"".join(
        b"\xfe\xff\x00\xe0" + struct.pack("<I", len(part) + len(part) % 2) + part + b"\0" * (len(part) % 2)
        for part in (b"", *parts)
    )
    return data.replace(there, items)


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
@pytest.mark.parametrize("cuts", [1, 2, 3])
def test_more_frames_are_told_than_are_there(read_bytes: Any, frames: int, cuts: int) -> None:
    streams = {
        JPEGBaseline8Bit: jpeg(GREY),
        JPEG2000Lossless: encoded(GREY, JPEG2000Lossless),
        JPEGLSLossless: encoded(GREY, JPEGLSLossless),
    }
    for syntax, stream in streams.items():
        size = -(-len(stream) // cuts // 2) * 2
        parts = [stream[at : at + size] for at in range(0, len(stream), size)]
        expected = film(read_bytes(fragments(syntax, stream, frames=1))).pixels.values
        found = film(read_bytes(fragments(syntax, *parts, frames=frames)))
        np.testing.assert_array_equal(found.pixels.values, expected)
        assert found.warnings == ((Warn.SEVERAL_FRAMES,) if frames > 1 else ())


def test_a_broken_first_frame_does_not_borrow_from_the_second(read_bytes: Any) -> None:
    one, two = jpeg(GREY), jpeg(GREY[::-1])
    first = film(read_bytes(fragments(JPEGBaseline8Bit, one, two, frames=2)))
    assert np.abs(first.pixels.values.astype(int) - GREY).mean() < 3
    broken = fragments(JPEGBaseline8Bit, one[: len(one) // 2], two, frames=2)
    assert reason(read_bytes(broken)) is Reason.CORRUPT_PIXELS


# ── signs, and bits above the stored ones ────────────────────────────────────────────────────────────────

DEEP = film_values(96, 80, 16)


@pytest.mark.parametrize("encode", ["wrapped", "shifted"])
def test_a_signed_stream_under_an_unsigned_header(read_bytes: Any, encode: str) -> None:
    signed = DEEP.view(np.int16) if encode == "wrapped" else (DEEP.astype(np.int32) - 32768).astype(np.int16)
    frame = encoded(signed, JPEG2000Lossless)
    data = dicom_file(DEEP, JPEG2000Lossless, bits_stored=16, frame=frame, **WINDOW)
    found = film(read_bytes(data))
    np.testing.assert_array_equal(found.pixels.values, DEEP)
    assert Warn.SIGN_CONTRADICTED in found.warnings


def test_a_signed_stream_that_fits_neither_way(read_bytes: Any) -> None:
    always_negative = (DEEP // 4).astype(np.int32) - 30000
    frame = encoded(always_negative.astype(np.int16), JPEG2000Lossless)
    data = dicom_file(DEEP, JPEG2000Lossless, bits_stored=16, frame=frame)
    assert reason(read_bytes(data)) is Reason.CORRUPT_PIXELS


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless, JPEGLosslessSV1, RLELossless]
)
def test_overlays_above_the_stored_bits(read_bytes: Any, syntax: str) -> None:
    overlaid = VALUES.copy()
    overlaid[20:40, 10:60:7] |= 0x8000
    overlaid[70, 5:9] |= 0x4000
    for tags in ({}, WINDOW):
        expected = film(read_bytes(dicom_file(VALUES, syntax, **tags)))
        found = film(read_bytes(dicom_file(overlaid, syntax, **tags)))
        np.testing.assert_array_equal(found.pixels.values, VALUES)
        np.testing.assert_array_equal(found.pixels.lookup, expected.pixels.lookup)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless])
@pytest.mark.parametrize("bits", [13, 14, 16])
def test_more_bits_than_are_told_are_no_overlay(read_bytes: Any, syntax: str, bits: int) -> None:
    values = film_values(96, 80, bits)
    found = film(read_bytes(dicom_file(values, syntax, bits_stored=12)))
    np.testing.assert_array_equal(found.pixels.values, values)
    assert found.pixels.lookup[values.max()] == 65535


# ── lengths ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("rows", "columns"), [(96, 80), (95, 81)])
def test_three_samples_under_the_name_of_ybr_full_422(read_bytes: Any, rows: int, columns: int) -> None:
    luma = film_values(rows, columns, 8).astype(np.uint8)
    grey = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "YBR_FULL_422"}
    whole = np.dstack([luma, np.full_like(luma, 128), np.full_like(luma, 128)])
    found = film(read_bytes(dicom_file(luma, bits_stored=8, frame=whole.tobytes(), **grey)))
    np.testing.assert_array_equal(found.pixels.values, luma)
    assert found.warnings == ()


def test_bytes_in_what_is_told_to_be_words(read_bytes: Any) -> None:
    data = dicom_file(GREY.astype(np.uint16), bits_stored=8, frame=GREY.tobytes())
    np.testing.assert_array_equal(film(read_bytes(data)).pixels.values, GREY)
    data = dicom_file(VALUES, frame=GREY.tobytes())
    assert reason(read_bytes(data)) is Reason.CORRUPT_PIXELS


def test_much_more_data_than_are_told_are_another_picture(read_bytes: Any) -> None:
    """Words told to be bytes, colours told to be grey, frames that nobody told: rows would be sheared."""
    for frame in (VALUES.tobytes(), np.dstack([GREY] * 3).tobytes(), GREY.tobytes() * 2):
        assert reason(read_bytes(dicom_file(GREY, bits_stored=8, frame=frame))) is Reason.CORRUPT_PIXELS
    whole = dicom_file(GREY, bits_stored=8, frame=GREY.tobytes() * 2, NumberOfFrames=2)
    assert film(read_bytes(whole)).warnings == (Warn.SEVERAL_FRAMES,)


@pytest.mark.parametrize(("more", "warned"), [(2, False), (78, False), (80, True), (400, True), (3000, True)])
def test_some_more_data_than_are_told(read_bytes: Any, more: int, warned: bool) -> None:
    found = film(read_bytes(dicom_file(GREY, bits_stored=8, frame=GREY.tobytes() + bytes(more))))
    np.testing.assert_array_equal(found.pixels.values, GREY)
    assert found.warnings == ((Warn.PIXELS_LONG,) if warned else ())


# ── zeros ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_header_that_goes_over_into_zeros_is_no_other_object(read_bytes: Any) -> None:
    whole = dicom_file(VALUES)
    for at in range(header_end(whole) + 40, whole.index(b"\xe0\x7f\x10\x00"), 7):
        assert reason(read_bytes(whole[:at] + bytes(len(whole) - at))) is Reason.CORRUPT_HEADER


LARGE = film_values(600, 500)


def tiff_with_directory_first(values: NDArray[Any]) -> bytes:
    """Uncompressed, in one strip."""
    rows, columns = values.shape
    fields = {256: columns, 257: rows, 258: 8 * values.itemsize, 259: 1, 262: 1}
    fields |= {273: 122, 277: 1, 278: rows, 279: values.nbytes}
    entries = (struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(fields)) + b"".join(entries) + bytes(4)
    return head + values.tobytes()


def copied(whole: bytes, at: int) -> bytes:
    return whole[:at] + bytes(len(whole) - at)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint8])
@pytest.mark.parametrize("form", ["DICOM", "TIFF"])
def test_a_film_that_was_half_copied(read_bytes: Any, dtype: type, form: str) -> None:
    """Blocks of the file are certain; elsewhere, an edge that is level to within a row looks the same."""
    values = LARGE if dtype is np.uint16 else (LARGE >> 4).astype(np.uint8)
    if form == "DICOM":
        whole = dicom_file(values, bits_stored=12 if dtype is np.uint16 else 8)
    else:
        whole = tiff_with_directory_first(values)
    assert Warn.PERHAPS_DAMAGED not in film(read_bytes(whole)).warnings
    start = whole.index(values.tobytes())
    row = values.shape[1] * values.itemsize
    for share in np.random.default_rng(4).uniform(0.1, 0.7, 20):
        for at in (start + int(values.nbytes * share), int(len(whole) * share) // 4096 * 4096):
            if not 20 * values.itemsize < (at - start) % row < row - 20 * values.itemsize:
                continue
            found = read_bytes(copied(whole, at))
            if at % 4096 == 0:
                assert reason(found) is Reason.CORRUPT_PIXELS
            elif at % 4096 < 4090:
                assert Warn.PERHAPS_DAMAGED in film(found).warnings


def test_a_copy_that_broke_off_leaves_nothing_of_later_frames(read_bytes: Any) -> None:
    """Where they are there, the first one may end in a black border."""
    whole = dicom_file(LARGE, frame=LARGE.tobytes() * 2, NumberOfFrames=2)
    start = whole.index(LARGE.tobytes())
    at = next(n for n in range(4096 * 90, len(whole), 4096) if 100 < (n - start) % 1000 < 900)
    assert reason(read_bytes(copied(whole, at))) is Reason.CORRUPT_PIXELS
    end = start + LARGE.nbytes
    found = film(read_bytes(whole[:at] + bytes(end - at) + whole[end:]))
    assert Warn.PERHAPS_DAMAGED in found.warnings


@pytest.mark.parametrize("shift", [0.2, 0.95, 2, -1.5])
def test_a_black_border_that_is_nearly_level_is_no_reason_to_refuse(read_bytes: Any, shift: float) -> None:
    """It moves by so many rows over the film's width."""
    y, x = np.indices(LARGE.shape)
    for phase in (0, 0.3, 0.6, 0.9):
        values = np.where(y < 400 + phase + shift * (1 - x / 500), LARGE, 0).astype(np.uint16)
        film(read_bytes(dicom_file(values)))
        film(read_bytes(bytes(imagecodecs.tiff_encode(values))))
        packed = film(read_bytes(bytes(imagecodecs.tiff_encode(values, compression="lzw"))))
        assert not packed.warnings


def certain_nowhere(_: int) -> bool:
    return False


def test_black_borders_are_not_lost_blocks() -> None:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:600, 0:500]
    for _ in range(300):
        values = LARGE.copy()
        angle = rng.normal(0, 0.08)
        values[y + angle * x > rng.integers(60, 560)] = 0
        assert not check_copied(values, certain_nowhere)
        values = np.where(np.hypot(x - 250, y - 300) < rng.integers(60, 320), LARGE, 0)
        assert not check_copied(values.astype(np.uint16), certain_nowhere)
        level = LARGE.copy()
        level[rng.integers(60, 560) :] = 0
        assert not check_copied(level, certain_nowhere)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_values_can_be_asked(data: st.DataObject) -> None:
    rows, columns = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3, (rows, columns), np.uint8)
    values.ravel()[data.draw(st.integers(0, values.size)) :] = 0
    assert check_copied(values, certain_nowhere) in ([], [Warn.PERHAPS_DAMAGED])
