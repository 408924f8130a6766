"""The square: geometry, contrast, padding, and a digest that tells when any of it changes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from screen.film import Pixels
from screen.preprocess import Geometry, PreprocessSpec, square_from_pixels
from screen.readers.lookup import full_range_lookup
from tests.phantoms import film_values

SPEC = PreprocessSpec(size=64)


def pixels(values: NDArray[np.uint16], bits: int = 12) -> Pixels:
    return Pixels(values, full_range_lookup(bits))


def test_the_film_is_centred_on_black_with_its_aspect_kept() -> None:
    tall = square_from_pixels(pixels(film_values(200, 100)), SPEC)
    assert (tall.geometry.content_height, tall.geometry.content_width) == (64, 32)
    assert (tall.geometry.top, tall.geometry.left) == (0, 16)
    assert not tall.values[:, :16].any()
    assert not tall.values[:, 48:].any()
    assert tall.values[:, 16:48].std() > 20
    wide = square_from_pixels(pixels(film_values(100, 200)), SPEC)
    assert not wide.values[:16].any()
    assert not wide.values[48:].any()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10000), st.integers(1, 10000), st.integers(32, 1024))
def test_geometry(height: int, width: int, size: int) -> None:
    g = Geometry.fit(height, width, size)
    assert max(g.content_height, g.content_width) == size
    assert min(g.content_height, g.content_width) >= 1
    assert 0 <= size - g.content_height - 2 * g.top <= 1
    assert 0 <= size - g.content_width - 2 * g.left <= 1
    assert abs(g.content_height * width - g.content_width * height) <= max(height, width, size)
    turned = Geometry.fit(width, height, size)
    assert (turned.content_height, turned.content_width) == (g.content_width, g.content_height)


def test_bright_stays_bright() -> None:
    values = square_from_pixels(pixels(film_values(128, 128)), SPEC).values
    spine, lung = values[20:44, 30:34].mean(), values[26:38, 15:21].mean()
    assert spine > lung + 80


def test_a_film_in_a_narrow_range_uses_all_greys() -> None:
    narrow = film_values(128, 128) // 10 + 1000
    values = square_from_pixels(pixels(narrow), SPEC).values
    assert values.min() < 20
    assert values.max() > 235


def test_a_blank_film_is_said_to_be_blank() -> None:
    flat = square_from_pixels(pixels(np.full((64, 64), 1234, np.uint16)), SPEC)
    assert flat.blank
    assert not flat.values.any()
    assert not square_from_pixels(pixels(film_values()), SPEC).blank


@pytest.mark.parametrize("shape", [(32, 3000), (3000, 32), (33, 47), (64, 64), (65, 63)])
def test_any_shape_gives_a_square(shape: tuple[int, int]) -> None:
    square = square_from_pixels(pixels(film_values(*shape)), SPEC)
    assert square.values.shape == (64, 64)
    assert square.values.dtype == np.uint8


def test_memory_layout_has_no_say() -> None:
    values = film_values(120, 90)
    turned = np.asfortranarray(values)
    np.testing.assert_array_equal(
        square_from_pixels(pixels(turned), SPEC).values, square_from_pixels(pixels(values), SPEC).values
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 96),
        ("low_percentile", 1.0),
        ("high_percentile", 99.0),
        ("clahe_clip", 3.0),
        ("clahe_tiles", 4),
    ],
)
def test_the_digest_covers_every_field(field: str, value: float) -> None:
    spec = PreprocessSpec()
    other = dataclasses.replace(spec, **{field: value})
    assert other.digest() != spec.digest()
    film = pixels(film_values(300, 250))
    assert not np.array_equal(square_from_pixels(film, other).values, square_from_pixels(film, spec).values)


def test_the_digest_covers_every_field_there_is() -> None:
    assert {f.name for f in dataclasses.fields(PreprocessSpec)} == {
        "size",
        "low_percentile",
        "high_percentile",
        "clahe_clip",
        "clahe_tiles",
        "version",
        "judge",
    }


def test_squares_are_what_they_were() -> None:
    # Another square under the same digest would be a silent drift: raise `_IMPLEMENTATION` with the code.
    # The bounds leave room for another build of OpenCV, not for another rule.
    values = square_from_pixels(pixels(film_values(200, 150)), SPEC).values.astype(np.int64)
    assert SPEC.digest() == "5a3124965183b4a4bfa11bfc279325603f9913a9ac256c82f46c335e47a8450f"
    quarters = [values[y : y + 32, x : x + 32].mean() for y in (0, 32) for x in (0, 32)]
    np.testing.assert_allclose(quarters, [107.87, 110.68, 112.72, 115.29], atol=0.3)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 31},
        {"size": 4096},
        {"low_percentile": 60, "high_percentile": 50},
        {"clahe_clip": 0},
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"."):
        PreprocessSpec(**fields)
