"""The batch size that a device is fastest at, found by trying."""

import time
from collections.abc import Callable

import numpy as np

from screen.backends.base import Backend
from screen.errors import MemoryRefusedError

SIZES = (16, 32, 64, 128, 256)
_ENOUGH = 0.95
"""Of the best rate: beyond that a larger batch only takes memory, and makes the last film wait longer."""
_SECONDS = 0.3


def fastest_batch_size(
    open_at: Callable[[int], Backend],
    largest: int = SIZES[-1],
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """The smallest of `SIZES` within 5 % of the best rate; those that the device has no memory for are out.

    open_at: a backend of that batch size, warmed up. largest: that it may be asked for. Without memory for
    the smallest size it is that one, which is then halved as any other.
    """
    rates: dict[int, float] = {}
    for size in (size for size in SIZES if size <= largest):
        try:
            with open_at(size) as backend:
                rate = _rate(backend, clock)
                if backend.device.batch_halved_to:
                    break
        except MemoryRefusedError:
            break
        rates[size] = rate
    best = max(rates.values(), default=0.0)
    return next((size for size, rate in rates.items() if rate >= _ENOUGH * best), min(SIZES[0], largest))


def _rate(backend: Backend, clock: Callable[[], float]) -> float:
    """Films a second, one batch after the other."""
    images = np.zeros((backend.batch_size, 1, backend.size, backend.size), np.uint8)
    backend.infer(images)
    batches, started = 0, clock()
    while (passed := clock() - started) < _SECONDS or not batches:
        backend.infer(images)
        batches += 1
    return batches * backend.batch_size / passed
