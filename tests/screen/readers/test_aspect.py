"""Pixels that are not square: a film is shown in its proportions, or a warning says that it may not be."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import JPEG2000Lossless

from screen.codes import Warn
from screen.preprocess import Geometry, PreprocessSpec, Square, square_from_pixels
from screen.readers import Aim, read
from screen.shortcuts import DecodePolicy, Shortcut
from tests.phantoms import dicom_file, film, film_values, read_from_bytes
from tests.screen.readers.test_contradictions import tiff
from tests.screen.readers.test_pictures import chunk

FILM = film_values(480, 400)
FLAT = FILM.reshape(240, 2, 400).mean(1).astype(np.uint16)
"""The film with pixels twice as tall as they are wide."""
WINDOW = {"WindowCenter": 2000, "WindowWidth": 4000}
SPEC = PreprocessSpec(size=128)
SPACINGS = ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@pytest.fixture
def read_bytes(tmp_path: Path) -> Any:
    """Read a file that holds these bytes."""
    return lambda data: film(read_from_bytes(tmp_path, data))


def square(read_bytes: Any, values: NDArray[Any], **tags: Any) -> Square:
    return square_from_pixels(read_bytes(dicom_file(values, **WINDOW, **tags)).pixels, SPEC)


@pytest.mark.parametrize("keyword", SPACINGS)
def test_a_film_is_shown_in_its_proportions(read_bytes: Any, keyword: str) -> None:
    expected = square(read_bytes, FILM)
    spacing = [2, 1] if keyword == "PixelAspectRatio" else [0.4, 0.2]
    found = square(read_bytes, FLAT, **{keyword: spacing})
    assert np.abs(found.values.astype(int) - expected.values).mean() < 2
    assert (found.geometry.content_height, found.geometry.content_width) == (128, 107)
    # Where on the film a place in the square lies is counted in the film's own pixels.
    assert (found.geometry.height, found.geometry.width) == (240, 400)
    assert read_bytes(dicom_file(FLAT, **WINDOW, **{keyword: spacing})).warnings == (Warn.NOT_SQUARE,)
    lying = square(read_bytes, np.ascontiguousarray(FLAT.T), **{keyword: spacing[::-1]})
    assert (lying.geometry.content_height, lying.geometry.content_width) == (107, 128)


@pytest.mark.parametrize(
    "tags",
    [
        {"PixelSpacing": [0.2, 0.2]},
        {"PixelSpacing": [0.2, 0.2012]},
        {"PixelSpacing": [0, 0]},
        {"PixelSpacing": [0.2, 0]},
        {"PixelSpacing": [0.2]},
        {"PixelSpacing": ""},
        {"PixelSpacing": [-0.2, 0.1]},
        {"PixelAspectRatio": [1, 1], "ImagerPixelSpacing": [0.143, 0.143]},
    ],
)
def test_square_pixels_change_nothing(read_bytes: Any, tags: dict[str, Any]) -> None:
    plain, found = (read_bytes(dicom_file(FILM, **WINDOW, **more)) for more in ({}, tags))
    assert found.warnings == ()
    assert found.pixel_digest == plain.pixel_digest
    assert found.pixels.aspect == (1, 1)


@pytest.mark.parametrize(
    "tags",
    [
        {"PixelSpacing": [0.4, 0.2], "ImagerPixelSpacing": [0.2, 0.2]},
        {"PixelSpacing": [0.4, 0.2], "ImagerPixelSpacing": [0.2, 0.4]},
        {"PixelAspectRatio": [1, 1], "PixelSpacing": [0.4, 0.2]},
        {"PixelAspectRatio": [1, 100]},
        {"PixelSpacing": ["1e30", "1e-8"]},
    ],
)
def test_tags_that_contradict_each_other_are_warned_of(read_bytes: Any, tags: dict[str, Any]) -> None:
    found = read_bytes(dicom_file(FILM, **WINDOW, **tags))
    assert found.warnings == (Warn.PERHAPS_SQUEEZED,)
    assert found.pixels.aspect == (1, 1)


def test_two_films_of_other_proportions_are_two(read_bytes: Any) -> None:
    digests = {
        read_bytes(dicom_file(FLAT, **WINDOW, PixelAspectRatio=ratio)).pixel_digest
        for ratio in ([1, 1], [2, 1], [3, 1])
    }
    assert len(digests) == 3


def test_no_shortcut_is_chosen_for_other_proportions(tmp_path: Path) -> None:
    from screen.discover import discover

    aim = Aim(32, DecodePolicy(frozenset(Shortcut)))
    path = tmp_path / "film.dcm"
    found = {}
    for name, tags in {"square": {}, "flat": {"PixelAspectRatio": [2, 1]}}.items():
        path.write_bytes(dicom_file(FLAT, JPEG2000Lossless, **WINDOW, **tags))
        (source,) = discover([path], None)
        found[name] = film(read(source, aim=aim))
    assert found["square"].shortcut is Shortcut.REDUCED_RESOLUTION
    assert found["flat"].shortcut is None
    made = square_from_pixels(found["flat"].pixels, PreprocessSpec(size=32), stepwise=True)
    assert not made.stepwise


def test_pictures_whose_density_differs_are_warned_of(read_bytes: Any) -> None:
    grey = (FILM >> 4).astype(np.uint8)
    png, jpeg = bytes(imagecodecs.png_encode(grey)), bytes(imagecodecs.jpeg8_encode(grey))
    assert jpeg[6:11] == b"JFIF\0"
    for x, y, squeezed in (
        (2835, 2835, False),
        (0, 0, False),
        (200, 100, True),
        (0, 7, False),
        (100, 101, False),
    ):
        expected = (Warn.PERHAPS_SQUEEZED,) if squeezed else ()
        physical = chunk(b"pHYs", struct.pack(">IIB", x, y, 1))
        found = read_bytes(png[:33] + physical + png[33:])
        assert found.warnings == expected
        assert found.pixels.aspect == (1, 1)
        assert read_bytes(jpeg[:14] + struct.pack(">HH", x, y) + jpeg[18:]).warnings == expected
        resolution = {"t282": (4, [x]), "t283": (4, [y])}
        data = tiff(grey, **resolution)
        assert read_bytes(data).warnings == ()  # no rational number
        assert read_bytes(rational(data, x, y)).warnings == expected


def rational(data: bytes, x: int, y: int) -> bytes:
    """A TIFF's XResolution and YResolution as what they should be."""
    (at,) = struct.unpack_from("<I", data, 4)
    for tag, value in ((282, x), (283, y)):
        entry = data.index(struct.pack("<HHII", tag, 4, 1, value), at)
        data = data[:entry] + struct.pack("<HHII", tag, 5, 1, len(data)) + data[entry + 12 :]
        data += struct.pack("<II", value, 1)
    return data


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 9), st.integers(1, 9), st.integers(32, 512))
def test_proportions_are_those_of_the_film_with_square_pixels(
    height: int, width: int, tall: int, wide: int, size: int
) -> None:
    one = Geometry.fit(height, width, size, (tall, wide))
    other = Geometry.fit(height * tall, width * wide, size)
    assert one.is_fitted
    assert (one.content_height, one.content_width) == (other.content_height, other.content_width)
    assert (one.top, one.left, one.height, one.width) == (other.top, other.left, height, width)
