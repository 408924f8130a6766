"""A GPU and an engine that can be watched: nothing is done before it is waited for, nothing may be left."""

import itertools
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.backends import Outputs
from screen.backends.base import NullBackend, output_shapes
from screen.errors import BackendError, MemoryRefusedError
from screen.model import ModelCard


class FakeGpu:
    """Memory, streams and graphs in the host's memory.

    capacity: bytes of device memory. fail_at: the call, counted from 0, from which on the device is lost.
    calls: how often each method was called. left: what was taken and not given back.
    """

    def __init__(self, capacity: int = 1 << 30, fail_at: int | None = None) -> None:
        self.capacity, self.fail_at = capacity, fail_at
        self.calls: dict[str, int] = {}
        self.left: dict[int, Any] = {}
        self._numbers = itertools.count(1)
        self._addresses = itertools.count(1 << 20, 1 << 32)
        self._blocks: dict[int, NDArray[np.uint8]] = {}
        self._queues: dict[int, list[Callable[[], None]]] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._current = threading.local()
        self._lock = threading.RLock()

    def _called(self, name: str) -> None:
        with self._lock:
            assert name == "use" or getattr(self._current, "in_use", False), "not this thread's GPU"
            count = sum(self.calls.values())
            self.calls[name] = self.calls.get(name, 0) + 1
            if self.fail_at is not None and count >= self.fail_at:
                raise BackendError(f"{name}: an illegal memory access was encountered")

    def use(self) -> None:
        self._called("use")
        self._current.in_use = True

    def allocate(self, size: int) -> int:
        self._called("allocate")
        if sum(block.nbytes for block in self._blocks.values()) + size > self.capacity:
            raise MemoryRefusedError("cudaMalloc: out of memory")
        address = next(self._addresses)
        self._blocks[address] = np.full(size, 0xAB, np.uint8)
        self.left[address] = "memory"
        return address

    def free(self, address: int) -> None:
        del self.left[address], self._blocks[address]

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        self._called("allocate_host")
        memory = np.full(size, 0xCD, np.uint8)
        self.left[memory.ctypes.data] = memory
        return memory

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        del self.left[memory.ctypes.data]

    def stream(self) -> int:
        self._called("stream")
        number = next(self._numbers)
        self._queues[number], self.left[number] = [], "stream"
        return number

    def close_stream(self, stream: int) -> None:
        del self.left[stream], self._queues[stream]

    def queue(self, stream: int, action: Callable[[], None]) -> None:
        self._queues[stream].append(action)

    def upload(self, memory: NDArray[np.uint8], address: int, stream: int) -> None:
        self._called("upload")
        self.queue(stream, lambda: self.at(address, memory.nbytes).__setitem__(slice(None), memory))

    def download(self, address: int, memory: NDArray[np.uint8], stream: int) -> None:
        self._called("download")
        self.queue(stream, lambda: memory.__setitem__(slice(None), self.at(address, memory.nbytes)))

    def capture(self, work: Callable[[], None], stream: int) -> int:
        self._called("capture")
        waiting, self._queues[stream] = self._queues[stream], []
        work()
        number = next(self._numbers)
        self._graphs[number], self._queues[stream] = self._queues[stream], waiting
        self.left[number] = "graph"
        return number

    def launch(self, graph: int, stream: int) -> None:
        self._called("launch")
        self._queues[stream] += self._graphs[graph]

    def close_graph(self, graph: int) -> None:
        del self.left[graph], self._graphs[graph]

    def wait(self, stream: int) -> None:
        self._called("wait")
        while self._queues[stream]:
            self._queues[stream].pop(0)()

    def at(self, address: int, size: int) -> NDArray[np.uint8]:
        """What lies there; it must have been allocated."""
        base = max(start for start in self._blocks if start <= address)
        block = self._blocks[base][address - base :]
        assert len(block) >= size, "beyond what was allocated"
        return block[:size]


class FakeEngine:
    """Computes what the null backend computes. enqueued: how often."""

    runtime = "fake 1.0"

    def __init__(self, gpu: FakeGpu, model: ModelCard, *, capturable: bool = True) -> None:
        self.gpu, self.model, self.capturable = gpu, model, capturable
        self.enqueued = 0
        self.open = True

    def context(self) -> "FakeContext":
        self.gpu._called("context")
        return FakeContext(self)

    def close(self) -> None:
        assert not self.gpu.left, "an engine goes last"
        self.open = False


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def scratch_size(self, rows: int) -> int:
        self._rows = rows
        return rows * 1000

    def bind(self, scratch: int, addresses: Mapping[str, int]) -> None:
        self._scratch, self._addresses = scratch, addresses

    def enqueue(self, stream: int) -> None:
        self._engine.gpu._called("enqueue")
        self._engine.enqueued += 1
        self._engine.gpu.queue(stream, self._compute)

    def capturable(self, stream: int) -> bool:
        return self._engine.capturable

    def close(self) -> None:
        assert self._scratch in self._engine.gpu.left, "a context goes before its memory"

    def _compute(self) -> None:
        gpu, model, rows = self._engine.gpu, self._engine.model, self._rows
        assert len(gpu.at(self._scratch, rows * 1000)) == rows * 1000
        side = model.input_size
        pixels = gpu.at(self._addresses["image"], rows * side * side).reshape(rows, 1, side, side)
        outputs: Outputs = NullBackend(model, rows).infer(pixels)
        for name in output_shapes(model):
            values = getattr(outputs, name)
            gpu.at(self._addresses[name], values.nbytes)[:] = values.reshape(-1).view(np.uint8)
