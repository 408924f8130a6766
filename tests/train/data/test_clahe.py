"""The batched CLAHE that a GPU runs, executed on the CPU: OpenCV's greys, every one of them."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.gpu.array_squares import area_resized, squares_from_batch
from screen.discover import discover
from screen.film import Film, Pixels
from screen.preprocess import PreprocessSpec, square_from_pixels
from screen.readers import read
from screen.readers.lookup import full_range_lookup
from tests.phantoms import film_values
from tests.places import EXAMPLES
from train.data import clahe as train_clahe
from train.data.clahe import equalise

Bytes = NDArray[np.uint8]


def by_opencv(films: Bytes, boxes: NDArray[np.int64], clips: NDArray[np.float64], tiles: int) -> Bytes:
    expected = np.zeros_like(films)
    for film, out, (top, left, height, width), clip in zip(films, expected, boxes, clips, strict=True):
        if height:
            box = np.s_[top : top + height, left : left + width]
            out[box] = cv2.createCLAHE(float(clip), (tiles, tiles)).apply(np.ascontiguousarray(film[box]))
    return expected


def by_numpy(films: Bytes, boxes: NDArray[np.int64], clips: NDArray[np.float64], tiles: int) -> Bytes:
    result: Bytes = equalise(films, boxes, clips, tiles, np)
    return result


def by_torch(films: Bytes, boxes: NDArray[np.int64], clips: NDArray[np.float64], tiles: int) -> Bytes:
    on_torch = torch.from_numpy
    result: Bytes = equalise(on_torch(films), on_torch(boxes), on_torch(clips), tiles, torch).numpy()
    return result


def of_all_kinds(generator: np.random.Generator, size: int) -> Bytes:
    """Noise, something smooth, few greys, one grey, one black pixel in white."""
    films = generator.integers(0, 256, (5, size, size), dtype=np.uint8)
    films[1] = cv2.GaussianBlur(films[1], (0, 0), 3)
    films[2] = films[2] // 100 * 80
    films[3] = 77
    films[4] = 255
    films[4, size // 2, size // 2] = 0
    return films


def inside(generator: np.random.Generator, size: int) -> tuple[int, int]:
    length = int(generator.integers(1, size + 1))
    return int(generator.integers(0, size - length + 1)), length


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(32, 120),
    tiles=st.integers(1, 32),
    clips=st.lists(st.floats(0.01, 100), min_size=5, max_size=5),
)
def test_any_size_grid_and_clip_limit(seed: int, size: int, tiles: int, clips: list[float]) -> None:
    generator = np.random.default_rng(seed)
    films = of_all_kinds(generator, size)
    boxes = []
    for _ in films:
        (top, height), (left, width) = inside(generator, size), inside(generator, size)
        boxes.append((top, left, height, width))
    arguments = (films, np.array(boxes), np.array(clips), tiles)
    expected = by_opencv(*arguments)
    assert np.array_equal(by_numpy(*arguments), expected)
    assert np.array_equal(by_torch(*arguments), expected)


@pytest.mark.parametrize("size", [64, 96, 224, 320])
@pytest.mark.parametrize("tiles", [2, 7, 8, 12])
def test_whole_squares(size: int, tiles: int) -> None:
    """Sizes that the grid divides, and others; one side of a box alone divided is a case of its own."""
    films = of_all_kinds(np.random.default_rng(size * tiles), size)
    boxes = np.array(
        [(0, 0, size, size), (0, 3, size, size - 3), (5, 0, size - 5, size), (0, 0, 0, 0), (0, 0, 1, 1)]
    )
    clips = np.array([1.0, 2.0, 2.7, 3.0, 40.0])
    expected = by_opencv(films, boxes, clips, tiles)
    assert np.array_equal(by_numpy(films, boxes, clips, tiles), expected)
    assert np.array_equal(by_torch(films, boxes, clips, tiles), expected)


def test_training_gets_the_same_greys_on_every_device() -> None:
    films = torch.from_numpy(of_all_kinds(np.random.default_rng(3), 100))
    clip = np.array([1.0, 1.5, 2.0, 2.5, 3.0])
    assert torch.equal(train_clahe.on_device(films, clip), train_clahe.equalised(films, clip))
    assert train_clahe.equalised(films[:0], clip[:0]).shape == (0, 100, 100)


SHAPES = [(1024, 1024, 224), (300, 247, 64), (640, 123, 40), (448, 372, 224), (672, 600, 224), (512, 512, 32)]
"""Height, width, size: any ratio, exactly 2 (rounded by a rule of its own), 3 and 16."""


@pytest.mark.parametrize(("height", "width", "size"), SHAPES)
def test_the_area_resize_is_exact(height: int, width: int, size: int) -> None:
    films = np.random.default_rng(height).integers(0, 65536, (2, height, width), dtype=np.uint16)
    to = size * height // max(height, width), size * width // max(height, width)
    expected = [cv2.resize(film, to[::-1], interpolation=cv2.INTER_AREA) for film in films]
    grey = films.astype(np.float32)
    assert np.array_equal(area_resized(grey, *to, np), expected)
    assert np.array_equal(area_resized(torch.from_numpy(grey), *to, torch).numpy(), expected)


@pytest.mark.parametrize(("height", "width"), [(30, 64), (33 * 17, 64 * 17)])
def test_what_cannot_be_exact_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match="small"):
        area_resized(np.zeros((1, height, width), np.float32), 33, 64, np)


def batch(films: list[Pixels]) -> tuple[NDArray[Any], NDArray[np.uint16]]:
    return np.stack([px.values for px in films]), np.stack([px.lookup for px in films])


def assert_alike(films: list[Pixels], spec: PreprocessSpec) -> None:
    expected = [square_from_pixels(px, spec) for px in films]
    values, lookups = batch(films)
    squares, blank = squares_from_batch(values, lookups, spec, np)
    assert np.array_equal(squares, [square.values for square in expected])
    assert np.array_equal(blank, [square.blank for square in expected])
    squares, blank = squares_from_batch(torch.from_numpy(values), torch.from_numpy(lookups), spec, torch)
    assert np.array_equal(squares.numpy(), [square.values for square in expected])
    assert np.array_equal(blank.numpy(), [square.blank for square in expected])


@pytest.mark.parametrize("shape", [(200, 100), (333, 512), (224, 224)])
def test_squares_of_a_batch_are_those_of_single_films(shape: tuple[int, int]) -> None:
    """Films of 12 bits with lookups of their own, among them a blank one."""
    values, linear = film_values(*shape), full_range_lookup(12)
    films = [
        Pixels(values, linear),
        Pixels(values, linear[::-1].copy()),
        Pixels(np.full_like(values, 700), linear),
    ]
    for spec in (PreprocessSpec(size=64), PreprocessSpec(size=100, clahe_tiles=7, clahe_clip=3.5)):
        assert_alike(films, spec)


def test_squares_of_real_films() -> None:
    found = [film for source in discover([EXAMPLES], None) if isinstance(film := read(source), Film)]
    assert len(found) > 3
    by_shape: dict[tuple[Any, ...], list[Pixels]] = {}
    for film in found:
        pixels = replace(film.pixels, aspect=(1, 1))
        by_shape.setdefault((pixels.values.shape, pixels.values.dtype), []).append(pixels)
    for films in by_shape.values():
        assert_alike(films, PreprocessSpec())


def test_nothing_is_made_off_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On PyTorch's device without memory: an operand that was left on the CPU would raise."""

    def bincount(bins: torch.Tensor, minlength: int) -> torch.Tensor:
        # The one operation that this device cannot do, its shape depending on values.
        return torch.zeros(minlength, dtype=torch.int64, device=bins.device)

    monkeypatch.setattr(torch, "bincount", bincount)
    films = torch.zeros(2, 300, 200, dtype=torch.uint8, device="meta")
    lookups = torch.zeros(2, 256, dtype=torch.uint16, device="meta")
    with torch.device("meta"):
        squares, blank = squares_from_batch(films, lookups, PreprocessSpec(size=64), torch)
    assert (squares.device.type, tuple(squares.shape), blank.device.type) == ("meta", (2, 64, 64), "meta")
    assert train_clahe.equalised(squares, np.ones(2)).device.type == "meta"
    with pytest.raises(RuntimeError, match="device"):
        squares_from_batch(films, lookups, PreprocessSpec(size=64), torch)
