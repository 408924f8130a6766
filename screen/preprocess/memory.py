"""OpenCV's way to say that there is no memory, told as Python's."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def memory_errors_from_opencv() -> Iterator[None]:
    """Within it, or as a decorator, a cv2.error for want of memory is a MemoryError; others stay."""
    try:
        yield
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError("OpenCV got no memory") from error
        raise
