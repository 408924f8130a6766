"""Squares to batches of one fixed size, and their way through the network; the size that is fastest.

The network runs in threads of its own (the runtimes let go of the interpreter's lock), as many as the backend
has streams, so that squares are collected meanwhile. Buffers are allocated once. What is in flight is
bounded: a full ring of buffers makes `add` wait.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from screen.backends.base import Backend, Outputs
from screen.errors import MemoryRefusedError

_SPARE_BUFFERS = 2
"""Beside those in the network: one that is being filled, one waiting."""

T = TypeVar("T")


@dataclass(slots=True)
class Batch(Generic[T]):
    """images: uint8 [N, 1, S, S]; the first `n_valid` are films, the rest is padding, black."""

    images: NDArray[np.uint8]
    items: list[T] = field(default_factory=list)
    seconds: float = 0.0
    """That the network took for it."""

    @property
    def n_valid(self) -> int:
        """How many rows are films."""
        return len(self.items)


class Batcher(Generic[T]):
    """Collects squares and gives back outputs, item by item, in the order of `add`."""

    def __init__(self, backend: Backend) -> None:
        shape = (backend.batch_size, 1, backend.size, backend.size)
        self._backend = backend
        self._free: list[Batch[T]] = [
            Batch(np.zeros(shape, np.uint8)) for _ in range(backend.streams + _SPARE_BUFFERS)
        ]
        self._filling = self._free.pop()
        self._running: deque[tuple[Batch[T], Future[Outputs]]] = deque()
        self._threads = ThreadPoolExecutor(backend.streams, thread_name_prefix="network")
        self.seconds = 0.0
        """In the network so far, summed over its streams."""

    def add(self, square: NDArray[np.uint8], item: T) -> list[tuple[T, Outputs, int]]:
        """Take a square [S, S]; give what was finished meanwhile: (item, outputs, its row in them)."""
        self._filling.images[self._filling.n_valid, 0] = square
        self._filling.items.append(item)
        return self._send() if self._filling.n_valid == self._backend.batch_size else []

    def finished(self) -> list[tuple[T, Outputs, int]]:
        """What has come out of the network since the last look."""
        results = []
        while self._running and self._running[0][1].done():
            results += self._take()
        return results

    def flush(self) -> list[tuple[T, Outputs, int]]:
        """Everything that is left, the last batch padded."""
        results = self._send() if self._filling.n_valid else []
        while self._running:
            results += self._take()
        return results

    def _send(self) -> list[tuple[T, Outputs, int]]:
        batch = self._filling
        batch.images[batch.n_valid :] = 0
        self._running.append((batch, self._threads.submit(self._infer, batch)))
        results = self.finished()
        if not self._free:
            results += self._take()
        self._filling = self._free.pop()
        return results

    def _infer(self, batch: Batch[T]) -> Outputs:
        started = time.perf_counter()
        outputs = self._backend.infer(batch.images)
        batch.seconds = time.perf_counter() - started
        return outputs

    def _take(self) -> list[tuple[T, Outputs, int]]:
        """The oldest batch's results, waited for. Raises what the backend raised."""
        batch, future = self._running.popleft()
        outputs = future.result()
        self.seconds += batch.seconds
        results = [(item, outputs, row) for row, item in enumerate(batch.items)]
        batch.items = []
        self._free.append(batch)
        return results

    def close(self) -> None:
        """Drop what was not taken; waits for the batch that the network is at."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
