"""Greys that headers and formats say wrongly: each film is shown as it is, or with a warning."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset

from screen.codes import Warn
from screen.film import Film, Unscreened
from screen.preprocess import PreprocessSpec, square_from_pixels
from screen.readers.tags import Tags
from tests.phantoms import dicom_file, film, film_values, read_from_bytes
from tests.screen.readers.test_contradictions import LONG, SHORT, tiff

VALUES = film_values(96, 80)
GREY = (VALUES >> 4).astype(np.uint8)
RGB = np.dstack([GREY, GREY // 2, 255 - GREY])
SPEC = PreprocessSpec(size=64)


@pytest.fixture
def read_bytes(tmp_path: Path) -> Any:
    """Read a file that holds these bytes."""
    return lambda data: read_from_bytes(tmp_path, data)


def square(result: Film | Unscreened) -> NDArray[np.uint8]:
    made = square_from_pixels(film(result).pixels, SPEC)
    assert not made.blank
    return made.values


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean, in grey levels; CLAHE makes several of one here and there."""
    return float(np.abs(one.astype(int) - other).mean())


# ── wide cells, narrow values ────────────────────────────────────────────────────────────────────────────


def png(samples: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.png_encode(samples))


@pytest.mark.parametrize("bits", [8, 9, 12, 15])
def test_sixteen_bit_pictures_that_hold_fewer(read_bytes: Any, bits: int) -> None:
    values = film_values(96, 80, bits)
    expected = square(read_bytes(png(film_values(96, 80, 16))))
    for data in (png(values), tiff(values), png(np.dstack([values] * 3))):
        assert difference(square(read_bytes(data)), expected) < 3
    if bits == 8:
        eight = read_bytes(png(GREY))
        np.testing.assert_array_equal(square(read_bytes(png(GREY.astype(np.uint16)))), square(eight))


def test_white_is_zero_of_sixteen_bit_pictures_that_hold_eight(read_bytes: Any) -> None:
    data = tiff((255 - GREY).astype(np.uint16), t262=(SHORT, [0]))
    np.testing.assert_array_equal(square(read_bytes(data)), square(read_bytes(png(GREY))))


def test_palettes_of_tiff_that_hold_eight_bits(read_bytes: Any) -> None:
    narrow = tiff(GREY, t262=(SHORT, [3]), t320=(SHORT, list(range(256)) * 3))
    np.testing.assert_array_equal(square(read_bytes(narrow)), square(read_bytes(png(GREY))))


def test_colours_of_sixteen_bits_that_hold_eight(read_bytes: Any) -> None:
    wide = dicom_file(
        RGB.astype(np.uint16), bits_stored=16,
        SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
    )  # fmt: skip
    np.testing.assert_array_equal(square(read_bytes(wide)), square(read_bytes(png(RGB))))


def palette_film(declared: int, entries: NDArray[np.uint16]) -> bytes:
    tags: dict[str, Any] = {}
    for ink in ("Red", "Green", "Blue"):
        tags[f"{ink}PaletteColorLookupTableDescriptor"] = [256, 0, declared]
        tags[f"{ink}PaletteColorLookupTableData"] = entries.astype("<u2").tobytes()
    return dicom_file(GREY, bits_stored=8, PhotometricInterpretation="PALETTE COLOR", **tags)


@pytest.mark.parametrize(("declared", "factor"), [(8, 256), (8, 257), (16, 1), (8, 1), (16, 257)])
def test_palettes_whose_descriptor_says_other_bits(read_bytes: Any, declared: int, factor: int) -> None:
    entries = (np.arange(256) * factor).astype(np.uint16)
    expected = square(read_bytes(dicom_file(GREY, bits_stored=8)))
    assert difference(square(read_bytes(palette_film(declared, entries))), expected) < 0.2


# ── VOI LUTs and windows ─────────────────────────────────────────────────────────────────────────────────

CURVE = np.rint(255 / (1 + np.exp(-(np.arange(4096) - 2000) / 400))).astype(np.uint16)


def voi_lut(entries: NDArray[Any], declared: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, declared])
    item.add_new("LUTData", "OW", entries.tobytes())
    return item


def test_a_voi_lut_whose_descriptor_says_other_bits(read_bytes: Any) -> None:
    expected = read_bytes(dicom_file(VALUES, VOILUTSequence=[voi_lut(CURVE * 257, 16)]))
    for entries, declared in (
        (CURVE, 16),
        (CURVE, 12),
        (CURVE, 8),
        (CURVE.astype(np.uint8), 16),
        (CURVE * 257, 8),
        (CURVE * 16, 16),
    ):
        found = read_bytes(dicom_file(VALUES, VOILUTSequence=[voi_lut(entries, declared)]))
        assert film(found).warnings == ()
        assert difference(square(found), square(expected)) < 1


def test_a_voi_lut_that_was_cut_is_not_read_as_bytes(read_bytes: Any) -> None:
    wavy = (np.arange(4096) * 16).astype(np.uint16)[: 4096 // 2]
    found = film(read_bytes(dicom_file(VALUES, VOILUTSequence=[voi_lut(wavy, 16)])))
    assert found.warnings == (Warn.BAD_WINDOW,)


@pytest.mark.parametrize("level", ["NaN", "", "inf", "1e40", "abc", "-", "2000"])
def test_a_good_voi_lut_beside_a_broken_window(read_bytes: Any, level: str) -> None:
    tables = [voi_lut(CURVE * 257, 16)]
    expected = film(read_bytes(dicom_file(VALUES, VOILUTSequence=tables)))
    data = dicom_file(VALUES, VOILUTSequence=tables, WindowCenter="1234567", WindowWidth="1234567")
    found = film(read_bytes(data.replace(b"1234567 ", level.ljust(8).encode())))
    np.testing.assert_array_equal(found.pixels.lookup, expected.pixels.lookup)
    assert (Warn.BAD_WINDOW in found.warnings) == (level not in ("", "2000"))


def test_a_good_window_beside_a_broken_voi_lut(read_bytes: Any) -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    expected = film(read_bytes(dicom_file(VALUES, **window)))
    for entries in (CURVE[:7], np.zeros(4096, np.uint16)):
        found = film(read_bytes(dicom_file(VALUES, VOILUTSequence=[voi_lut(entries, 16)], **window)))
        np.testing.assert_array_equal(found.pixels.lookup, expected.pixels.lookup)
        assert Warn.BAD_WINDOW in found.warnings


@pytest.mark.parametrize("broken", [("NaN", "NaN"), ("2000", "0"), ("90000", "20"), ("x", "3000")])
def test_one_good_window_of_several(read_bytes: Any, broken: tuple[str, str]) -> None:
    good = film(read_bytes(dicom_file(VALUES, WindowCenter=2000, WindowWidth=3000)))
    levels = {"WindowCenter": ["1111111", "2000"], "WindowWidth": ["2222222", "3000"]}
    data = dicom_file(VALUES, **levels)
    for there, level in zip((b"1111111", b"2222222"), broken, strict=True):
        data = data.replace(there, level.rjust(7).encode())
    found = film(read_bytes(data))
    np.testing.assert_array_equal(found.pixels.lookup, good.pixels.lookup)
    assert found.warnings == (Warn.SEVERAL_WINDOWS, Warn.BAD_WINDOW)


def test_the_second_window_is_part_of_the_digest_where_it_is_used(read_bytes: Any) -> None:
    def digest(second: int, first: int) -> bytes:
        levels = {"WindowCenter": [first, second], "WindowWidth": [100, 3000]}
        return film(read_bytes(dicom_file(VALUES, **levels))).pixel_digest

    assert digest(2000, 2000) == digest(2500, 2000)
    assert digest(2000, 90000) != digest(2500, 90000)


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1800,5", 1800.5),
        ("-12,25", -12.25),
        ("0,125", 0.125),
        (",5", 0.5),
        ("1800,500", 1800.5),
        ("1,5e3", 1500.0),
        ("1,800", None),
        ("12,000", None),
        ("1,800,5", None),
        ("1.800,5", None),
        ("1,", None),
        ("NaN", None),
        ("1800.5", 1800.5),
    ],
)
def test_decimal_commas(read_bytes: Any, written: str, number: float | None) -> None:
    data = dicom_file(VALUES, WindowCenter="1234567", WindowWidth="3000")
    found = film(read_bytes(data.replace(b"1234567 ", written.ljust(8).encode())))
    if number is None:
        assert found.warnings == (Warn.BAD_WINDOW,)
    else:
        window = dicom_file(VALUES, WindowCenter=number, WindowWidth=3000)
        np.testing.assert_array_equal(found.pixels.lookup, film(read_bytes(window)).pixels.lookup)
        assert Warn.BAD_WINDOW not in found.warnings or number < 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=24))
def test_any_bytes_are_numbers_or_none(value: bytes) -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    raw = RawDataElement(Tag(0x00281050), "DS", len(value), value, 0, False, True)
    tags = Tags(Dataset({raw.tag: raw}))
    found = tags.numbers_or_none("WindowCenter")
    assert all(n is None or np.isfinite(n) for n in found)


# ── padding ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limits", [(0, 4095), (0, 65535), (300, 4000), (0, 2800)])
def test_padding_that_covers_the_picture(read_bytes: Any, limits: tuple[int, int]) -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 4000}
    expected = film(read_bytes(dicom_file(VALUES, **window)))
    data = dicom_file(VALUES, PixelPaddingValue=limits[0], PixelPaddingRangeLimit=limits[1], **window)
    found = film(read_bytes(data))
    np.testing.assert_array_equal(found.pixels.lookup, expected.pixels.lookup)
    assert found.warnings == (Warn.BAD_PADDING,)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_padding_of_one_value_may_cover_much(read_bytes: Any, share: float) -> None:
    padded = VALUES.copy()
    padded[: int(len(padded) * share)] = 7
    for limit in ({}, {"PixelPaddingRangeLimit": 20}):
        data = dicom_file(padded, PixelPaddingValue=7, WindowCenter=2000, WindowWidth=4000, **limit)
        found = film(read_bytes(data))
        assert found.warnings == ()
        assert found.pixels.lookup[7] == 0


def test_a_blank_film_is_not_the_paddings_fault(read_bytes: Any) -> None:
    flat = np.full_like(VALUES, 7)
    data = dicom_file(flat, PixelPaddingValue=0, PixelPaddingRangeLimit=9, WindowCenter=9, WindowWidth=9)
    assert Warn.BAD_PADDING not in film(read_bytes(data)).warnings


# ── further channels ─────────────────────────────────────────────────────────────────────────────────────


def test_a_second_picture_is_no_transparency(read_bytes: Any) -> None:
    expected = square(read_bytes(png(GREY)))
    for second in (GREY[::-1], GREY, np.full_like(GREY, 128), np.zeros_like(GREY)):
        for samples in (np.dstack([GREY, second]), np.dstack([GREY] * 3 + [second])):
            found = film(read_bytes(png(samples)))
            np.testing.assert_array_equal(square(found), expected)
            assert found.warnings == (Warn.CHANNEL_IGNORED,)


def test_transparency_that_hides_a_picture_is_ignored(read_bytes: Any) -> None:
    alpha = np.zeros_like(GREY)
    alpha[30:50, 20:40] = 255
    found = film(read_bytes(png(np.dstack([GREY, alpha]))))
    np.testing.assert_array_equal(found.pixels.values, GREY)
    assert found.warnings == (Warn.CHANNEL_IGNORED,)
    cut_out = np.where(alpha, GREY, np.uint8(255))
    found = film(read_bytes(png(np.dstack([cut_out, alpha]))))
    np.testing.assert_array_equal(found.pixels.values, np.where(alpha, GREY, 0))
    assert found.warnings == ()


EXTRA = {"t277": (SHORT, [2]), "t258": (SHORT, [8, 8]), "t279": (LONG, [2 * GREY.size])}


@pytest.mark.parametrize("kind", [None, 0, 1, 2])
def test_what_a_second_sample_of_tiff_is(read_bytes: Any, kind: int | None) -> None:
    alpha = np.full_like(GREY, 255)
    alpha[:20] = 0
    fields = EXTRA if kind is None else {**EXTRA, "t338": (SHORT, [kind])}
    found = film(read_bytes(tiff(np.dstack([GREY, alpha]), **fields)))
    expected = np.where(alpha, GREY, 0) if kind == 2 else GREY
    np.testing.assert_array_equal(found.pixels.values, expected)
    assert found.warnings == (() if kind in (1, 2) else (Warn.CHANNEL_IGNORED,))


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────


def pages(*each: tuple[NDArray[Any], int]) -> bytes:
    """A TIFF of several pages: samples, and NewSubfileType."""
    found = b"II*\0\0\0\0\0"
    link = 4
    for samples, subfile in each:
        found += b"\0" * (len(found) % 2)
        start = len(found)
        page = tiff(samples, t254=(LONG, [subfile]), t273=(LONG, [start + 8]))
        at = int.from_bytes(page[4:8], "little")
        found = found[:link] + (start + at).to_bytes(4, "little") + found[link + 4 :] + page
        link = start + at + 2 + 12 * int.from_bytes(page[at : at + 2], "little")
    return found


SMALL = np.ascontiguousarray(GREY[::2, ::2])


@pytest.mark.parametrize(
    ("each", "several"),
    [
        ([(SMALL, 1), (GREY, 0)], False),
        ([(GREY, 0), (SMALL, 1)], False),
        ([(SMALL, 1), (SMALL, 5), (GREY, 2)], False),
        ([(SMALL, 1), (GREY, 0), (SMALL, 0)], True),
        ([(GREY, 1)], True),
    ],
)
def test_the_page_of_full_size_is_the_film(
    read_bytes: Any, each: list[tuple[NDArray[Any], int]], several: bool
) -> None:
    found = film(read_bytes(pages(*each)))
    np.testing.assert_array_equal(found.pixels.values, GREY)
    assert found.warnings == ((Warn.SEVERAL_FRAMES,) if several else ())


def test_pages_that_run_in_a_circle_end(read_bytes: Any) -> None:
    data = pages((SMALL, 1), (SMALL, 1))
    first = int.from_bytes(data[4:8], "little")
    data = data[:-4] + first.to_bytes(4, "little")
    assert isinstance(read_bytes(data), Film | Unscreened)
