"""The NVIDIA GPUs that this process may use, asked of the driver itself (libcuda), without any toolkit."""

import ctypes
import uuid
from dataclasses import dataclass

from screen.errors import BackendError

_LIBRARY = "libcuda.so.1"
_MANAGEMENT = "libnvidia-ml.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
"""Of CUdevice_attribute."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """index: as `cuda:N` counts, CUDA_VISIBLE_DEVICES applied. uuid: `GPU-…` (of the slice, for MIG)."""

    index: int
    name: str
    uuid: str


def capability(index: int) -> str:
    """The compute capability of a GPU, `sm89`. Raises BackendError if the driver does not say."""
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    try:
        cuda = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise BackendError("no NVIDIA driver answers") from error
    answers = (
        cuda.cuInit(0),
        cuda.cuDeviceGet(ctypes.byref(device), index),
        cuda.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device),
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device),
    )
    if any(answers):
        raise BackendError(f"the driver does not say what GPU {index} can do (CUDA errors {answers})")
    return f"sm{major.value}{minor.value}"


def driver_version() -> str:
    """Of NVIDIA's driver, `580.65.06`; where its management library is not at hand, of CUDA in it."""
    text, number = ctypes.create_string_buffer(96), ctypes.c_int()
    try:
        management = ctypes.CDLL(_MANAGEMENT)
        if management.nvmlInit_v2() == 0:
            answer = management.nvmlSystemGetDriverVersion(text, len(text))
            management.nvmlShutdown()
            if answer == 0:
                return text.value.decode(errors="replace")
    except (OSError, AttributeError):
        pass
    try:
        if ctypes.CDLL(_LIBRARY).cuDriverGetVersion(ctypes.byref(number)) == 0:
            return f"CUDA {number.value // 1000}.{number.value % 1000 // 10}"
    except OSError:
        pass
    raise BackendError("no NVIDIA driver answers")


def gpus() -> list[Gpu]:
    """All GPUs that the driver offers; none without a driver or where it fails."""
    try:
        cuda = ctypes.CDLL(_LIBRARY)
        get_uuid = cuda.cuDeviceGetUuid_v2
    except (OSError, AttributeError):
        return []
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    found = []
    for index in range(count.value):
        device, name, raw = ctypes.c_int(), ctypes.create_string_buffer(256), (ctypes.c_ubyte * 16)()
        answers = (
            cuda.cuDeviceGet(ctypes.byref(device), index),
            cuda.cuDeviceGetName(name, len(name), device),
            get_uuid(raw, device),
        )
        if not any(answers):
            found.append(
                Gpu(index, name.value.decode(errors="replace"), f"GPU-{uuid.UUID(bytes=bytes(raw))}")
            )
    return found
