"""Pictures: by signature, upright, on black, grey; what is no picture is said so."""

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

from screen.codes import Reason, Status, Warn
from screen.discover import Source
from screen.film import Film, Unscreened
from screen.preprocess import PreprocessSpec, square_from_pixels
from screen.readers import Limits, read
from screen.readers.signature import Kind, kind_from_head
from tests.phantoms import dicom_file, exif, film, film_values, jpeg_with_exif, read_from_bytes

GREY = film_values(60, 48, bits=8).astype(np.uint8)
GREY16 = film_values(60, 48, bits=16)
RGB = np.dstack([GREY, GREY // 2, 255 - GREY])


def reason(result: Film | Unscreened) -> Reason:
    assert isinstance(result, Unscreened), result
    return result.reason


def png(samples: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.png_encode(samples))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def palette_png(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> bytes:
    rows, columns = indices.shape
    lines = b"".join(b"\0" + line.tobytes() for line in indices)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"PLTE", colours.tobytes()) + chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


def tiff(samples: NDArray[Any], order: str = "<", pages: int = 1, **tags: Any) -> bytes:
    """An uncompressed TIFF; `tags`: photometric, orientation, palette."""
    samples = samples.astype(samples.dtype.newbyteorder(order))
    rows, columns = samples.shape[:2]
    bits, channels = 8 * samples.dtype.itemsize, 1 if samples.ndim == 2 else samples.shape[2]
    data = samples.tobytes()
    extra = struct.pack(f"{order}{channels}H", *[bits] * channels)
    palette = tags.get("palette", np.zeros((0, 3), np.uint16)).T.astype(f"{order}u2").tobytes()
    at = 8
    entries = [
        (256, 4, 1, columns),
        (257, 4, 1, rows),
        (258, 3, channels, bits if channels == 1 else at + len(data)),
        (259, 3, 1, 1),
        (262, 3, 1, tags.get("photometric", 1 if channels == 1 else 2)),
        (273, 4, 1, at),
        (274, 3, 1, tags.get("orientation", 1)),
        (277, 3, 1, channels),
        (278, 4, 1, rows),
        (279, 4, 1, len(data)),
    ]
    if palette:
        entries.append((320, 3, len(palette) // 2, at + len(data) + len(extra)))
    directory_at = at + len(data) + len(extra) + len(palette)
    directory = b""
    for page in range(pages):
        directory += struct.pack(f"{order}H", len(entries))
        for tag, kind, count, value in entries:
            inline = kind == 3 and count == 1
            directory += struct.pack(f"{order}HHI", tag, kind, count)
            directory += struct.pack(f"{order}HH", value, 0) if inline else struct.pack(f"{order}I", value)
        following = directory_at + len(directory) + 4 if page + 1 < pages else 0
        directory += struct.pack(f"{order}I", following)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", directory_at)
    return start + data + extra + palette + directory


@pytest.mark.parametrize("samples", [GREY, GREY16])
def test_grey_is_kept_to_the_bit(tmp_path: Path, samples: NDArray[Any]) -> None:
    for data in (png(samples), tiff(samples), tiff(samples, ">")):
        found = film(read_from_bytes(tmp_path, data))
        np.testing.assert_array_equal(found.pixels.values, samples)
        white = np.iinfo(samples.dtype).max
        np.testing.assert_array_equal(found.pixels.lookup, np.arange(white + 1) * (65535 // white))
        assert found.warnings == ()
        assert not found.declared_chest
        assert found.identity.study_instance_uid == ""


def test_grey_webp_and_jpeg(tmp_path: Path) -> None:
    webp = imagecodecs.webp_encode(np.dstack([GREY] * 3), lossless=True)
    found = film(read_from_bytes(tmp_path, bytes(webp)))
    np.testing.assert_array_equal(found.pixels.values, GREY)
    assert found.warnings == ()
    found = film(read_from_bytes(tmp_path, bytes(imagecodecs.jpeg8_encode(GREY, level=98))))
    assert np.abs(found.pixels.values.astype(int) - GREY).max() < 20


def test_three_equal_samples_are_grey(tmp_path: Path) -> None:
    for data in (png(np.dstack([GREY] * 3)), tiff(np.dstack([GREY] * 3))):
        found = film(read_from_bytes(tmp_path, data))
        np.testing.assert_array_equal(found.pixels.values, GREY)
        assert found.warnings == ()


def test_colour_is_luminance_with_a_warning(tmp_path: Path) -> None:
    expected = RGB @ np.array([0.299, 0.587, 0.114])
    for data in (png(RGB), tiff(RGB)):
        found = film(read_from_bytes(tmp_path, data))
        np.testing.assert_allclose(found.pixels.values, expected, atol=1)
        assert found.warnings == (Warn.COLOUR,)


def test_what_is_transparent_is_black(tmp_path: Path) -> None:
    alpha = np.full_like(GREY, 255)
    alpha[:10], alpha[10:20] = 0, 128
    for samples in (np.dstack([GREY, alpha]), np.dstack([GREY] * 3 + [alpha])):
        values = film(read_from_bytes(tmp_path, png(samples))).pixels.values
        assert not values[:10].any()
        np.testing.assert_allclose(values[10:20], GREY[10:20] * (128 / 255), atol=0.5)
        np.testing.assert_array_equal(values[20:], GREY[20:])


def test_palettes(tmp_path: Path) -> None:
    ramp = np.repeat(np.arange(255, -1, -1, dtype=np.uint8)[:, None], 3, axis=1)
    found = film(read_from_bytes(tmp_path, palette_png(GREY, ramp)))
    np.testing.assert_array_equal(found.pixels.values, 255 - GREY)
    found = film(read_from_bytes(tmp_path, tiff(GREY, photometric=3, palette=ramp.astype(np.uint16) * 257)))
    np.testing.assert_array_equal(found.pixels.values, (255 - GREY).astype(np.uint16) * 257)


def test_white_is_zero(tmp_path: Path) -> None:
    found = film(read_from_bytes(tmp_path, tiff(255 - GREY, photometric=0)))
    np.testing.assert_array_equal(found.pixels.values, GREY)


def test_cmyk_of_adobe_is_inverted(tmp_path: Path) -> None:
    light = np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)])
    plain = bytes(imagecodecs.jpeg8_encode(255 - light, level=98, colorspace="CMYK", outcolorspace="CMYK"))
    assert b"Adobe" in plain[:64]
    at = plain.index(b"\xff\xee")
    bare = plain[:at] + plain[at + 2 + struct.unpack_from(">H", plain, at + 2)[0] :]
    inverted = bytes(imagecodecs.jpeg8_encode(light, level=98, colorspace="CMYK", outcolorspace="CMYK"))
    for data in (bare, inverted):
        values = film(read_from_bytes(tmp_path, data)).pixels.values
        assert np.abs(values.astype(int) - GREY).mean() < 3


_UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", _UPRIGHT)
def test_orientation(tmp_path: Path, orientation: int) -> None:
    expected = _UPRIGHT[orientation](GREY)
    found = film(read_from_bytes(tmp_path, tiff(GREY, orientation=orientation)))
    np.testing.assert_array_equal(found.pixels.values, expected)
    with_exif = png(GREY)
    with_exif = with_exif[:33] + chunk(b"eXIf", exif(orientation)) + with_exif[33:]
    np.testing.assert_array_equal(film(read_from_bytes(tmp_path, with_exif)).pixels.values, expected)
    values = film(read_from_bytes(tmp_path, jpeg_with_exif(GREY, orientation))).pixels.values
    assert values.shape == expected.shape
    assert np.abs(values.astype(int) - expected).mean() < 3


def test_orientation_against_opencv(tmp_path: Path) -> None:
    import cv2

    for orientation in _UPRIGHT:
        data = jpeg_with_exif(GREY, orientation)
        theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        ours = film(read_from_bytes(tmp_path, data)).pixels.values
        assert theirs is not None
        assert np.abs(ours.astype(int) - theirs).max() <= 2, orientation


def test_several_pages_the_first_is_read(tmp_path: Path) -> None:
    found = film(read_from_bytes(tmp_path, tiff(GREY, pages=2)))
    np.testing.assert_array_equal(found.pixels.values, GREY)
    assert found.warnings == (Warn.SEVERAL_FRAMES,)


def test_a_twelve_bit_jpeg_spans_its_twelve_bits(tmp_path: Path) -> None:
    data = bytes(imagecodecs.jpeg8_encode(film_values(60, 48), lossless=True, bitspersample=12))
    found = film(read_from_bytes(tmp_path, data))
    np.testing.assert_array_equal(found.pixels.values, film_values(60, 48))
    assert found.pixels.lookup[4095] == 65535


@pytest.mark.parametrize(
    ("expected", "data"),
    [
        (Reason.EMPTY_FILE, b""),
        (Reason.NOT_AN_IMAGE, b"x"),
        (Reason.NOT_AN_IMAGE, b"patient;finding\n1;none\n"),
        (Reason.NOT_AN_IMAGE, b"PK\x03\x04" + bytes(300)),
        (Reason.NOT_AN_IMAGE, b"\x1f\x8b\x08" + bytes(300)),
        (Reason.NOT_AN_IMAGE, b"%PDF-1.7" + bytes(300)),
        (Reason.UNSUPPORTED_SYNTAX, b"GIF89a" + bytes(300)),
        (Reason.UNSUPPORTED_SYNTAX, b"\x00\x00\x00\x0cjP  " + bytes(300)),
        (Reason.UNSUPPORTED_SYNTAX, b"P5\n# a film digitiser\n40 48\n4095\n" + bytes(3840)),
        (Reason.UNSUPPORTED_SYNTAX, b"P2 40 48 255\n" + b"9 " * 1920),
        (Reason.NOT_AN_IMAGE, b"P5;P6\n1;2\n"),
        (Reason.NOT_AN_IMAGE, b"P5 is a vitamin\n"),
        (Reason.UNSUPPORTED_SYNTAX, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300)),
        (Reason.UNSUPPORTED_SYNTAX, b"\0\0\0\x1cftypXXXX\0\0\0\0mif1heicmiaf" + bytes(300)),
        (Reason.NOT_AN_IMAGE, b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(300)),
        (Reason.UNSUPPORTED_SYNTAX, b"--b\r\nContent-Type: application/dicom\r\n\r\n" + bytes(300)),
        (Reason.UNSUPPORTED_SYNTAX, b"\r\n--b\r\nContent-Length: 9\r\ncontent-type: image/jp2\r\n\r\n"),
        (
            Reason.UNSUPPORTED_SYNTAX,
            b'HTTP/1.1 200 OK\r\nContent-Type: multipart/related; type="application/dicom"',
        ),
        (Reason.NOT_AN_IMAGE, b"--b\r\nContent-Type: text/plain\r\n\r\nhello"),
        (Reason.NOT_AN_IMAGE, b"--b\r\nContent-Type: application/dicom+json\r\n\r\n[]"),
        (Reason.NOT_AN_IMAGE, b"---\nname: a\ntype: image/png\n"),
        (Reason.UNSUPPORTED_SYNTAX, b"NRRD0004\ntype: uint16\n" + bytes(300)),
        (Reason.UNSUPPORTED_SYNTAX, b"ObjectType = Image\nNDims = 2\n"),
        (Reason.UNSUPPORTED_SYNTAX, b"\x5c\x01\0\0" + bytes(340) + b"n+1\0" + bytes(300)),
        (Reason.EMPTY_FILE, bytes(1 << 21)),
        (Reason.EMPTY_FILE, bytes(1024)),
        (Reason.NOT_AN_IMAGE, bytes(1000)),
        (Reason.NOT_AN_IMAGE, bytes(1000) + b"x" + bytes(1 << 20)),
        (Reason.CORRUPT_HEADER, bytes(4096) + png(GREY)),
        (Reason.NOT_AN_IMAGE, bytes(32769) + b"CD001" + bytes(5000)),
        (Reason.CORRUPT_HEADER, b"\x89PNG\r\n\x1a\n"),
        (Reason.CORRUPT_HEADER, b"\xff\xd8\xff\xe0"),
        (Reason.CORRUPT_HEADER, b"\xff\xd8\xff\xd9"),
        (Reason.CORRUPT_HEADER, b"II*\0\xff\xff\xff\xff"),
        (Reason.CORRUPT_HEADER, b"RIFF\0\0\0\0WEBP"),
        (Reason.CORRUPT_PIXELS, png(GREY)[:-200]),
        (Reason.CORRUPT_PIXELS, bytes(imagecodecs.jpeg8_encode(GREY))[:-200]),
        (Reason.UNSUPPORTED_PIXELS, tiff(GREY.astype(np.float32))),
        (Reason.TOO_SMALL, png(GREY[:16])),
    ],
)
def test_what_gets_no_score(tmp_path: Path, expected: Reason, data: bytes) -> None:
    assert reason(read_from_bytes(tmp_path, data)) is expected


def test_a_jpeg_is_whole_only_behind_its_own_scan(tmp_path: Path) -> None:
    thumbnail = bytes(imagecodecs.jpeg8_encode(GREY[:40, :40]))
    jpeg = bytes(imagecodecs.jpeg8_encode(GREY))
    data = jpeg[:2] + b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + jpeg[2:]
    film(read_from_bytes(tmp_path, data))
    assert reason(read_from_bytes(tmp_path, data[:-300])) is Reason.CORRUPT_PIXELS


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    assert reason(read_from_bytes(tmp_path, bomb)) is Reason.TOO_LARGE
    assert reason(read_from_bytes(tmp_path, png(GREY), Limits(max_values=100))) is Reason.TOO_LARGE
    assert reason(read_from_bytes(tmp_path, png(GREY), Limits(max_bytes=100))) is Reason.TOO_LARGE


def test_a_file_that_changed_is_not_screened(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(png(GREY))
    status = path.stat()
    result = read(Source(path, "film.png", status.st_size, status.st_mtime_ns - 1))
    assert reason(result) is Reason.CHANGED_WHILE_READ


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    result = read(Source(tmp_path / "gone", "gone", 1, 1))
    assert reason(result) is Reason.UNREADABLE
    assert isinstance(result, Unscreened)
    assert result.status is Status.FAILED
    listed = read(Source(tmp_path / "gone", "gone", 0, 0, Reason.FOLDER_UNREADABLE))
    assert reason(listed) is Reason.FOLDER_UNREADABLE


def test_signatures() -> None:
    film_file = dicom_file(film_values(40, 40))
    assert kind_from_head(film_file[:256]) is Kind.DICOM
    assert kind_from_head(film_file[132:388]) is Kind.DICOM_BARE
    assert kind_from_head(b"\xff\xd8\xff\xe0" + film_file[4:256]) is Kind.DICOM
    assert kind_from_head(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100") is Kind.DICOM_BARE
    assert kind_from_head(b"\x00\x08\x00\x05CS\x00\x0aISO_IR 100") is Kind.DICOM_BARE
    assert kind_from_head(b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100") is Kind.DICOM_BARE
    assert kind_from_head(b"BM this is text") is Kind.NO_IMAGE


def test_preamble_and_magic_may_be_missing_alone(tmp_path: Path) -> None:
    whole = dicom_file(GREY, bits_stored=8)
    expected = film(read_from_bytes(tmp_path, whole)).pixels.values
    for data in (whole[128:], whole[132:], bytes(128) + whole[132:], bytes(132) + whole[132:]):
        found = film(read_from_bytes(tmp_path, data))
        np.testing.assert_array_equal(found.pixels.values, expected)
        assert found.warnings == (Warn.NO_PREAMBLE,)


_FILES = {
    "png": png(GREY),
    "png palette": palette_png(GREY, np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)),
    "png rgba": png(np.dstack([RGB, GREY])),
    "jpeg": jpeg_with_exif(GREY, 6),
    "tiff": tiff(GREY, photometric=3, palette=np.zeros((256, 3), np.uint16)),
    "tiff rgb": tiff(RGB),
    "webp": bytes(imagecodecs.webp_encode(RGB, lossless=True)),
}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_pictures_never_raise(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = _FILES[data.draw(st.sampled_from(sorted(_FILES)))]
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)) | st.just(len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            end = data.draw(st.sampled_from([min(120, len(damaged)), len(damaged)]))
            damaged[data.draw(st.integers(0, end - 1))] ^= data.draw(st.integers(1, 255))
    result = read_from_bytes(tmp_path_factory.getbasetemp(), bytes(damaged))
    if isinstance(result, Film):
        square_from_pixels(result.pixels, PreprocessSpec(size=32))
