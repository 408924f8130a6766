"""Memory, streams and graphs of one NVIDIA GPU: the few calls of CUDA's runtime that a runner needs."""

import ctypes
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from screen.errors import BackendError, MemoryRefusedError, MissingExtraError


class GpuMemory(Protocol):
    """A GPU as runners see it. Addresses, streams and graphs are plain numbers.

    Every call raises MemoryRefusedError where memory is short and BackendError for all else: an error of the
    device sticks, so nothing that follows on it succeeds either. What gives back raises nothing.
    """

    def use(self) -> None:
        """Make this the calling thread's GPU: before anything else in that thread."""

    def allocate(self, size: int) -> int:
        """Bytes of device memory."""

    def free(self, address: int) -> None:
        """Give device memory back."""

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        """Page-locked memory of the host, uint8 [size]: copies from and to it run beside everything else."""

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        """Give page-locked memory back; `memory` and its views must not be touched again."""

    def stream(self) -> int:
        """A stream that waits for no other."""

    def close_stream(self, stream: int) -> None:
        """Give a stream back."""

    def upload(self, memory: NDArray[np.uint8], address: int, stream: int) -> None:
        """Queue a copy from page-locked memory to the device."""

    def download(self, address: int, memory: NDArray[np.uint8], stream: int) -> None:
        """Queue a copy from the device to page-locked memory."""

    def capture(self, work: Callable[[], None], stream: int) -> int:
        """What `work` queues on `stream`, not run but kept as a graph."""

    def launch(self, graph: int, stream: int) -> None:
        """Queue all of a graph at once."""

    def close_graph(self, graph: int) -> None:
        """Give a graph back."""

    def wait(self, stream: int) -> None:
        """Until all that was queued is done; lets go of the interpreter's lock."""


class CudaMemory:
    """A GPU through NVIDIA's Python bindings. Raises MissingExtraError without them."""

    def __init__(self, index: int) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise MissingExtraError("--device tensorrt", "trt") from error
        self._index = index
        self._cuda = runtime
        self._done = runtime.cudaError_t.cudaSuccess
        self._no_memory = runtime.cudaError_t.cudaErrorMemoryAllocation

    def use(self) -> None:
        self._call("cudaSetDevice", self._index)

    def allocate(self, size: int) -> int:
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        self._cuda.cudaFree(address)

    def allocate_host(self, size: int) -> NDArray[np.uint8]:
        address = int(self._call("cudaHostAlloc", size, self._cuda.cudaHostAllocDefault))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_host(self, memory: NDArray[np.uint8]) -> None:
        self._cuda.cudaFreeHost(memory.ctypes.data)

    def stream(self) -> int:
        return int(self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking))

    def close_stream(self, stream: int) -> None:
        self._cuda.cudaStreamDestroy(stream)

    def upload(self, memory: NDArray[np.uint8], address: int, stream: int) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, memory.ctypes.data, memory.nbytes, kind, stream)

    def download(self, address: int, memory: NDArray[np.uint8], stream: int) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", memory.ctypes.data, address, memory.nbytes, kind, stream)

    def capture(self, work: Callable[[], None], stream: int) -> int:
        # Of this thread alone: another one may allocate meanwhile, which a global capture would not survive.
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)
        try:
            work()
        except BaseException:
            # Ends the capture; what became of it says nothing.
            self._cuda.cudaStreamEndCapture(stream)
            raise
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            return int(self._call("cudaGraphInstantiate", graph, 0))
        finally:
            self._cuda.cudaGraphDestroy(graph)

    def launch(self, graph: int, stream: int) -> None:
        self._call("cudaGraphLaunch", graph, stream)

    def close_graph(self, graph: int) -> None:
        self._cuda.cudaGraphExecDestroy(graph)

    def wait(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        error, *values = getattr(self._cuda, name)(*arguments)
        if error != self._done:
            said = self._cuda.cudaGetErrorString(error)[1].decode()
            kind = MemoryRefusedError if error == self._no_memory else BackendError
            raise kind(f"cuda:{self._index}: {name}: {said} ({error.name})")
        return values[0] if values else None
