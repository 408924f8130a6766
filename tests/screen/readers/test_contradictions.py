"""Files whose headers contradict their data: each is refused by name, or read right where that is certain."""

import io
import struct
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from screen.codes import Reason, Warn
from screen.film import Film, Unscreened
from screen.preprocess import PreprocessSpec, square, square_from_pixels
from screen.readers import codecs, lookup, pictures, reduced
from screen.shortcuts import DecodePolicy, Shortcut
from tests.phantoms import dicom_file, encoded, film, film_values, read_from_bytes

VALUES = film_values(48, 40)
GREY = (VALUES >> 4).astype(np.uint8)
RGB = np.dstack([GREY, GREY[::-1], GREY])


@pytest.fixture
def read_bytes(tmp_path: Path) -> Any:
    """Read a file that holds these bytes."""
    return lambda data: read_from_bytes(tmp_path, data)


def reason(result: Film | Unscreened) -> Reason:
    assert isinstance(result, Unscreened), result
    return result.reason


# ── TIFF ─────────────────────────────────────────────────────────────────────────────────────────────────

SHORT, LONG = 3, 4


def tiff(samples: NDArray[Any], **fields: tuple[int, list[int]]) -> bytes:
    """An uncompressed TIFF. fields: t256=(type, values) replaces or adds that field."""
    rows, columns = samples.shape[:2]
    entries: dict[int, tuple[int, list[int]]] = {
        256: (SHORT, [columns]),
        257: (SHORT, [rows]),
        258: (SHORT, [8 * samples.dtype.itemsize]),
        259: (SHORT, [1]),
        262: (SHORT, [1]),
        273: (LONG, [8]),
        277: (SHORT, [1]),
        278: (SHORT, [rows]),
        279: (LONG, [samples.nbytes]),
    } | {int(name[1:]): value for name, value in fields.items()}
    data = samples.tobytes() + b"\0" * (samples.nbytes % 2)
    directory, behind = struct.pack("<H", len(entries)), b""
    start = 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}{'H' if kind == SHORT else 'I'}", *values)
        where = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", start + len(behind))
        behind += packed if len(packed) > 4 else b""
        directory += struct.pack("<HHI", tag, kind, len(values)) + where
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4) + behind


PALETTE = {"t262": (SHORT, [3]), "t320": (SHORT, [n * 257 for n in range(256)] * 3)}


def test_the_plain_twins_are_read(read_bytes: Any) -> None:
    np.testing.assert_array_equal(film(read_bytes(tiff(GREY))).pixels.values, GREY)
    np.testing.assert_array_equal(
        film(read_bytes(tiff(GREY, **PALETTE))).pixels.values, GREY * np.uint16(257)
    )


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        (Reason.CORRUPT_HEADER, {"t256": (SHORT, [40, 41])}),
        (Reason.CORRUPT_HEADER, {"t257": (SHORT, [48, 12])}),
        (Reason.CORRUPT_HEADER, {"t262": (SHORT, [1, 2])}),
        (Reason.CORRUPT_HEADER, {"t277": (SHORT, [1, 3])}),
        (Reason.UNSUPPORTED_PIXELS, {"t258": (SHORT, [8, 16])}),
        (Reason.CORRUPT_HEADER, {**PALETTE, "t320": (SHORT, [9] * 256)}),
        (Reason.CORRUPT_HEADER, {**PALETTE, "t320": (SHORT, [9] * 767)}),
        (Reason.CORRUPT_HEADER, {**PALETTE, "t320": (LONG, [70000] * 768)}),
        (Reason.CORRUPT_HEADER, {**PALETTE, "t277": (SHORT, [3])}),
    ],
)
def test_tiff_fields_of_odd_counts_and_types(
    read_bytes: Any, expected: Reason, fields: dict[str, tuple[int, list[int]]]
) -> None:
    assert reason(read_bytes(tiff(GREY, **fields))) is expected


def test_a_field_that_repeats_its_value_ends_as_a_row(read_bytes: Any) -> None:
    """What the header says is certain; libtiff refuses some of these, and reads others."""
    for fields in ({"t256": (SHORT, [40, 40])}, {"t257": (LONG, [48, 48])}, {"t258": (SHORT, [8, 8])}):
        result = read_bytes(tiff(GREY, **fields))
        assert isinstance(result, Film) or result.reason is Reason.CORRUPT_PIXELS


def test_a_palette_index_out_of_range(read_bytes: Any) -> None:
    """BitsPerSample stands there twice: libtiff believes the first one, we the last."""
    data = tiff(VALUES, t258=(SHORT, [16]), **PALETTE)
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    entries = [data[place : place + 12] for place in range(at + 2, at + 2 + 12 * count, 12)]
    bits = next(place for place, entry in enumerate(entries) if entry.startswith(struct.pack("<H", 258)))
    entries.insert(bits + 1, entries[bits][:8] + struct.pack("<I", 8))
    directory = struct.pack("<H", count + 1) + b"".join(entries) + bytes(4)
    contradicted = data[:4] + struct.pack("<I", len(data)) + data[8:] + directory
    assert reason(read_bytes(contradicted)) is Reason.CORRUPT_PIXELS


# ── DICOM ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint32, np.int32])
def test_colour_code_streams_that_are_signed_or_deep(read_bytes: Any, dtype: type) -> None:
    samples = RGB.astype(dtype)
    frame = imagecodecs.jpeg2k_encode(samples, level=0, reversible=True, codecformat="j2k", mct=False)
    for photometric in ("RGB", "YBR_FULL", "YBR_RCT"):
        data = dicom_file(
            RGB, JPEG2000Lossless, bits_stored=8, frame=bytes(frame),
            SamplesPerPixel=3, PhotometricInterpretation=photometric, PlanarConfiguration=0,
        )  # fmt: skip
        assert reason(read_bytes(data)) is Reason.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("rows", "columns"), [(48, 40), (48, 41), (49, 40), (49, 41)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pairs_of_ybr_full_422_run_over_the_ends_of_rows(
    read_bytes: Any, syntax: str, rows: int, columns: int, dtype: type
) -> None:
    luma = film_values(rows, columns, bits=8).astype(dtype)
    flat = np.append(luma.ravel(), luma.ravel()[-1:])[: rows * columns + rows * columns % 2]
    neutral = np.full((len(flat) // 2, 2), 1 << (8 * luma.itemsize - 1), dtype)
    stored = np.hstack([flat.reshape(-1, 2), neutral])
    frame = stored.astype(stored.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")).tobytes()
    for cut in (0, 2 * luma.itemsize * (rows * columns % 2)):
        data = dicom_file(
            luma, syntax, bits_stored=8 * luma.itemsize, frame=frame[: len(frame) - cut],
            SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0,
        )  # fmt: skip
        np.testing.assert_array_equal(film(read_bytes(data)).pixels.values, luma)


def test_rows_of_ybr_full_422_that_were_filled_up_are_not_sheared(read_bytes: Any) -> None:
    luma = film_values(48, 41, bits=8).astype(np.uint8)
    data = dicom_file(
        luma, bits_stored=8, frame=bytes(48 * 42 * 2),
        SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=0,
    )  # fmt: skip
    assert reason(read_bytes(data)) is Reason.CORRUPT_PIXELS


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"])
def test_a_retired_syntax_that_cannot_be_decoded(read_bytes: Any, syntax: str) -> None:
    broken = bytearray(imagecodecs.jpeg8_encode(GREY, level=90))
    at = broken.index(b"\xff\xc4")
    broken[at + 4 : at + 30] = b"\xff" * 26
    assert reason(read_bytes(dicom_file(GREY, syntax, bits_stored=8, frame=bytes(broken)))) in (
        Reason.CORRUPT_PIXELS,
        Reason.CORRUPT_HEADER,
    )


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────


def no_memory(*_: Any, **__: Any) -> Any:
    raise MemoryError


def no_memory_in_opencv(*_: Any, **__: Any) -> Any:
    error = cv2.error("(-4:Insufficient memory) Failed to allocate 123 bytes")
    error.code = cv2.Error.StsNoMem
    raise error


def test_a_codec_without_memory_is_no_broken_file(read_bytes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dicom_file(VALUES, JPEG2000Lossless)
    with monkeypatch.context() as patch:
        patch.setattr(codecs.imagecodecs, "jpeg2k_decode", no_memory)
        with pytest.raises(MemoryError):
            read_bytes(data)
    monkeypatch.setitem(pictures._DECODERS, pictures.Kind.PNG, no_memory)
    with pytest.raises(MemoryError):
        read_bytes(bytes(imagecodecs.png_encode(GREY)))


def test_a_shortcut_without_memory_is_not_decoded_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    aim = reduced.Aim(32, DecodePolicy(frozenset(Shortcut)))
    large = film_values(509, 515)
    jpeg = bytes(imagecodecs.jpeg8_encode((large >> 4).astype(np.uint8)))
    frame = encoded(large, JPEG2000Lossless)
    by_jpeg = partial(reduced.scaled_jpeg, jpeg, aim)
    by_jpeg_2000 = partial(reduced.reduced_frame, frame, JPEG2000Lossless, _header(large), aim)
    for where, name, function, calls in (
        (reduced.Image, "open", no_memory, [by_jpeg_2000]),
        (simplejpeg, "decode_jpeg", no_memory, [by_jpeg]),
        (reduced.cv2, "warpAffine", no_memory_in_opencv, [by_jpeg, by_jpeg_2000]),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, function)
            for call in calls:
                with pytest.raises(MemoryError):
                    call()


def _header(values: NDArray[Any]) -> Any:
    rows, columns = values.shape
    return codecs.PixelHeader(rows, columns, 1, "MONOCHROME2", False, 16, 12, 11, False, 1)


@pytest.mark.parametrize("function", ["LUT", "resize", "createCLAHE"])
def test_opencv_without_memory_says_so(
    monkeypatch: pytest.MonkeyPatch, read_bytes: Any, function: str
) -> None:
    pixels = film(read_bytes(dicom_file(VALUES, WindowCenter=2000, WindowWidth=3000))).pixels
    monkeypatch.setattr(square.cv2, function, no_memory_in_opencv)
    with pytest.raises(MemoryError):
        square_from_pixels(pixels, PreprocessSpec(size=32))


def test_colours_without_memory_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup.cv2, "cvtColor", no_memory_in_opencv)
    with pytest.raises(MemoryError):
        lookup.grey_from_rgb(RGB)


def test_other_complaints_of_opencv_stay_what_they_are() -> None:
    with pytest.raises(cv2.error), square.memory_errors_from_opencv():
        cv2.cvtColor(GREY.astype(np.int8), cv2.COLOR_RGB2GRAY)


DEEP = film_values(120, 100)
SIGNED = (DEEP.astype(np.int16) - 2048).astype(np.int16)
ON_BOTH_SIDES = (
    ExplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
)


@pytest.mark.parametrize("syntax", ON_BOTH_SIDES)
def test_unsigned_values_that_are_told_to_be_signed(read_bytes: Any, syntax: str) -> None:
    padded = DEEP.copy()
    padded[:, :20] = 4000
    for tags in ({"WindowCenter": 2048, "WindowWidth": 4096}, {}, {"PixelPaddingValue": 4000}):
        right = film(read_bytes(dicom_file(padded, syntax, **tags)))
        found = film(read_bytes(dicom_file(padded, syntax, PixelRepresentation=1, **tags)))
        assert set(found.warnings) - set(right.warnings) == {Warn.SIGN_CONTRADICTED}
        np.testing.assert_array_equal(greys(found), greys(right))


@pytest.mark.parametrize("syntax", ON_BOTH_SIDES)
@pytest.mark.parametrize("top", [0xFFF, 0xFFFF])
def test_signed_values_that_are_told_to_be_unsigned(read_bytes: Any, syntax: str, top: int) -> None:
    """In the stored bits alone, or with the sign in all of the cell."""
    cells = SIGNED.view(np.uint16) & np.uint16(top)
    window = {"WindowCenter": 0, "WindowWidth": 4096}
    padding = {"PixelPaddingValue": -2000}, {"PixelPaddingValue": 65536 - 2000}
    for told, tags in ((window, window), ({}, {}), padding):
        right = film(read_bytes(dicom_file(SIGNED, **told)))
        found = film(read_bytes(dicom_file(cells, syntax, **tags)))
        assert set(found.warnings) - set(right.warnings) == {Warn.SIGN_CONTRADICTED}
        np.testing.assert_array_equal(greys(found), greys(right))


def test_films_on_one_side_of_half_the_range_are_what_their_header_says(read_bytes: Any) -> None:
    for values in (DEEP >> 1, (DEEP >> 1) + 2048, SIGNED >> 1, np.zeros_like(DEEP), DEEP, SIGNED):
        assert Warn.SIGN_CONTRADICTED not in film(read_bytes(dicom_file(values))).warnings
    more = dicom_file(DEEP, bits_stored=10)
    np.testing.assert_array_equal(film(read_bytes(more)).pixels.values, DEEP)


def test_edges_of_borders_say_nothing_of_signs(read_bytes: Any) -> None:
    bright = 2200 + DEEP // 3
    for border, inside in ((0, bright), (7, bright), (0, np.where(DEEP > 1000, 3900, 4000)), (1900, bright)):
        values = np.full((200, 180), border, np.uint16)
        values[40:160, 40:140] = inside
        found = film(read_bytes(dicom_file(values)))
        np.testing.assert_array_equal(found.pixels.values, values)
        assert Warn.SIGN_CONTRADICTED not in found.warnings


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("has_jfif", [True, False])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422"])
def test_ycbcr_that_is_called_rgb(
    read_bytes: Any, subsampling: str, has_jfif: bool, photometric: str
) -> None:
    """JFIF's, or with subsampled chroma; where neither is so, RGB is what DICOM says."""
    grey = (film_values(120, 100) >> 4).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([grey] * 3)).save(buffer, "JPEG", quality=95, subsampling=subsampling)
    whole = buffer.getvalue()
    assert whole[2:4] == b"\xff\xe0"
    comment = b"\xff\xfe" + struct.pack(">H", 9) + b"Adobe \0"
    frame = whole[:2] + comment + whole[2 if has_jfif else 20 :]
    if not has_jfif and subsampling == "4:4:4" and photometric == "RGB":
        return
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": photometric, "PlanarConfiguration": 0}
    rgb = np.dstack([grey] * 3)
    found = film(read_bytes(dicom_file(rgb, JPEGBaseline8Bit, bits_stored=8, frame=frame, **tags)))
    assert np.abs(found.pixels.values.astype(int) - grey).max() < 16


def test_rgb_in_a_jpeg_that_does_not_say_so(read_bytes: Any) -> None:
    rgb = np.dstack([GREY, GREY[::-1], GREY])
    whole = bytes(imagecodecs.jpeg8_encode(rgb, level=98, colorspace="RGB", outcolorspace="RGB"))
    at = whole.index(b"\xff\xee")
    frame = whole[:at] + whole[at + 2 + struct.unpack_from(">H", whole, at + 2)[0] :]
    assert b"Adobe" not in frame
    assert b"JFIF" not in frame
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    found = film(read_bytes(dicom_file(rgb, JPEGBaseline8Bit, bits_stored=8, frame=frame, **tags)))
    luminance = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    assert np.abs(found.pixels.values.astype(int) - luminance).max() < 8


def rle(segments: list[bytes], places: list[int]) -> bytes:
    return struct.pack("<16I", len(segments), *places, *[0] * (15 - len(segments))) + b"".join(segments)


def test_zeros_behind_the_segments_of_rle(read_bytes: Any) -> None:
    whole = encoded(DEEP, RLELossless)
    first, second = struct.unpack_from("<2I", whole, 4)
    high, low = whole[first:second], whole[second:]
    frames = [whole + bytes(n) for n in (1, 2, 3, 16, 1000)]
    frames += [rle([high + bytes(n), low], [64, 64 + len(high) + n]) for n in (2, 5)]
    frames += [rle([high + bytes(2), low], [64, 66 + len(high)]), rle([low, high], [64 + len(low), 64])]
    for frame in frames:
        found = film(read_bytes(dicom_file(DEEP, RLELossless, frame=frame)))
        np.testing.assert_array_equal(found.pixels.values, DEEP)
    for frame in (whole + b"ab", whole[:-300], whole[:-300] + bytes(300), rle([low], [64]), whole[:40]):
        broken = read_bytes(dicom_file(DEEP, RLELossless, frame=frame))
        assert isinstance(broken, Unscreened)
        assert broken.reason is Reason.CORRUPT_PIXELS


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1, JPEG2000Lossless])
def test_a_handful_of_pixels_beyond_the_stored_bits_is_not_the_films(read_bytes: Any, syntax: str) -> None:
    values = film_values(150, 131)
    whole = film(read_bytes(dicom_file(values, syntax)))
    for row in (30, 33):
        hot = values.copy()
        hot[row, 7] = 65535
        found = film(read_bytes(dicom_file(hot, syntax)))
        assert np.median(greys(found)) == pytest.approx(np.median(greys(whole)), rel=0.25)
    for rows in (slice(1), slice(149, 150), slice(60)):
        junk = values.copy()
        junk[rows] |= 0x7000
        np.testing.assert_array_equal(greys(film(read_bytes(dicom_file(junk, syntax)))), greys(whole))


@pytest.mark.parametrize("signed", [0, 1])
def test_a_stream_of_fewer_bits_than_the_header_says(read_bytes: Any, signed: int) -> None:
    grey = (DEEP >> 4).astype(np.uint8)
    data = dicom_file(
        DEEP, JPEG2000Lossless, frame=encoded(grey, JPEG2000Lossless), PixelRepresentation=signed
    )
    film(read_bytes(data))


def test_a_window_for_more_bits_than_the_stream_has(read_bytes: Any) -> None:
    """It would show a film that is nearly black."""
    grey = (DEEP >> 4).astype(np.uint8)
    frame = encoded(grey, JPEG2000Lossless)
    plain = film(read_bytes(dicom_file(DEEP, JPEG2000Lossless, frame=frame)))
    beyond = dicom_file(DEEP, JPEG2000Lossless, frame=frame, WindowCenter=2048, WindowWidth=4096)
    found = film(read_bytes(beyond))
    assert Warn.BAD_WINDOW in found.warnings
    np.testing.assert_array_equal(greys(found), greys(plain))
    several = dicom_file(
        DEEP, JPEG2000Lossless, frame=frame, WindowCenter=[2048, 128], WindowWidth=[4096, 256]
    )
    fits = dicom_file(DEEP, JPEG2000Lossless, frame=frame, WindowCenter=128, WindowWidth=256)
    assert Warn.BAD_WINDOW not in film(read_bytes(fits)).warnings
    np.testing.assert_array_equal(greys(film(read_bytes(several))), greys(film(read_bytes(fits))))
    other = several.replace(b"128 ", b"120 ").replace(b"\\128", b"\\120")
    assert other != several
    assert film(read_bytes(other)).pixel_digest != film(read_bytes(several)).pixel_digest


def greys(found: Film) -> NDArray[Any]:
    return found.pixels.lookup[found.pixels.values]
