"""From `--device` to an opened runtime. Runtimes are imported when they are asked for, never before."""

from dataclasses import dataclass

from screen.backends.base import Backend
from screen.errors import UsageError
from screen.gpus import Gpu, gpus
from screen.model import Model, VerifiedEngine

KINDS = ("auto", "cpu", "cuda", "openvino", "tensorrt")
_GPU_KINDS = ("cuda", "tensorrt")


@dataclass(frozen=True, slots=True)
class Device:
    """What `--device` says. indices: of GPUs, as the driver counts them; none on anything else."""

    kind: str
    indices: tuple[int, ...] = ()

    def __str__(self) -> str:
        return ":".join([self.kind, *filter(None, [",".join(map(str, self.indices))])])


def device_from_text(text: str) -> Device:
    """`auto`, `cpu`, `cuda`, `cuda:N`, `tensorrt:N,M` … -> Device. Raises UsageError."""
    kind, colon, rest = text.partition(":")
    if kind not in KINDS:
        raise UsageError(f"--device {text}: it is one of {', '.join(KINDS)}")
    if kind not in _GPU_KINDS:
        if colon:
            raise UsageError(f"--device {text}: only GPUs have a number")
        return Device(kind)
    numbers = rest.split(",") if colon else ["0"]
    if not all(number.isascii() and number.isdigit() and len(number) < 4 for number in numbers):
        raise UsageError(f"--device {text}: the GPU's number is missing, as in --device {kind}:0")
    indices = tuple(map(int, numbers))
    if len(set(indices)) < len(indices):
        raise UsageError(f"--device {text}: names a GPU twice")
    return Device(kind, indices)


def resolved_device(text: str) -> Device:
    """What `--device` comes to on this machine; `auto` is CUDA where ONNX Runtime has it and a GPU answers.

    Raises UsageError for a device that is not here, before anything is loaded for it.
    """
    device = device_from_text(text)
    if device.kind == "auto":
        from screen.backends import onnx

        device = Device("cuda", (0,)) if onnx.has_cuda() and gpus() else Device("cpu")
    gpus_of(device)
    if device.kind == "cuda":
        from screen.backends import onnx

        onnx.check_has_cuda()
    return device


def open_backend(
    model: Model, device: str, batch_size: int, threads: int, engine: VerifiedEngine | None = None
) -> Backend:
    """The runtime for `device`, the model loaded and proved to run where it was asked to.

    threads: processors that inference may use, for the CPU. engine: of this model, for TensorRT.
    Raises UsageError for a device that is not here, MissingExtraError without a runtime, BackendError if
    the runtime does not do what was asked: there is no silent fallback.
    """
    wanted = resolved_device(device)
    if wanted.kind == "openvino":
        from screen.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(model, batch_size, threads=threads)
    if wanted.kind == "cpu":
        from screen.backends.onnx import OnnxBackend

        return OnnxBackend(model, batch_size, threads=threads)
    found = gpus_of(wanted)
    if len(found) == 1:
        return open_on_gpu(model, wanted.kind, found[0], batch_size, engine)
    from screen.backends.several_gpus import open_gpus

    return open_gpus(model, wanted.kind, found, batch_size, engine)


def open_on_gpu(model: Model, kind: str, gpu: Gpu, batch_size: int, engine: VerifiedEngine | None) -> Backend:
    """One GPU in this process. kind: cuda or tensorrt."""
    if kind == "cuda":
        from screen.backends.onnx import CudaBackend

        return CudaBackend(model, batch_size, gpu)
    from screen.backends.tensorrt import open_tensorrt

    if engine is None:
        raise UsageError("--device tensorrt needs an engine")
    return open_tensorrt(model, engine, gpu, batch_size)


def gpus_of(device: Device) -> list[Gpu]:
    """The GPUs that it names, in its order. Raises UsageError if one is not there."""
    if device.kind not in _GPU_KINDS:
        return []
    found = {gpu.index: gpu for gpu in gpus()}
    if not found:
        raise UsageError(f"--device {device}: {no_gpu_advice(device.kind)}")
    missing = [str(index) for index in device.indices if index not in found]
    if missing:
        raise UsageError(
            f"--device {device}: there is no GPU {', '.join(missing)}; here are {len(found)}, counted from 0"
        )
    return [found[index] for index in device.indices]


def no_gpu_advice(kind: str) -> str:
    """What `cuda` or `tensorrt` lacks where no GPU answers, and what works without."""
    advice = (
        "no NVIDIA GPU or no driver answers here. It takes NVIDIA's driver (nvidia-smi shows what it finds; "
        "a container also needs --gpus all). What works without: --device cpu, or --device openvino with the "
        "extra 'openvino'"
    )
    ahead = "; engines for other machines can be built here: screen export trt --for sm89 --out FILE"
    return advice + ahead if kind == "tensorrt" else advice
