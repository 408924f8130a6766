"""Decoding in a supervised pool of processes: bounded, never hung, one result for every source.

Each worker has a socket of its own, a short queue, so that the file that it is at is always known, and a
piece of shared memory with a slot for the square of each file in the queue. If the worker dies, that file is
tried once more as the first of a fresh worker, since a file before it may have damaged the heap, and is
`decoder_crashed` if that one dies as well. A file that takes too long is `timed_out`, one that makes our own
code raise is a `reader_error`. After some thousand files a worker is replaced: what a native decoder
leaks goes with it.
"""

import contextlib
import mmap
import socket
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Self

import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason
from screen.decode.messages import MAX_BYTES, READY, check_start, outcome_from_bytes
from screen.decode.one_file import Decoded, Outcome
from screen.discover import Source
from screen.errors import ScreenError
from screen.film import Unscreened
from screen.preprocess import PreprocessSpec
from screen.processes import end, ending, shared_memory, spawn
from screen.readers import Limits
from screen.shortcuts import FULL, DecodePolicy

_WORKER = "screen.decode.worker:main"
DECODE = "screen.decode.one_file:decode"
GPU_DECODE = "screen.decode.on_gpu:decode"
"""What workers call, and what those with a GPU do: `module:function`."""

_START_TIMEOUT = 120.0
_GPU_FILE_TIMEOUT = 30.0
"""Seconds; the first file waits for CUDA, and a file that hangs there has a second chance elsewhere."""
_GPU_LOSSES = 3
_GPU_MEMORY = 8 << 30
"""Bytes of heap that CUDA may map beside the film's."""
_QUEUE = 3
"""Files per worker, the one at work included: it need not wait for us to hand it the next."""
_LIFETIME = 10_000
"""Files; starting a process costs as much as decoding some twenty films."""
_WARM = str(256 << 20)
# glibc gives large blocks back at once and gets fresh pages for the next: thousands of faults for each film.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": _WARM,
    "MALLOC_TRIM_THRESHOLD_": _WARM,
}
_LOOK = 0.5
"""Seconds between two looks of who maps at signals and other work, while nothing comes in."""


_END = object()


@dataclass(slots=True)
class _Task:
    """crashed: a worker died over it. off_gpu: a worker with a GPU was lost over it."""

    source: Source
    crashed: bool = False
    off_gpu: bool = False


@dataclass(slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    squares: NDArray[np.uint8]
    """[_QUEUE, S, S]: the worker's n-th square lies in slot n modulo _QUEUE."""
    deadline: float
    gpu: str
    """Its UUID; empty for a worker without."""
    ready: bool = False
    done: int = 0
    tasks: deque[_Task] = field(default_factory=deque)

    @property
    def takes_files(self) -> bool:
        return len(self.tasks) < _QUEUE and self.done + len(self.tasks) < _LIFETIME


class DecodePool:
    """`workers` processes, all started at once: they load their libraries while the model is loaded.

    for finished in pool.map(sources):
        for source, outcome in finished: ...
    """

    def __init__(
        self,
        workers: int,
        spec: PreprocessSpec,
        limits: Limits,
        policy: DecodePolicy = FULL,
        gpus: tuple[str, ...] = (),
        *,
        decode: str = DECODE,
        gpu_decode: str = GPU_DECODE,
    ) -> None:
        """gpus: UUIDs, one for each worker with a GPU. decode, gpu_decode: what workers call."""
        self._limit = workers
        self._greeting = (decode, spec, limits, policy)
        on_gpu = replace(limits, memory=limits.memory + _GPU_MEMORY)
        self._gpu_greeting = (gpu_decode, spec, on_gpu, policy)
        self._size = spec.size
        self._file_timeout = limits.seconds
        self._workers: list[_Worker] = []
        self._waiting: deque[_Task] = deque()
        self._failed_starts = 0
        self.gpu_losses = 0
        """Workers with a GPU that died, hung or did not start; at the third GPUs are left alone."""
        for gpu in (*[""] * workers, *gpus):
            self._start(gpu)

    @property
    def in_flight(self) -> int:
        """Sources submitted whose result was not collected."""
        return len(self._waiting) + sum(len(worker.tasks) for worker in self._workers)

    @property
    def has_room(self) -> bool:
        """Whether another source would be on its way at once."""
        return self.in_flight < max(self._limit, len(self._workers)) * _QUEUE

    def map(self, sources: Iterable[Source | None]) -> Iterator[list[tuple[Source, Outcome]]]:
        """Decode all: what has been finished, in any order, as it comes; an empty list while nothing does.

        sources: the next one is asked for only when there is room for it; None: there is none yet, and the
        caller has a turn. Who stops early leaves the rest in flight. Raises as `collect` does.
        """
        left = iter(sources)
        more = True
        while more or self.in_flight:
            patience = _LOOK
            while more and patience and self.has_room:
                source = next(left, _END)
                if isinstance(source, Source):
                    self.submit(source)
                else:
                    more = source is None
                    patience = 0.0 if more else _LOOK
            yield self.collect(patience)

    def submit(self, source: Source) -> None:
        """Hand a source to the least busy worker."""
        self._waiting.append(_Task(source))
        self._dispatch()

    def collect(self, timeout: float) -> list[tuple[Source, Outcome]]:
        """What has been finished, after `timeout` seconds at the latest.

        Raises ScreenError if workers cannot be started.
        """
        if not self.in_flight:
            return []
        self._dispatch()
        busy = {worker.connection: worker for worker in self._workers if worker.tasks}
        nearest = min(worker.deadline for worker in busy.values()) - time.monotonic()
        results: list[tuple[Source, Outcome]] = []
        for connection in wait(list(busy), max(0.0, min(timeout, nearest))):
            worker = busy[connection]  # type: ignore[index]
            # The loss of another one may have ended it.
            if worker in self._workers:
                results += self._receive(worker)
        now = time.monotonic()
        for worker in [worker for worker in self._workers if worker.tasks and worker.deadline <= now]:
            # A result may have come in at the last moment.
            results += self._receive(worker)
            if worker in self._workers and worker.tasks and worker.deadline <= now:
                results += self._overdue(worker)
        return results

    def _dispatch(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            worker = self._fresh_worker() if first.crashed else self._least_busy_worker(first)
            if worker is None:
                return
            task = self._waiting.popleft()
            if not worker.tasks and worker.ready:
                worker.deadline = time.monotonic() + self._timeout(worker)
            worker.tasks.append(task)
            # If it is dead, `collect` finds the closed socket and sees to its tasks.
            with contextlib.suppress(OSError):
                worker.connection.send(task.source)

    def _timeout(self, worker: _Worker) -> float:
        return min(_GPU_FILE_TIMEOUT, self._file_timeout) if worker.gpu else self._file_timeout

    def _without_gpu(self) -> list[_Worker]:
        return [worker for worker in self._workers if not worker.gpu]

    def _least_busy_worker(self, task: _Task) -> _Worker | None:
        """One that can take the file now."""
        if len(self._without_gpu()) < self._limit:
            self._start()
        able = (w for w in self._workers if w.takes_files and not (w.gpu and task.off_gpu))
        return min(able, key=lambda worker: len(worker.tasks), default=None)

    def _fresh_worker(self) -> _Worker | None:
        """One that has read nothing yet, in place of an idle one if need be; None while all are at work."""
        others = self._without_gpu()
        if len(others) >= self._limit:
            idle = next((worker for worker in others if not worker.tasks), None)
            if idle is None:
                return None
            self._discard(idle)
        return self._start()

    def _start(self, gpu: str = "") -> _Worker:
        ours, theirs = socket.socketpair()
        environment = _ENVIRONMENT | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
        with theirs, shared_memory("squares", _QUEUE * self._size**2) as memory:
            squares = np.frombuffer(mmap.mmap(memory, 0), np.uint8).reshape(_QUEUE, self._size, self._size)
            numbers = (theirs.fileno(), memory)
            process = spawn(_WORKER, *numbers, descriptors=numbers, environment=environment)
        deadline = time.monotonic() + _START_TIMEOUT
        worker = _Worker(process, Connection(ours.detach()), squares, deadline, gpu)
        self._workers.append(worker)
        with contextlib.suppress(OSError):
            worker.connection.send(self._gpu_greeting if gpu else self._greeting)
        return worker

    def _receive(self, worker: _Worker) -> list[tuple[Source, Outcome]]:
        """Everything that the worker has sent; if it is dead, what becomes of the file that it was at."""
        results = []
        try:
            while worker.tasks and worker.connection.poll():
                message = worker.connection.recv_bytes(MAX_BYTES)
                if not worker.ready:
                    check_start(message)
                if not worker.ready and message == READY:
                    worker.ready = True
                    self._failed_starts = 0
                else:
                    results.append(self._result(worker, outcome_from_bytes(message)))
                worker.deadline = time.monotonic() + self._timeout(worker)
        except (EOFError, OSError, ValueError):
            results += self._crashed(worker)
        if worker.done >= _LIFETIME and not worker.tasks and worker in self._workers:
            self._discard(worker)
            if worker.gpu:
                self._start(worker.gpu)
        return results

    def _result(self, worker: _Worker, outcome: Outcome) -> tuple[Source, Outcome]:
        film = outcome.result
        if isinstance(film, Decoded):
            # A copy: the worker fills the slot again as soon as it gets the next file.
            square = worker.squares[worker.done % _QUEUE].copy()
            outcome = replace(outcome, result=replace(film, square=square))
        worker.done += 1
        return worker.tasks.popleft().source, outcome

    def _crashed(self, worker: _Worker) -> list[tuple[Source, Outcome]]:
        self._discard(worker)
        if worker.gpu:
            return self._lost(worker)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts > 2:
                raise ScreenError("the processes that decode die when they start: is there memory for them?")
            self._waiting.extendleft(reversed(worker.tasks))
            return []
        task = worker.tasks.popleft()
        self._waiting.extendleft(reversed(worker.tasks))
        if task.crashed:
            return [_failed(task, Reason.DECODER_CRASHED, ending(worker.process))]
        task.crashed = True
        self._waiting.appendleft(task)
        return []

    def _lost(self, worker: _Worker) -> list[tuple[Source, Outcome]]:
        """A worker with a GPU is gone; the file that it was at goes to one without."""
        if worker.tasks:
            worker.tasks[0].off_gpu = True
        self._waiting.extendleft(reversed(worker.tasks))
        self.gpu_losses += 1
        if self.gpu_losses < _GPU_LOSSES:
            self._start(worker.gpu)
        else:
            for other in [other for other in self._workers if other.gpu]:
                self._waiting.extendleft(reversed(other.tasks))
                self._discard(other)
        return []

    def _overdue(self, worker: _Worker) -> list[tuple[Source, Outcome]]:
        self._discard(worker)
        if worker.gpu:
            return self._lost(worker)
        if not worker.ready:
            raise ScreenError("the processes that decode do not start: is this machine overloaded?")
        task = worker.tasks.popleft()
        self._waiting.extendleft(reversed(worker.tasks))
        return [_failed(task, Reason.TIMED_OUT, f"more than {self._file_timeout:g} s")]

    def _discard(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.connection.close()
        end(worker.process)

    def close(self) -> None:
        """End all workers at once; what they were at is dropped."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.kill()
        for worker in self._workers[:]:
            self._discard(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _failed(task: _Task, reason: Reason, detail: str) -> tuple[Source, Outcome]:
    return task.source, Outcome(Unscreened(reason, detail), 0.0, 0.0)
