"""The NVIDIA GPUs that this process may use, asked of the driver itself (libcuda), without any toolkit."""

import ctypes
import uuid
from dataclasses import dataclass

_LIBRARY = "libcuda.so.1"


@dataclass(frozen=True, slots=True)
class Gpu:
    """index: as `cuda:N` counts, CUDA_VISIBLE_DEVICES applied. uuid: `GPU-…` (of the slice, for MIG)."""

    index: int
    name: str
    uuid: str


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
