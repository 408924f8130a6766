"""The few calls of TensorRT that a runner needs, on either of two libraries: `tensorrt` and `tensorrt_rtx`.

Their interfaces are nearly the same.
"""

import importlib
import importlib.util
import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from screen.errors import BackendError, MemoryRefusedError, MissingExtraError

RTX, FULL = "tensorrt_rtx", "tensorrt"
_EXTRAS = {RTX: "trt", FULL: "tensorrt"}


def installed() -> list[str]:
    """Which of the libraries are here, by the names of their modules."""
    return [library for library in _EXTRAS if importlib.util.find_spec(library) is not None]


def library_module(name: str, what: str) -> ModuleType:
    """The library, imported. what: needs it, for the message. Raises MissingExtraError and BackendError."""
    if name not in _EXTRAS:
        raise BackendError(f"no TensorRT library is called '{name}'")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(what, _EXTRAS[name]) from error


def error_log(trt: Any) -> Any:
    """A logger that keeps errors (`errors`) for our own messages and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

    return Log()


def library_for(capability: str) -> str:
    """Which of the installed libraries has engines for a GPU, TensorRT-RTX if both do.

    capability: `sm89` …. Raises MissingExtraError if none is installed that does.
    """
    try:
        if capability in targets_of(library_module(RTX, "")):
            return RTX
    except MissingExtraError:
        pass
    library_module(FULL, f"TensorRT on this GPU ({capability})")
    return FULL


def targets_of(trt: Any) -> tuple[str, ...]:
    """Compute capabilities that TensorRT-RTX has engines for: `sm75` …."""
    return tuple(name.lower() for name in trt.ComputeCapability.__members__ if name.startswith("SM"))


_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|cudaError(?:_t)? ?2\b|allocation failed", re.IGNORECASE
)


class TensorRtEngine:
    """An engine on the calling thread's GPU.

    data: verified bytes. library: of them that built it. outputs: shapes without the batch axis, which are
    checked, as names and types are. Raises MissingExtraError, BackendError and MemoryRefusedError.
    """

    def __init__(self, data: bytes, library: str, outputs: Mapping[str, tuple[int, ...]], size: int) -> None:
        self._trt = library_module(library, "--device tensorrt")
        self._log = error_log(self._trt)
        self._size = size
        self.runtime = f"{library} {self._trt.__version__}"
        self._runtime = self._trt.Runtime(self._log)
        self._engine: Any = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise self.failure("does not load this engine")
        self._check(outputs)

    def _check(self, outputs: Mapping[str, tuple[int, ...]]) -> None:
        engine, trt = self._engine, self._trt
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        found = {
            name: (tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)) for name in names
        }
        wanted = {name: ((-1, *shape), trt.DataType.FLOAT) for name, shape in outputs.items()}
        wanted["image"] = (-1, 1, self._size, self._size), trt.DataType.UINT8
        if found != wanted:
            raise BackendError(f"{self.runtime}: this engine's inputs and outputs are not its model's")

    def context(self) -> "TensorRtContext":
        """Another execution, whose device memory is the caller's."""
        trt, strategy = self._trt, self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
            # TensorRT-RTX compiles kernels for the batch size that comes. Beside the work, as it would by
            # itself, a film's score would depend on whether that is done yet.
            config = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            config.dynamic_shapes_kernel_specialization_strategy = (
                trt.DynamicShapesKernelSpecializationStrategy.EAGER
            )
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context(strategy)
        if context is None:
            raise self.failure("gives no execution context")
        return TensorRtContext(self, context, self._size)

    def failure(self, what: str) -> BackendError:
        """What went wrong, with what the library has said of it."""
        said = "; ".join(self._log.errors)[:500]
        self._log.errors.clear()
        kind = MemoryRefusedError if _OUT_OF_MEMORY.search(said) else BackendError
        return kind(f"{self.runtime} {what}: {said}")

    def close(self) -> None:
        """The objects behind the bindings go with their last names."""
        self._engine = self._runtime = None


class TensorRtContext:
    """One execution of an engine, for a fixed number of rows."""

    def __init__(self, engine: TensorRtEngine, context: Any, size: int) -> None:
        self._engine = engine
        self._context = context
        self._size = size
        self._scratch_size = 0

    def scratch_size(self, rows: int) -> int:
        """Fix the number of rows; bytes that the network's inside then needs, at least 1."""
        self._check(
            self._context.set_input_shape("image", (rows, 1, self._size, self._size)), "the batch size"
        )
        self._scratch_size = max(1, int(self._context.update_device_memory_size_for_shapes()))
        return self._scratch_size

    def bind(self, scratch: int, addresses: Mapping[str, int]) -> None:
        """Where its inside, its input and its outputs lie on the device."""
        self._context.set_device_memory(scratch, self._scratch_size)
        for name, address in addresses.items():
            self._check(self._context.set_tensor_address(name, address), f"the address of '{name}'")

    def enqueue(self, stream: int) -> None:
        """Queue the network."""
        self._check(self._context.execute_async_v3(stream), "to run")

    def capturable(self, stream: int) -> bool:
        """Whether it may become part of a graph. TensorRT does not ask: without host work it always may."""
        asked = getattr(self._context, "is_stream_capturable", None)
        return asked is None or bool(asked(stream))

    def close(self) -> None:
        """The object behind the binding goes with its last name."""
        self._context = None

    def _check(self, done: bool, what: str) -> None:
        if not done:
            raise self._engine.failure(f"refuses {what}")
