"""Each stage of a run alone, on all processors: what the sum of them allows is the floor under a run.

Decoding has the processors to itself, as many films at once as there are processors; then the network has. A
run that overlaps them perfectly takes the sum of both for a film, so its films a second cannot exceed
1 / (1 / decoding + 1 / network), both in films a second.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import cv2
import numpy as np
from numpy.typing import NDArray

from screen.backends import Backend, Batcher
from screen.decode import decode
from screen.discover import Source
from screen.film import Unscreened
from screen.preprocess import PreprocessSpec
from screen.readers import Limits
from screen.shortcuts import DecodePolicy


def rate_allowed(decode_rate: float, network_rate: float) -> float:
    """Films a second that both stages together allow."""
    return 1 / (1 / decode_rate + 1 / network_rate)


class DecodeStage:
    """Worker processes that only decode and make squares, one for each processor."""

    def __init__(self, executor: ProcessPoolExecutor, workers: int) -> None:
        self._executor = executor
        self._workers = workers

    def rate(
        self, sources: Sequence[Source], spec: PreprocessSpec, policy: DecodePolicy, seconds: float
    ) -> float:
        """Films a second of all workers together, over `seconds` or as long as sources last.

        Counted inside of the workers: carrying squares about is no part of the stage.
        """
        costs: list[tuple[float, bool]] = []
        flying: deque[Future[tuple[float, bool]]] = deque()
        deadline = time.monotonic() + seconds
        for source in sources:
            if time.monotonic() > deadline:
                break
            flying.append(self._executor.submit(_cost, source, spec, policy))
            # Nobody idles in between, and the last ones overlap as the others do.
            while len(flying) > 2 * self._workers:
                costs.append(flying.popleft().result())
        costs += [future.result() for future in flying]
        return self._workers * sum(is_film for _, is_film in costs) / sum(cost for cost, _ in costs)


@contextmanager
def decode_stage(workers: int) -> Iterator[DecodeStage]:
    """The workers, started and warm."""
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as executor:
        for future in [executor.submit(time.sleep, 0.2) for _ in range(workers)]:
            future.result()
        yield DecodeStage(executor, workers)


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _cost(source: Source, spec: PreprocessSpec, policy: DecodePolicy) -> tuple[float, bool]:
    """Seconds that a file costs, and whether it is a film."""
    outcome = decode(source, spec, Limits(), policy)
    seconds = outcome.read_seconds + outcome.hash_seconds + outcome.square_seconds
    return seconds, not isinstance(outcome.result, Unscreened)


def network_rate(backend: Backend, squares: Sequence[NDArray[np.uint8]], seconds: float) -> float:
    """Squares a second from memory to outputs, all streams at work, for `seconds` at least."""
    done = 0
    started = time.perf_counter()
    with Batcher[None](backend) as batcher:
        while time.perf_counter() - started < seconds:
            for _ in range(backend.batch_size):
                batcher.add(squares[done % len(squares)], None)
                done += 1
        batcher.flush()
    return done / (time.perf_counter() - started)
