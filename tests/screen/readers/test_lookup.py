"""The lookup from stored values to grey: what the standard says, to the bit where a promise needs it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from screen.codes import Warn
from screen.readers.header import SMALLEST, LookupHeader, PixelHeader, Table, lookup_header_from_tags
from screen.readers.lookup import full_range_lookup, lookup_from_header
from screen.readers.tags import Tags
from tests.phantoms import film_values

VALUES = film_values(40, 36)
WHITE = 65535


def px(bits_stored: int = 12, signed: bool = False) -> PixelHeader:
    return PixelHeader(40, 36, 1, "MONOCHROME2", False, 16, bits_stored, bits_stored - 1, signed, 1)


def table(
    header: LookupHeader, bits: int = 12, signed: bool = False, values: NDArray[Any] = VALUES
) -> NDArray[Any]:
    return lookup_from_header(values, px(bits, signed), header).table


def test_full_range_is_exact() -> None:
    np.testing.assert_array_equal(full_range_lookup(8), np.arange(256) * 257)
    np.testing.assert_array_equal(full_range_lookup(16), np.arange(65536))
    twelve = full_range_lookup(12)
    assert (twelve[0], twelve[4095], twelve[65535]) == (0, WHITE, WHITE)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -1000), (-1, 4095), (0.5, 10)])
def test_windows_agree_with_pydicom(function: str, slope: float, intercept: float) -> None:
    ds = Dataset()
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = 1500, 1800, function
    ds.PhotometricInterpretation, ds.BitsStored, ds.PixelRepresentation = "MONOCHROME2", 12, 0
    stored = np.arange(4096, dtype=np.uint16)
    theirs = apply_voi_lut(apply_modality_lut(stored, ds), ds)
    # Their output range is that of the rescaled values, turned around where the slope is negative.
    black, white = intercept, 4095 * slope + intercept
    expected = (theirs - black) / (white - black) * WHITE
    ours = table(lookup_header_from_tags(Tags(ds), px()))[:4096]
    np.testing.assert_allclose(ours, expected, atol=1)


@settings(max_examples=200, deadline=None)
@given(
    bits=st.integers(2, 16),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    centre=st.decimals(-5000, 70000, places=3),
    width=st.decimals(1, 70000, places=3),
    slope=st.sampled_from([1.0, 2.0, 0.25]),
)
def test_a_mirrored_film_has_the_mirrored_table(
    bits: int, function: str, centre: Any, width: Any, slope: float
) -> None:
    top = (1 << bits) - 1
    values = (VALUES.astype(np.int64) * top // 4095).astype(np.uint16)
    # LINEAR has its middle half a value below the centre (C.11.2.1.2.1), the other functions have not.
    other = (top + (1 / slope if function == "LINEAR" else 0)) * slope - float(centre)
    plain = LookupHeader(False, (slope, 0.0), window=(float(centre), float(width)), function=function)
    mirrored = LookupHeader(True, (slope, 0.0), window=(other, float(width)), function=function)
    one = table(plain, bits, values=values)[: top + 1]
    reflected = table(mirrored, bits, values=(top - values).astype(np.uint16))[: top + 1]
    np.testing.assert_array_equal(reflected[::-1], one)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_without_a_window_the_mirror_holds_too(bits: int) -> None:
    top = (1 << bits) - 1
    values = film_values(40, 36, bits)
    one = table(LookupHeader(False), bits, values=values)[values]
    np.testing.assert_array_equal(table(LookupHeader(True), bits, values=top - values)[top - values], one)


def test_wider_stored_bits_keep_the_table() -> None:
    header = LookupHeader(False, window=(2000.0, 3000.0))
    np.testing.assert_array_equal(table(header, 12)[:4096], table(header, 16)[:4096])


def test_signed_values() -> None:
    header = LookupHeader(False, window=(0.0, 2000.0))
    shifted = table(header, 12, signed=True)
    assert shifted[2048 - 1001] == 0
    assert abs(int(shifted[2048]) - WHITE // 2) < 40
    assert shifted[2048 + 1001] == WHITE


def test_a_window_of_width_one_is_a_threshold() -> None:
    grey = table(LookupHeader(False, window=(2000.0, 1.0)))
    assert (grey[1999], grey[2000]) == (0, WHITE)


def test_no_window() -> None:
    eight = lookup_from_header((VALUES >> 4).astype(np.uint8), px(8), LookupHeader(False))
    np.testing.assert_array_equal(eight.table, np.arange(256) * 257)
    assert eight.warnings == ()
    twelve = lookup_from_header(VALUES, px(), LookupHeader(False))
    assert (twelve.table[VALUES.min()], twelve.table[VALUES.max()]) == (0, WHITE)
    assert twelve.warnings == (Warn.NO_WINDOW,)


def test_a_negative_slope_inverts() -> None:
    grey = table(LookupHeader(False, rescale=(-1.0, 4095.0)))
    assert grey[VALUES.min()] == WHITE
    assert grey[VALUES.max()] == 0


@pytest.mark.parametrize(
    ("window", "function"),
    [
        ((2000.0, 0.5), "LINEAR"),
        ((2000.0, -5.0), "LINEAR"),
        ((2000.0, 0.0), "LINEAR_EXACT"),
        ((60000.0, 100.0), "LINEAR"),
        ((-9000.0, 100.0), "LINEAR"),
        ((2000.0, 1e9), "LINEAR"),
    ],
)
def test_a_window_that_shows_nothing_is_left_out(window: tuple[float, float], function: str) -> None:
    found = lookup_from_header(VALUES, px(), LookupHeader(False, window=window, function=function))
    assert found.warnings == (Warn.BAD_WINDOW,)
    np.testing.assert_array_equal(found.table, table(LookupHeader(False)))


def test_a_blank_film_is_not_the_windows_fault() -> None:
    flat = np.full((40, 36), 7, np.uint16)
    found = lookup_from_header(flat, px(), LookupHeader(False, window=(2000.0, 3000.0)))
    assert found.warnings == ()


def _lut(first: int, bits: int, entries: NDArray[np.uint16]) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) & 0xFFFF, first, bits])
    item.add_new("LUTData", "OW", entries.tobytes())
    return item


def test_tables_agree_with_pydicom() -> None:
    rng = np.random.default_rng(1)
    ds = Dataset()
    ds.ModalityLUTSequence = [_lut(100, 16, np.sort(rng.integers(0, 4096, 3000)).astype(np.uint16))]
    ds.VOILUTSequence = [_lut(50, 16, np.sort(rng.integers(0, 65536, 4000)).astype(np.uint16))]
    ds.PhotometricInterpretation, ds.BitsStored, ds.PixelRepresentation = "MONOCHROME2", 12, 0
    ds.set_original_encoding(False, True)
    header = lookup_header_from_tags(Tags(ds), px())
    expected = apply_voi_lut(apply_modality_lut(np.arange(4096, dtype=np.uint16), ds), ds)
    np.testing.assert_array_equal(table(header)[:4096], expected)
    assert not header.several
    ds.WindowCenter, ds.WindowWidth = 1, 2
    assert lookup_header_from_tags(Tags(ds), px()).several
    np.testing.assert_array_equal(table(lookup_header_from_tags(Tags(ds), px()))[:4096], expected)


def test_a_table_of_65536_entries_says_zero() -> None:
    ds = Dataset()
    ds.VOILUTSequence = [_lut(0, 16, np.arange(65536, dtype=np.uint16))]
    found = lookup_header_from_tags(Tags(ds), px(16))
    assert found.voi_table is not None
    assert len(found.voi_table.entries) == 65536


def test_a_table_that_is_too_short_is_left_out() -> None:
    ds = Dataset()
    item = _lut(0, 16, np.arange(16, dtype=np.uint16))
    item.LUTDescriptor = [4096, 0, 16]
    ds.VOILUTSequence = [item]
    assert lookup_header_from_tags(Tags(ds), px()).bad


def test_padding_is_black_after_polarity() -> None:
    for inverted in (False, True):
        header = LookupHeader(inverted, window=(2000.0, 3000.0), padding=(0, 10))
        assert not table(header)[:11].any()
        assert table(header)[11:].any()
    padded = VALUES.copy()
    padded[:5] = 4095
    grey = table(LookupHeader(False, padding=(4095, 4095)), values=padded)
    assert grey[VALUES[5:].max()] == WHITE
    assert grey[4095] == 0


def test_signed_padding() -> None:
    ds = Dataset()
    ds.add_new("PixelPaddingValue", "US", 0x8000)
    ds.add_new("PixelPaddingRangeLimit", "US", 0x8010)
    assert lookup_header_from_tags(Tags(ds), px(16, signed=True)).padding == (-32768, -32752)
    assert lookup_header_from_tags(Tags(ds), px(16)).padding == (0x8000, 0x8010)


@pytest.mark.parametrize(
    ("tags", "bad", "several", "window"),
    [
        ({"WindowCenter": [100, 200], "WindowWidth": [50, 60]}, False, True, (100.0, 50.0)),
        ({"WindowCenter": 100, "WindowWidth": 50}, False, False, (100.0, 50.0)),
        ({"WindowCenter": 100}, False, False, None),
        ({"WindowCenter": 100, "WindowWidth": "1e300"}, True, False, None),
        ({"WindowCenter": "1e-300", "WindowWidth": "1e300", "RescaleSlope": "1e-300"}, True, False, None),
        ({"WindowCenter": 100, "WindowWidth": 50, "RescaleSlope": 0}, True, False, None),
    ],
)
def test_header(tags: dict[str, Any], bad: bool, several: bool, window: tuple[float, float] | None) -> None:
    ds = Dataset()
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    found = lookup_header_from_tags(Tags(ds), px())
    assert (found.bad, found.several, found.window) == (bad, several, window)


_LEVELS = st.floats(-1 / SMALLEST, 1 / SMALLEST)


@settings(max_examples=150, deadline=None)
@given(
    bits=st.integers(1, 16),
    signed=st.booleans(),
    inverted=st.booleans(),
    rescale=st.tuples(_LEVELS.filter(lambda n: abs(n) >= SMALLEST), _LEVELS),
    window=st.none() | st.tuples(_LEVELS, _LEVELS),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    voi_table=st.none()
    | st.builds(Table, st.integers(-32768, 65535), st.integers(8, 16), st.just(VALUES[0])),
)
def test_no_header_brings_it_down(
    bits: int,
    signed: bool,
    inverted: bool,
    rescale: tuple[float, float],
    window: tuple[float, float] | None,
    function: str,
    voi_table: Table | None,
) -> None:
    header = LookupHeader(inverted, rescale, voi_table=voi_table, window=window, function=function)
    values = VALUES & np.uint16((1 << bits) - 1)
    found = lookup_from_header(values, px(bits, signed), header)
    assert found.table.shape == (65536,)
    assert found.table.dtype == np.uint16
