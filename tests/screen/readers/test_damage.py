"""Compressed pixels with holes or lost ends are refused or warned of, and whole ones are not."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
)

from screen.codes import Reason, Warn
from screen.film import Film, Unscreened
from screen.readers import Aim, jpeg
from screen.readers.reduced import scaled_jpeg
from screen.readers.streams import check_packets, tile_parts
from screen.shortcuts import DecodePolicy, Shortcut
from tests.lossless_jpeg import lossless_jpeg
from tests.phantoms import dicom_file, encoded, film, film_values, read_from_bytes

VALUES = film_values(301, 259)
GREY = (VALUES >> 4).astype(np.uint8)
DEEP = film_values(150, 131, bits=16)
PROGRESSIVE = "1.2.840.10008.1.2.4.55"
CLOSED = b"\xff\xd9"


def grey_jpeg(values: NDArray[np.uint8] = GREY, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def twelve_bits(predictor: int = 0) -> bytes:
    if predictor:
        return bytes(imagecodecs.jpeg8_encode(VALUES, lossless=True, bitspersample=12, predictor=predictor))
    return bytes(imagecodecs.jpeg8_encode(VALUES, level=95, bitspersample=12))


STREAMS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "baseline": (JPEGBaseline8Bit, grey_jpeg),
    "optimised": (JPEGBaseline8Bit, lambda: grey_jpeg(optimize=True)),
    "restarts": (JPEGBaseline8Bit, lambda: grey_jpeg(restart_marker_rows=1)),
    "progressive": (PROGRESSIVE, lambda: grey_jpeg(progressive=True)),
    "12 bits": (JPEGExtended12Bit, twelve_bits),
    "lossless": (JPEGLosslessSV1, lambda: twelve_bits(1)),
    "lossless, restarts": (JPEGLosslessSV1, lambda: lossless_jpeg(VALUES, 12, 7)),
    "lossless, one interval a row": (JPEGLosslessSV1, lambda: lossless_jpeg(VALUES, 12, 1)),
    **{f"predictor {n}": (JPEGLossless, lambda n=n: twelve_bits(n)) for n in range(2, 8)},  # type: ignore[misc]
    "JPEG 2000": (JPEG2000Lossless, lambda: encoded(VALUES, JPEG2000Lossless)),
    "HTJ2K": (HTJ2KLossless, lambda: encoded(VALUES, HTJ2KLossless)),
}


def in_dicom(syntax: str, frame: bytes, values: NDArray[Any] | None = None) -> bytes:
    if values is None:
        values = GREY if syntax in (JPEGBaseline8Bit, PROGRESSIVE) else VALUES
    bits = {1: 8, 2: 16 if values is DEEP else 12}[values.itemsize]
    return dicom_file(values, syntax, bits_stored=bits, frame=frame)


def read(folder: Path, syntax: str, frame: bytes) -> Film | Unscreened:
    return read_from_bytes(folder, in_dicom(syntax, frame))


def refused(result: Film | Unscreened) -> bool:
    return isinstance(result, Unscreened) and result.reason in (Reason.CORRUPT_PIXELS, Reason.CORRUPT_HEADER)


@pytest.mark.parametrize("name", STREAMS)
def test_a_whole_stream_is_read_without_a_word(tmp_path: Path, name: str) -> None:
    syntax, make = STREAMS[name]
    result = film(read(tmp_path, syntax, make()))
    assert not set(result.warnings) - {Warn.NO_WINDOW}
    # Lossy ones are near.
    values = GREY if result.pixels.values.dtype == np.uint8 else VALUES
    assert np.abs(result.pixels.values.astype(int) - values).max() <= values.max() // 20


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("fill", ["zeros", "noise"])
def test_a_hole_is_noticed(tmp_path: Path, name: str, fill: str) -> None:
    syntax, make = STREAMS[name]
    whole = make()
    rng = Random(name)
    noticed = []
    for _ in range(20):
        at = rng.randrange(len(whole) // 5, len(whole) - 4096)
        hole = bytes(4096) if fill == "zeros" else rng.randbytes(4096)
        noticed.append(refused(read(tmp_path, syntax, whole[:at] + hole + whole[at + 4096 :])))
    assert sum(noticed) >= 19, noticed


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_was_cut_and_closed_is_refused(tmp_path: Path, name: str) -> None:
    syntax, make = STREAMS[name]
    whole = make()
    rng = Random(name)
    for _ in range(20):
        cut = whole[: rng.randrange(len(whole) // 5, len(whole) - 20)] + CLOSED
        assert refused(read(tmp_path, syntax, cut))


@pytest.mark.parametrize("name", STREAMS)
def test_what_stands_behind_the_end_marker_is_not_the_films(tmp_path: Path, name: str) -> None:
    syntax, make = STREAMS[name]
    expected = film(read(tmp_path, syntax, make())).pixels.values
    trailers = [b"\0" * 3, b"\0" * 300]
    if syntax not in (JPEG2000Lossless, HTJ2KLossless):
        trailers += [b"\xff\xda" + b"video \xff\xd8 of any bytes" * 40, grey_jpeg(GREY[:40, :40])]
    for trailer in trailers:
        assert np.array_equal(film(read(tmp_path, syntax, make() + trailer)).pixels.values, expected)


@pytest.mark.parametrize("rows_per_interval", [1, 2, 75, 149, 150])
def test_lossless_jpeg_with_restart_intervals_is_whole(tmp_path: Path, rows_per_interval: int) -> None:
    frame = lossless_jpeg(DEEP, 16, rows_per_interval)
    result = film(read_from_bytes(tmp_path, in_dicom(JPEGLosslessSV1, frame, DEEP)))
    assert np.array_equal(result.pixels.values, DEEP)


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 16])
@pytest.mark.parametrize("columns", [1, 2, 8, 9, 33])
def test_small_and_odd_pictures_are_whole(rows: int, columns: int) -> None:
    values = film_values(40, 40)[:rows, :columns]
    for predictor in range(1, 8):
        lossless = imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=12, predictor=predictor)
        assert np.array_equal(jpeg.samples_from_jpeg(bytes(lossless))[0], values)
    lossy = bytes(imagecodecs.jpeg8_encode(values, level=95, bitspersample=12))
    assert np.array_equal(jpeg.samples_from_jpeg(lossy)[0], imagecodecs.jpeg8_decode(lossy))


@pytest.mark.parametrize("level", [0, 2047, 2048, 2049, 4095])
def test_blank_pictures_are_whole(level: int) -> None:
    values = np.full((64, 48), level, np.uint16)
    for options in ({"lossless": True, "predictor": 1}, {"lossless": True, "predictor": 7}, {"level": 95}):
        stream = bytes(imagecodecs.jpeg8_encode(values, bitspersample=12, **options))
        assert np.abs(jpeg.samples_from_jpeg(stream)[0].astype(int) - level).max() <= 1


@pytest.mark.parametrize("level", [0, 2048, 4095])
@pytest.mark.parametrize("sides", ["below", "right", "above", "below and right"])
def test_a_flat_border_is_whole_and_one_that_is_lost_is_noticed(level: int, sides: str) -> None:
    """Zero bits, as libjpeg makes them up, and the grey that it leaves."""
    values = VALUES.copy()
    if "below" in sides:
        values[200:] = level
    if "right" in sides:
        values[:, 150:] = level
    if sides == "above":
        values[:100] = level
    for predictor in range(8):
        options: dict[str, Any] = {"lossless": True, "predictor": predictor} if predictor else {"level": 95}
        whole = bytes(imagecodecs.jpeg8_encode(values, bitspersample=12, **options))
        decoded = imagecodecs.jpeg8_decode(whole)
        assert np.array_equal(jpeg.samples_from_jpeg(whole)[0], decoded)
        for share in (0.3, 0.6, 0.9, 0.99):
            cut = whole[: int(len(whole) * share)] + CLOSED
            # Where only grey was lost, nothing was.
            if not np.array_equal(imagecodecs.jpeg8_decode(cut), decoded):
                with pytest.raises(jpeg.Refusal):
                    jpeg.samples_from_jpeg(cut)


def test_a_large_black_border_is_no_hole(tmp_path: Path) -> None:
    bordered = np.zeros((2000, 1500), np.uint8)
    bordered[:301, :259] = GREY
    for options in ({"progressive": True}, {"optimize": True}, {}):
        assert not film(read_from_bytes(tmp_path, grey_jpeg(bordered, **options))).warnings


@pytest.mark.parametrize("missing", [-200, -20, 1, 20, 200])
def test_lossless_data_of_another_length_are_noticed(missing: int) -> None:
    """As many differences too few, or too many."""
    count = 100 * 131 - missing
    line = np.resize(DEEP[:, :131].reshape(-1), count).reshape(1, -1)
    stream = lossless_jpeg(line, 16, 1)
    size, interval = stream.index(b"\xff\xc3") + 5, stream.index(b"\xff\xdd")
    claims = (
        stream[:size] + struct.pack(">HH", 100, 131) + stream[size + 4 : interval] + stream[interval + 6 :]
    )
    with pytest.raises(jpeg.Refusal, match="end before or behind"):
        jpeg.samples_from_jpeg(claims)


def test_a_missing_restart_marker_is_noticed() -> None:
    frame = lossless_jpeg(VALUES, 12, 7)
    gone = frame.index(b"\xff\xd3"), frame.index(b"\xff\xd4")
    with pytest.raises(jpeg.Refusal, match="restart marker"):
        jpeg.samples_from_jpeg(frame[: gone[0]] + frame[gone[1] :])


def test_zeros_that_fill_a_word_up_cost_no_pixel(tmp_path: Path) -> None:
    whole = grey_jpeg()
    for count in (1, 2, 3):
        filled_up = whole[:-2] + bytes(count) + CLOSED
        result = film(read_from_bytes(tmp_path, filled_up))
        assert np.array_equal(result.pixels.values, imagecodecs.jpeg8_decode(whole))
    assert refused(read_from_bytes(tmp_path, whole[:-2] + bytes(40) + CLOSED))


def test_a_segment_of_an_application_that_breaks_a_rule_costs_a_warning(tmp_path: Path) -> None:
    whole = grey_jpeg()
    unknown_version = whole.replace(b"JFIF\0\x01", b"JFIF\0\x09", 1)
    result = film(read_from_bytes(tmp_path, unknown_version))
    assert result.warnings == (Warn.STREAM_REPAIRED,)
    assert np.array_equal(result.pixels.values, imagecodecs.jpeg8_decode(whole))


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_colour_pictures_are_judged_as_well(tmp_path: Path, mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(GREY).convert(mode).save(buffer, "JPEG", quality=95)
    whole = buffer.getvalue()
    assert not isinstance(read_from_bytes(tmp_path, whole), Unscreened)
    assert refused(read_from_bytes(tmp_path, whole[: len(whole) // 2] + CLOSED))


def test_a_scaled_jpeg_with_a_hole_is_noticed(tmp_path: Path) -> None:
    aim = Aim(16, DecodePolicy(frozenset({Shortcut.SCALED_JPEG})))
    whole = grey_jpeg()
    assert scaled_jpeg(whole, aim) is not None
    middle = len(whole) // 2
    assert scaled_jpeg(whole[:middle] + bytes(4096) + whole[middle + 4096 :], aim) is None
    assert scaled_jpeg(whole[:middle] + CLOSED, aim) is None


def test_the_last_tile_part_may_leave_its_length_open(tmp_path: Path) -> None:
    whole = encoded(VALUES, JPEG2000Lossless)
    part = whole.index(b"\xff\x90\0\x0a")
    open_ended = whole[: part + 6] + bytes(4) + whole[part + 10 :]
    assert np.array_equal(film(read(tmp_path, JPEG2000Lossless, open_ended)).pixels.values, VALUES)


def test_a_tile_that_is_missing_is_noticed(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(VALUES).save(buffer, "JPEG2000", tile_size=(128, 128), no_jp2=True)
    whole = buffer.getvalue()
    parts = [at for at in range(len(whole)) if whole.startswith(b"\xff\x90\0\x0a", at)]
    assert len(parts) > 4
    expected = imagecodecs.jpeg2k_decode(whole)
    assert np.array_equal(film(read(tmp_path, JPEG2000Lossless, whole)).pixels.values, expected)
    assert refused(read(tmp_path, JPEG2000Lossless, whole[: parts[3]] + whole[parts[4] :]))
    assert refused(read(tmp_path, JPEG2000Lossless, whole[: parts[3]] + CLOSED))


def test_zeros_in_a_webp_picture_are_warned_of(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    for options in ({"quality": 95}, {"lossless": True}):
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "WEBP", **options)
        whole = buffer.getvalue()
        middle = len(whole) // 2
        assert Warn.PERHAPS_DAMAGED not in film(read_from_bytes(tmp_path, whole)).warnings
        result = read_from_bytes(tmp_path, whole[:middle] + bytes(4096) + whole[middle + 4096 :])
        assert refused(result) or Warn.PERHAPS_DAMAGED in film(result).warnings


TIFFS = ("tiff_adobe_deflate", "tiff_deflate", "packbits", "tiff_lzw")


def tiff(compression: str, values: NDArray[Any] = GREY) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF", compression=compression)
    return buffer.getvalue()


@pytest.mark.parametrize("compression", TIFFS)
def test_a_damaged_tiff_is_refused_and_a_whole_one_is_not(tmp_path: Path, compression: str) -> None:
    for values in (GREY, DEEP, np.zeros((2, 3000), np.uint8), np.dstack([GREY] * 3), np.dstack([GREY] * 4)):
        assert np.array_equal(imagecodecs.tiff_decode(tiff(compression, values)), values)
        assert not refused(read_from_bytes(tmp_path, tiff(compression, values)))
    whole = tiff(compression)
    rng = Random(compression)
    for _ in range(20):
        at = rng.randrange(len(whole) // 5, len(whole) - 4096 - 1000)
        hole = rng.choice([bytes(4096), rng.randbytes(4096)])
        assert refused(read_from_bytes(tmp_path, whole[:at] + hole + whole[at + 4096 :]))


def test_a_flipped_bit_in_a_deflated_tiff_is_noticed(tmp_path: Path) -> None:
    whole = tiff("tiff_adobe_deflate")
    rng = Random(1)
    for _ in range(60):
        at = rng.randrange(8, len(whole) - 1000)
        flipped = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
        assert refused(read_from_bytes(tmp_path, flipped))


@pytest.mark.parametrize("options", [{}, {"tile": (64, 48)}, {"rowsperstrip": 7}, {"planarconfig": 2}])
@pytest.mark.parametrize("compression", ["deflate", "packbits"])
def test_tiffs_of_other_layouts_are_whole(tmp_path: Path, compression: str, options: dict[str, Any]) -> None:
    values = np.moveaxis(np.dstack([GREY] * 3), -1, 0) if "planarconfig" in options else GREY
    data = imagecodecs.tiff_encode(values, compression=compression, **options)
    assert not refused(read_from_bytes(tmp_path, bytes(data)))


def test_a_deflated_data_set_with_a_hole_is_noticed(tmp_path: Path) -> None:
    """It has no checksum: what is noticed is that it is longer or shorter than its pixels."""
    whole = dicom_file(VALUES, DeflatedExplicitVRLittleEndian)
    assert not isinstance(read_from_bytes(tmp_path, whole), Unscreened)
    padded = dicom_file(VALUES, DeflatedExplicitVRLittleEndian, DataSetTrailingPadding=bytes(64))
    assert not isinstance(read_from_bytes(tmp_path, padded), Unscreened)
    rng = Random(3)
    noticed = []
    for _ in range(40):
        at = rng.randrange(len(whole) // 5, len(whole) - 4096)
        hole = rng.choice([bytes(4096), rng.randbytes(4096)])
        result = read_from_bytes(tmp_path, whole[:at] + hole + whole[at + 4096 :])
        noticed.append(isinstance(result, Unscreened) or Warn.PIXELS_SHORT in result.warnings)
    assert sum(noticed) >= 38
    cut = len(whole) // 2
    assert isinstance(read_from_bytes(tmp_path, whole[:cut] + bytes(len(whole) - cut)), Unscreened)


# ── what an attacker found ───────────────────────────────────────────────────────────────────────────────


def judged(stream: bytes) -> NDArray[Any]:
    samples, warnings = jpeg.samples_from_jpeg(stream)
    assert not warnings
    return samples


@pytest.mark.parametrize("rows_per_interval", [1, 7, 43, 100, 150, 200])
@pytest.mark.parametrize("predictor", range(1, 8))
def test_restart_intervals_with_any_predictor_are_whole(rows_per_interval: int, predictor: int) -> None:
    assert np.array_equal(judged(lossless_jpeg(VALUES, 12, rows_per_interval, predictor)), VALUES)


def test_a_hole_within_a_restart_interval_is_noticed() -> None:
    whole = lossless_jpeg(VALUES, 12, 43)
    rng = Random(5)
    for _ in range(40):
        at = rng.randrange(len(whole) // 5, len(whole) - 400)
        hole = rng.choice([bytes(300), rng.randbytes(300)])
        with pytest.raises(jpeg.Refusal):
            jpeg.samples_from_jpeg(whole[:at] + hole + whole[at + 300 :])


def test_a_stream_that_was_cut_behind_an_interval_is_noticed() -> None:
    whole = lossless_jpeg(VALUES, 12, 43)
    for marker in (b"\xff\xd2", b"\xff\xd5"):
        with pytest.raises(jpeg.Refusal):
            jpeg.samples_from_jpeg(whole[: whole.index(marker)] + CLOSED)


def test_a_missing_end_marker_costs_a_warning(tmp_path: Path) -> None:
    for syntax, make in (
        STREAMS["baseline"],
        STREAMS["lossless"],
        STREAMS["12 bits"],
        STREAMS["progressive"],
    ):
        whole = make()
        result = film(read(tmp_path, syntax, whole[:-2]))
        assert Warn.STREAM_REPAIRED in result.warnings
        assert np.array_equal(result.pixels.values, film(read(tmp_path, syntax, whole)).pixels.values)
        assert refused(read(tmp_path, syntax, whole[: len(whole) // 2]))


def test_a_progressive_jpeg_without_its_last_scans_is_refused(tmp_path: Path) -> None:
    whole = grey_jpeg(progressive=True)
    scans = [at for at in range(len(whole)) if whole.startswith(b"\xff\xda", at)]
    assert len(scans) > 3
    for at in scans[1:]:
        # Tables of the next scan stand before it.
        cut = whole[: whole.rindex(b"\xff\xc4", 0, at)] + CLOSED
        assert refused(read_from_bytes(tmp_path, cut))


@pytest.mark.parametrize("lossless", [True, False])
def test_what_cannot_be_judged_is_warned_of(lossless: bool) -> None:
    colour = np.dstack([VALUES, VALUES // 2, VALUES])
    stream = bytes(imagecodecs.jpeg8_encode(colour, lossless=lossless, bitspersample=12))
    assert jpeg.samples_from_jpeg(stream)[1] == [Warn.PERHAPS_DAMAGED]


def test_numbered_packets_are_whole(tmp_path: Path) -> None:
    """SOP markers hold any number; behind it may stand any packet header."""
    whole = encoded(VALUES, JPEG2000Lossless)
    start, end = tile_parts(whole)[0]
    numbered = whole[: end - 8] + b"\xff\x91\0\4\1\xff\xfe\x80" + whole[end:]
    check_packets(numbered, [(start, end)])
    with pytest.raises(jpeg.Refusal):
        check_packets(whole[: end - 8] + b"\xff\xfe" * 4 + whole[end:], [(start, end)])


def test_a_comment_in_a_tile_part_may_hold_a_marker(tmp_path: Path) -> None:
    whole = encoded(VALUES, JPEG2000Lossless)
    part = whole.index(b"\xff\x90\0\x0a")
    comment = b"\xff\x64\0\x08\0\1\xff\x93\xff\x93"
    length = struct.pack(">I", struct.unpack_from(">I", whole, part + 6)[0] + len(comment))
    stream = whole[: part + 6] + length + whole[part + 10 : part + 12] + comment + whole[part + 12 :]
    assert np.array_equal(film(read(tmp_path, JPEG2000Lossless, stream)).pixels.values, VALUES)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless])
def test_any_bytes_behind_a_code_stream_are_not_the_films(tmp_path: Path, syntax: str) -> None:
    stream = encoded(VALUES, syntax) + b"anything"
    assert np.array_equal(film(read(tmp_path, syntax, stream)).pixels.values, VALUES)


def test_jpeg_in_tiff_is_judged(tmp_path: Path) -> None:
    whole = tiff("jpeg")
    assert not film(read_from_bytes(tmp_path, whole)).warnings
    rng = Random(7)
    noticed = []
    for _ in range(40):
        at = rng.randrange(1000, 4000)
        hole = rng.choice([bytes(400), rng.randbytes(400)])
        noticed.append(refused(read_from_bytes(tmp_path, whole[:at] + hole + whole[at + 400 :])))
    assert sum(noticed) >= 38


def test_a_tiff_whose_compression_hides_holes_is_warned_of(tmp_path: Path) -> None:
    assert Warn.PERHAPS_DAMAGED in film(read_from_bytes(tmp_path, tiff("zstd"))).warnings


def test_a_last_strip_that_is_filled_up_is_whole(tmp_path: Path) -> None:
    """Written for a picture of a few rows more, and its height then told as less."""
    taller = np.vstack([GREY, GREY[:99]])
    data = bytes(imagecodecs.tiff_encode(taller, compression="packbits", rowsperstrip=100))
    height = data.index(struct.pack("<HHIH", 257, 3, 1, len(taller))) + 8
    claims = data[:height] + struct.pack("<H", 320) + data[height + 2 :]
    result = film(read_from_bytes(tmp_path, claims))
    assert np.array_equal(result.pixels.values, taller[:320])
