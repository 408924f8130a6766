"""Array libraries on a device, for squares that are made there."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu.engines import torch_device


@dataclass(frozen=True, slots=True)
class Arrays:
    """xp: the library, whose current device is this one within `device`. put, get: to the device and back."""

    name: str
    xp: Any
    put: Callable[[NDArray[Any]], Any]
    get: Callable[[Any], NDArray[Any]]
    device: Callable[[], AbstractContextManager[Any]]


def arrays_on(device: str) -> tuple[list[Arrays], dict[str, str]]:
    """All libraries that have the device: NumPy and PyTorch, or CuPy and PyTorch; why another is left out."""
    where = torch_device(device)
    on_torch = Arrays(
        "PyTorch",
        torch,
        lambda array: torch.from_numpy(array).to(where),
        lambda tensor: np.asarray(tensor.cpu()),
        lambda: torch.device(where),
    )
    if where == "cpu":
        return [Arrays("NumPy", np, np.asarray, np.asarray, nullcontext), on_torch], {}
    try:
        import cupy
    except ImportError as error:
        return [on_torch], {"CuPy": str(error)}
    index = int(where.partition(":")[2])
    on_cupy = Arrays("CuPy", cupy, cupy.asarray, cupy.asnumpy, lambda: cupy.cuda.Device(index))
    return [on_cupy, on_torch], {}
