"""From `--device` to an opened runtime. Runtimes are imported when they are asked for, never before."""

from dataclasses import dataclass

from screen.backends.base import Backend
from screen.errors import UsageError
from screen.modelfile import Model

KINDS = ("auto", "cpu", "cuda", "openvino", "tensorrt")


@dataclass(frozen=True, slots=True)
class Device:
    """What `--device` says. index: of a GPU, 0 if it is not named."""

    kind: str
    index: int = 0


def device_from_text(text: str) -> Device:
    """`auto`, `cpu`, `cuda`, `cuda:N` … -> Device. Raises UsageError."""
    kind, colon, index = text.partition(":")
    if kind not in KINDS:
        raise UsageError(f"--device {text}: it is one of {', '.join(KINDS)}")
    if kind == "tensorrt":
        raise UsageError(f"--device {text} is not in this version: use --device cpu or --device cuda")
    if not colon:
        return Device(kind)
    if kind != "cuda":
        raise UsageError(f"--device {text}: only GPUs have a number")
    if "," in index:
        raise UsageError(f"--device {text}: this version uses one GPU: name one, as in --device cuda:0")
    if not (index.isascii() and index.isdigit() and len(index) < 4):
        raise UsageError(f"--device {text}: the GPU's number is missing, as in --device cuda:0")
    return Device(kind, int(index))


def open_backend(model: Model, device: str, batch_size: int, threads: int) -> Backend:
    """The runtime for `device`, the model loaded and proved to run where it was asked to.

    threads: processors that inference may use, for the CPU. `auto` is CUDA where ONNX Runtime has it and a
    GPU answers, else the CPU.
    Raises UsageError for a device that does not exist, MissingExtraError without a runtime, BackendError if
    the runtime does not do what was asked: there is no silent fallback.
    """
    wanted = device_from_text(device)
    if wanted.kind == "openvino":
        from screen.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(model, batch_size, threads=threads)
    from screen.backends import onnx

    if wanted.kind == "auto":
        wanted = Device("cuda" if onnx.cuda_usable() else "cpu")
    return onnx.OnnxBackend(model, wanted.kind, batch_size, threads=threads, index=wanted.index)
