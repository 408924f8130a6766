"""ONNX Runtime, on the CPU or on one NVIDIA GPU, and proof of what it runs where."""

import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.backends.base import Backend, DeviceInfo, Outputs
from screen.errors import BackendError, MemoryRefusedError, MissingExtraError, UsageError, how_to_install
from screen.gpus import Gpu
from screen.machine import network_streams
from screen.model import Model

_OUTPUTS = ("logits", "heatmap", "embedding", "distance", "gate")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_WHEELS = ("onnxruntime", "onnxruntime-gpu")
_OUT_OF_MEMORY = re.compile(
    "Failed to allocate memory|out of memory|_STATUS_ALLOC_FAILED|bad allocation|bad_alloc",
    re.IGNORECASE,
)
"""What ONNX Runtime's arena, CUDA, cuBLAS, cuDNN and C++ say: there is no exception of its own for it."""


class OnnxBackend(Backend):
    """One session on the CPU. threads: processors that it may use."""

    def __init__(self, model: Model, batch_size: int, *, threads: int) -> None:
        # Several batches side by side, not one batch in step: decoders take processors away all the time, and
        # threads that meet after every layer would wait for the slowest.
        self.streams, each = network_streams(threads)
        self._session = _session(model, "cpu", {}, _session_options("cpu", each))
        super().__init__(batch_size, model.card.input_size, _info(model, "cpu", "cpu"))

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        with _mapped_errors(self.device.provider):
            return Outputs(*self._session.run(_OUTPUTS, {"image": images}))


class CudaBackend(Backend):
    """One session on one GPU: inputs and outputs at fixed places there, a batch's kernels as one graph.

    Raises UsageError without the runtime for it, BackendError if the runtime does not run there.
    """

    def __init__(self, model: Model, batch_size: int, gpu: Gpu) -> None:
        self._index = gpu.index
        self._session = _session(
            model,
            "cuda",
            {**_cuda_options(gpu.index), "enable_cuda_graph": "1"},
            _session_options("cuda", 1),
        )
        info = _info(model, "cuda", f"cuda:{gpu.index}", gpu.uuid)
        super().__init__(batch_size, model.card.input_size, info)
        self._bound: BoundSession | None = None
        # The first run chooses algorithms, and finds out whether a batch fits; the second becomes the graph.
        # Neither on a film.
        for _ in range(2):
            self.infer(np.zeros((batch_size, 1, self.size, self.size), np.uint8))

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        # Of a size that is kept: what is left of a halved batch is padded and not bound anew.
        rows = max(len(images), self._rows)
        with _mapped_errors(self.device.provider):
            if self._bound is None or self._bound.rows != rows:
                self._bound = None  # first of all: there may not be room for both
                self._bound = BoundSession(self._session, rows, "cuda", self._index)
            return self._bound.run(images)


class BoundSession:
    """A session with its input and outputs at fixed places on a device, which is what a CUDA graph needs.

    rows: films that the places hold. device, index: as ONNX Runtime names it.
    """

    def __init__(self, session: Any, rows: int, device: str, index: int) -> None:
        import onnxruntime as ort

        def place(value: Any, dtype: type) -> Any:
            shape = [rows, *value.shape[1:]]
            return ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, device, index)

        self.rows = rows
        self._session = session
        self._binding = session.io_binding()
        (image,) = session.get_inputs()
        self._image = place(image, np.uint8)
        self._padded = np.zeros((rows, *image.shape[1:]), np.uint8)
        self._binding.bind_ortvalue_input("image", self._image)
        self._outputs = {value.name: place(value, np.float32) for value in session.get_outputs()}
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        self._options = ort.RunOptions()
        # Graphs are kept by this number: one for each batch size.
        self._options.add_run_config_entry("gpu_graph_id", str(rows))

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """images: uint8 [n, 1, S, S], n up to `rows`."""
        n = len(images)
        if n < self.rows:
            self._padded[:n] = images
            self._padded[n:] = 0
            images = self._padded
        self._image.update_inplace(images)
        self._session.run_with_iobinding(self._binding, self._options)
        # Copies: the places are filled again.
        return Outputs(*(self._outputs[name].numpy()[:n].copy() for name in _OUTPUTS))


def what_runs(model: Model, device: str, index: int = 0) -> str:
    """Which provider ran how many nodes of one film's way, and what its convolutions took, from a profile.

    device: cpu or cuda. For people: `69 nodes on CPUExecutionProvider, convolutions in float`. Raises
    ScreenError.
    """
    size = model.card.input_size
    with tempfile.TemporaryDirectory() as folder:
        options = _session_options(device, 1)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = _session(model, device, _cuda_options(index) if device == "cuda" else {}, options)
        with _mapped_errors(device):
            session.run(_OUTPUTS, {"image": np.zeros((1, 1, size, size), np.uint8)})
            events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [e["args"] for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    providers = Counter(kernel["provider"] for kernel in kernels)
    convolutions = {
        kind for kernel in kernels if "Conv" in kernel["op_name"] for kind in kernel["input_type_shape"][0]
    }
    ran = " and ".join(f"{count} nodes on {provider}" for provider, count in providers.items())
    return f"{ran}, convolutions in {', '.join(sorted(convolutions))}"


def has_cuda() -> bool:
    """Whether the runtime here is the one with CUDA. Raises MissingExtraError without any."""
    return _PROVIDERS["cuda"] in _runtime("cpu").get_available_providers()


def check_has_cuda() -> None:
    """Raises UsageError with the way there if it is not, and MissingExtraError."""
    if _PROVIDERS["cuda"] not in _runtime("cuda").get_available_providers():
        raise UsageError(_cuda_advice("ONNX Runtime here is the one for the CPU"))


def installed_wheels() -> list[str]:
    """Which of the two wheels that overwrite each other's files are installed, with versions."""
    found = []
    for name in _WHEELS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _runtime(kind: str) -> Any:
    wheels = installed_wheels()
    if len(wheels) > 1:
        raise BackendError(
            f"{' and '.join(wheels)} are both installed and overwrite each other: uninstall both "
            f"(pip uninstall {' '.join(_WHEELS)}), then install the one extra you want: "
            f"{how_to_install('cpu')}, or [gpu]"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("screening", "gpu" if kind == "cuda" else "cpu") from error
    return onnxruntime


def _session(model: Model, kind: str, options: dict[str, str], session_options: Any) -> Any:
    """The model opened by the provider that was asked for, and by no other."""
    ort, provider = _runtime(kind), _PROVIDERS[kind]
    if kind == "cuda":
        # CUDA and cuDNN come as wheels, where no loader looks; what it prints about them is for the log.
        with redirect_stdout(sys.stderr):
            ort.preload_dlls()
    try:
        session = ort.InferenceSession(
            model.data,
            session_options,
            providers=[(provider, options)],
            # Or a GPU that fails in the middle of the night would go on as a CPU.
            enable_fallback=0,
        )
    except _errors() as error:
        raise _failure(f"{provider} cannot load {model.path}", error) from error
    active = session.get_providers()
    if active[:1] != [provider]:
        raise BackendError(_cuda_advice(f"ONNX Runtime fell back to {active[0]}"))
    return session


def _session_options(kind: str, threads: int) -> Any:
    options = _runtime(kind).SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Errors only: everything that matters is checked and raised.
    options.log_severity_level = 3
    # Decoders share the processors: a pool that spins between batches takes their time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if kind == "cuda":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _cuda_options(index: int) -> dict[str, str]:
    return {
        "device_id": str(index),
        # TF32 keeps 10 bits of the mantissa: what is called fp32 shall be fp32.
        "use_tf32": "0",
        # Not the next power of two: what is not taken here is left for a larger batch.
        "arena_extend_strategy": "kSameAsRequested",
    }


def _info(model: Model, kind: str, device: str, uuid: str = "") -> DeviceInfo:
    runtime = f"onnxruntime {_runtime(kind).__version__}"
    return DeviceInfo(device, _PROVIDERS[kind], model.card.precision, runtime, uuid)


def _cuda_advice(what: str) -> str:
    return (
        f"{what}: --device cuda needs an NVIDIA driver and the extra 'gpu' instead of 'cpu' "
        f"(pip uninstall onnxruntime, then {how_to_install('gpu')}); or use --device cpu"
    )


@contextmanager
def _mapped_errors(provider: str) -> Iterator[None]:
    try:
        yield
    except _errors() as error:
        raise _failure(f"{provider} failed", error) from error


def _failure(what: str, error: Exception) -> BackendError:
    said = " ".join(str(error).split())[:500]
    return (MemoryRefusedError if _OUT_OF_MEMORY.search(said) else BackendError)(f"{what}: {said}")


def _errors() -> tuple[type[Exception], ...]:
    """What a session raises: ONNX Runtime's own exceptions derive from Exception and share no base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (
        value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)
    )
    return (*own, RuntimeError, ValueError)
