"""OpenVINO on the CPU: fp32 as fast as ONNX Runtime, int8 faster."""

import queue
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.backends.base import Backend, DeviceInfo, Outputs
from screen.errors import BackendError, MissingExtraError
from screen.machine import network_streams
from screen.model import Model

_OUTPUTS = ("logits", "heatmap", "embedding", "distance", "gate")
_HALF = {"f16", "bf16"}
_INTEGER = {"i8", "u8"}


class OpenVinoBackend(Backend):
    """One compiled network, one inference request for each stream. threads: processors that it may use."""

    def __init__(self, model: Model, batch_size: int, *, threads: int) -> None:
        ov = quiet_openvino()
        self.streams, each = network_streams(threads)
        size = model.card.input_size
        try:
            core = ov.Core()
            network = core.read_model(model.data, b"")
            # A fixed shape is planned once; an open one is planned again for every request.
            network.reshape([batch_size, 1, size, size])
            self._compiled = core.compile_model(
                network, "CPU", _properties(self.streams * each, self.streams)
            )
            self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
            for _ in range(self.streams):
                self._requests.put(self._compiled.create_infer_request())
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot load {model.path}: {_one_line(error)}") from error
        self._check_what_runs(model.card.precision)
        runtime = f"openvino {ov.get_version().split('-')[0]}"
        info = DeviceInfo("openvino", "OpenVINO CPU", model.card.precision, runtime)
        super().__init__(batch_size, size, info)

    def _check_what_runs(self, precision: str) -> None:
        """The device and the precision of every layer, asked of the compiled network. Raises BackendError."""
        devices = self._compiled.get_property("EXECUTION_DEVICES")
        if devices != ["CPU"]:
            raise BackendError(f"OpenVINO runs on {devices} and not on the CPU")
        nodes = self._compiled.get_runtime_model().get_ops()
        precisions = {node.get_rt_info()["runtimePrecision"].astype(str) for node in nodes}
        if half := precisions & _HALF:
            raise BackendError(f"OpenVINO computes in {', '.join(sorted(half))}, not in {precision}")
        convolutions = {
            node.get_rt_info()["runtimePrecision"].astype(str)
            for node in nodes
            if node.get_rt_info()["layerType"].astype(str) == "Convolution"
        }
        if precision == "int8" and not convolutions & _INTEGER:
            raise BackendError("OpenVINO does not compute this model's convolutions in int8 here")

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        request = self._requests.get()
        try:
            # Shared with us for the call: `infer` returns when it is done with the images.
            results = request.infer({"image": images}, share_inputs=True)
            return Outputs(*(results[name].copy() for name in _OUTPUTS))
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed: {_one_line(error)}") from error
        finally:
            self._requests.put(request)


def installed() -> bool:
    """Whether the runtime can be imported."""
    try:
        quiet_openvino()
    except MissingExtraError:
        return False
    return True


def quiet_openvino() -> Any:
    """The library, imported so that it reports to nobody. Raises MissingExtraError."""
    # OpenVINO's import loads its model converter, which reports its use over the network. The converter is
    # optional, and what stands here as None counts as missing.
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("--device openvino", "openvino") from error
    return openvino


def _properties(threads: int, streams: int) -> dict[str, Any]:
    return {
        # Or processors with bfloat16 would use it for what is called fp32.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        # Batches side by side, not one in step: decoders take processors away all the time.
        "NUM_STREAMS": streams,
        # Decoders run on the same processors: a pinned thread would wait for its own.
        "ENABLE_CPU_PINNING": False,
        # No folder is written to.
        "CACHE_DIR": "",
    }


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
