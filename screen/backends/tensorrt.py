"""TensorRT and TensorRT-RTX: engines on one NVIDIA GPU.

A lane is a stream with buffers, an execution context and a graph of its own. There are two: while one
computes, the other's batch is copied. A graph holds all of a batch's way: upload, network, download.
"""

import queue
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from screen.backends.base import Backend, DeviceInfo, Outputs, output_shapes
from screen.backends.gpu_memory import CudaMemory, GpuMemory
from screen.errors import BackendError, UsageError
from screen.gpus import Gpu
from screen.model import Manifest, Model, VerifiedEngine

_LANES = 2
_ALIGNMENT = 256
"""Bytes: what CUDA gives itself, and TensorRT asks for."""


class Context(Protocol):
    """One execution of an engine, for a fixed number of rows."""

    def scratch_size(self, rows: int) -> int:
        """Fix the number of rows; bytes of device memory that the network's inside then needs."""

    def bind(self, scratch: int, addresses: Mapping[str, int]) -> None:
        """Where its inside, its input and its outputs lie on the device."""

    def enqueue(self, stream: int) -> None:
        """Queue the network."""

    def capturable(self, stream: int) -> bool:
        """Whether it may become part of a graph."""

    def close(self) -> None:
        """Give it back, before the memory that it is bound to."""


class Engine(Protocol):
    """A deserialised engine on the GPU that was current then. Raises BackendError and MemoryRefusedError."""

    runtime: str
    """Library and version."""

    def context(self) -> Context:
        """Another execution."""

    def close(self) -> None:
        """Give it back, after its contexts."""


class TensorRtBackend(Backend):
    """opened: the engine that `manifest` describes, deserialised on `cuda`."""

    streams = _LANES

    def __init__(
        self, model: Model, manifest: Manifest, opened: Engine, cuda: GpuMemory, gpu: Gpu, batch_size: int
    ) -> None:
        self._engine, self._cuda = opened, cuda
        self._shapes = output_shapes(model.card)
        # A slot for each lane; None until it is used, and after its memory was given back.
        self._lanes: queue.SimpleQueue[_Lane | None] = queue.SimpleQueue()
        for _ in range(_LANES):
            self._lanes.put(None)
        self._building = threading.Lock()
        library = "TensorRT-RTX" if manifest.library == "tensorrt_rtx" else "TensorRT"
        info = DeviceInfo(
            device=f"tensorrt:{gpu.index}",
            provider=library,
            precision=manifest.precision,
            runtime=opened.runtime,
            uuid=gpu.uuid,
            engine=manifest.engine_digest,
        )
        super().__init__(batch_size, model.card.input_size, info)
        # Contexts, buffers and graphs are made now: whether they fit is not found out on a film.
        try:
            for _ in range(_LANES):
                self.infer(np.zeros((batch_size, 1, self.size, self.size), np.uint8))
        except BackendError:
            self.close()
            raise

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        self._cuda.use()
        # Of a size that is kept, so that what is left of a halved batch finds its lane.
        rows = max(len(images), self._rows)
        lane = self._lanes.get()
        try:
            if lane is None or lane.rows != rows:
                old, lane = lane, None
                if old is not None:
                    old.close()
                # One after the other: an engine need not give contexts to two threads at once.
                with self._building:
                    lane = _Lane(self._cuda, self._engine, self._shapes, rows, self.size)
            return lane.infer(images)
        finally:
            self._lanes.put(lane)

    def close(self) -> None:
        """Lanes first: they are the engine's. A device that is lost takes nothing back, and need not."""
        with suppress(BackendError):
            self._cuda.use()
        for _ in range(_LANES):
            lane = self._lanes.get()
            if lane is not None:
                lane.close()
        self._engine.close()


class _Lane:
    """Fixed buffers for `rows` films and what runs between them. Made and closed where `cuda` is in use."""

    def __init__(
        self, cuda: GpuMemory, engine: Engine, shapes: Mapping[str, tuple[int, ...]], rows: int, size: int
    ) -> None:
        self.rows = rows
        self._cuda = cuda
        self._given = ExitStack()
        try:
            self._build(engine, shapes, (rows, 1, size, size))
        except BaseException:
            self.close()
            raise

    def _build(
        self, engine: Engine, shapes: Mapping[str, tuple[int, ...]], image: tuple[int, int, int, int]
    ) -> None:
        cuda, given = self._cuda, self._given
        places, size = _places(shapes, self.rows)
        self._stream = cuda.stream()
        given.callback(cuda.close_stream, self._stream)
        upload = cuda.allocate_host(prod(image))
        given.callback(cuda.free_host, upload)
        download = cuda.allocate_host(size)
        given.callback(cuda.free_host, download)
        self._images = upload.reshape(image)
        self._outputs = {
            name: download[at : at + 4 * prod(shape)].view(np.float32).reshape(shape)
            for name, (at, shape) in places.items()
        }
        context = engine.context()
        memory = []
        for needed in (upload.nbytes, size, context.scratch_size(self.rows)):
            memory.append(cuda.allocate(needed))
            given.callback(cuda.free, memory[-1])
        images, outputs, scratch = memory
        given.callback(context.close)
        context.bind(scratch, {"image": images, **{name: outputs + at for name, (at, _) in places.items()}})

        def work() -> None:
            cuda.upload(upload, images, self._stream)
            context.enqueue(self._stream)
            cuda.download(outputs, download, self._stream)

        self._run = work
        # The first run compiles and allocates, which a graph cannot hold.
        work()
        cuda.wait(self._stream)
        if context.capturable(self._stream):
            graph = cuda.capture(work, self._stream)
            given.callback(cuda.close_graph, graph)
            self._run = lambda: cuda.launch(graph, self._stream)

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """images: uint8 [n, 1, S, S], n up to `rows`."""
        n = len(images)
        self._images[:n] = images
        self._images[n:] = 0
        self._run()
        self._cuda.wait(self._stream)
        return Outputs(**{name: values[:n].copy() for name, values in self._outputs.items()})

    def close(self) -> None:
        """The last first: the graph before what runs in it, the context before its memory."""
        self._given.close()


def _places(
    shapes: Mapping[str, tuple[int, ...]], rows: int
) -> tuple[dict[str, tuple[int, tuple[int, ...]]], int]:
    """All outputs in one block, so that one copy brings them: {name: (offset, shape)}, bytes in all."""
    places, at = {}, 0
    for name, shape in shapes.items():
        places[name] = at, (rows, *shape)
        at += -(-4 * rows * prod(shape) // _ALIGNMENT) * _ALIGNMENT
    return places, at


def _check_fits(model: Model, manifest: Manifest, batch_size: int) -> None:
    if manifest.weights_digest != model.card.weights_digest:
        raise UsageError(
            f"this engine was not built from {model.path}: name its model with --model, or build another: "
            f"screen export trt {model.path}"
        )
    smallest, _, largest = manifest.profile
    if smallest > 1 or batch_size > largest:
        raise UsageError(
            f"--batch-size {batch_size}: this engine takes {smallest} to {largest} films; take fewer, or "
            f"build another: screen export trt {model.path} --batch 1,{batch_size},{batch_size}"
        )


def open_tensorrt(model: Model, engine: VerifiedEngine, gpu: Gpu, batch_size: int) -> TensorRtBackend:
    """The engine on that GPU, in the library that its manifest names.

    Raises MissingExtraError without library or bindings, UsageError and BackendError.
    """
    _check_fits(model, engine.manifest, batch_size)
    from screen.backends.tensorrt_binding import TensorRtEngine

    cuda = CudaMemory(gpu.index)
    cuda.use()
    library = engine.manifest.library
    opened = TensorRtEngine(engine.data, library, output_shapes(model.card), model.card.input_size)
    return TensorRtBackend(model, engine.manifest, opened, cuda, gpu, batch_size)
