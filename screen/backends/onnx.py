"""ONNX Runtime, on the CPU or on one NVIDIA GPU."""

import re
import sys
from contextlib import redirect_stdout
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.backends.base import Backend, DeviceInfo, Outputs
from screen.backends.cuda_driver import gpus
from screen.cpus import network_streams
from screen.errors import BackendError, MemoryRefusedError, MissingExtraError
from screen.modelfile import Model

_OUTPUTS = ("logits", "heatmap", "embedding", "distance", "gate")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_WHEELS = ("onnxruntime", "onnxruntime-gpu")
_OUT_OF_MEMORY = re.compile(
    "Failed to allocate memory|out of memory|_STATUS_ALLOC_FAILED|bad allocation|bad_alloc",
    re.IGNORECASE,
)
"""What ONNX Runtime's arena, CUDA, cuBLAS, cuDNN and C++ say: there is no exception of its own for it."""


class OnnxBackend(Backend):
    """One session. `kind`: cpu or cuda; `index`: the GPU's number; `threads`: for the CPU."""

    def __init__(self, model: Model, kind: str, batch_size: int, *, threads: int, index: int = 0) -> None:
        ort = _runtime(kind)
        provider = _PROVIDERS[kind]
        # Several batches side by side, not one batch in step: decoders take processors away all the time, and
        # threads that meet after every layer would wait for the slowest.
        self.streams, each = network_streams(threads) if kind == "cpu" else (1, 1)
        device, uuid = (f"cuda:{index}", _gpu_uuid(index)) if kind == "cuda" else ("cpu", "")
        if provider not in ort.get_available_providers():
            raise BackendError(_cuda_advice("ONNX Runtime here is the one for the CPU"))
        if kind == "cuda":
            # CUDA and cuDNN come as wheels, where no loader looks; what it prints about them is for the log.
            with redirect_stdout(sys.stderr):
                ort.preload_dlls()
        try:
            self._session = ort.InferenceSession(
                model.data,
                _session_options(ort, kind, each),
                providers=[(provider, _provider_options(kind, index))],
                # Or a GPU that fails in the middle of the night would go on as a CPU.
                enable_fallback=0,
            )
        except _errors() as error:
            raise BackendError(f"{provider} cannot load {model.path}: {_one_line(error)}") from error
        active = self._session.get_providers()
        if active[:1] != [provider]:
            raise BackendError(_cuda_advice(f"ONNX Runtime fell back to {active[0]}"))
        info = DeviceInfo(device, provider, model.card.precision, f"onnxruntime {ort.__version__}", uuid)
        super().__init__(batch_size, model.card.input_size, info)
        if kind == "cuda":
            # The first run chooses algorithms there, and finds out whether a batch fits: not on a film.
            self.infer(np.zeros((batch_size, 1, self.size, self.size), np.uint8))

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        try:
            values = self._session.run(_OUTPUTS, {"image": images})
        except _errors() as error:
            kind = MemoryRefusedError if _OUT_OF_MEMORY.search(str(error)) else BackendError
            raise kind(f"{self.device.provider} failed: {_one_line(error)}") from error
        return Outputs(*values)


def cuda_usable() -> bool:
    """ONNX Runtime has its CUDA provider and a GPU answers. Raises MissingExtraError without a runtime."""
    return _PROVIDERS["cuda"] in _runtime("cpu").get_available_providers() and bool(gpus())


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
            f"(pip uninstall {' '.join(_WHEELS)}), then install the one extra 'cpu' or 'gpu'"
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("screening", "gpu" if kind == "cuda" else "cpu") from error
    return onnxruntime


def _session_options(ort: Any, kind: str, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Errors only: everything that matters is checked and raised.
    options.log_severity_level = 3
    # Decoders share the processors: a pool that spins between batches takes their time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if kind == "cuda":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _provider_options(kind: str, index: int) -> dict[str, str]:
    if kind == "cpu":
        return {}
    # TF32 keeps 10 bits of the mantissa: what is called fp32 shall be fp32.
    return {"device_id": str(index), "use_tf32": "0"}


def _gpu_uuid(index: int) -> str:
    found = gpus()
    if not found:
        raise BackendError(_cuda_advice("no NVIDIA GPU or no driver answers"))
    for gpu in found:
        if gpu.index == index:
            return gpu.uuid
    raise BackendError(f"--device cuda:{index}: there are {len(found)} GPUs here, counted from 0")


def _cuda_advice(what: str) -> str:
    return (
        f"{what}: --device cuda needs an NVIDIA driver and the extra 'gpu' instead of 'cpu' "
        "(pip uninstall onnxruntime; pip install 'cxr-screen[gpu]'); or use --device cpu"
    )


def _errors() -> tuple[type[Exception], ...]:
    """What a session raises: ONNX Runtime's own exceptions derive from Exception and share no base."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = (
        value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)
    )
    return (*own, RuntimeError, ValueError)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
