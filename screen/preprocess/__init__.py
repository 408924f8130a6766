"""Pixels to the network's square, and which way round and up a film lies."""

from screen.preprocess.square import (
    MIN_SIDE,
    Geometry,
    PreprocessSpec,
    Square,
    content_from_pixels,
    memory_errors_from_opencv,
    square_from_pixels,
)

__all__ = [
    "MIN_SIDE",
    "Geometry",
    "PreprocessSpec",
    "Square",
    "content_from_pixels",
    "memory_errors_from_opencv",
    "square_from_pixels",
]
