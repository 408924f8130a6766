"""What stands in for a GPU in the processes of several: the null backend, or one that fails on request."""

import os
import signal
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from screen.backends import Outputs
from screen.backends.base import NullBackend
from screen.backends.several_gpus import SeveralGpus, open_gpus
from screen.errors import BackendError, MemoryRefusedError, UsageError
from screen.gpus import Gpu
from screen.model import Model, VerifiedEngine
from tests.micro_model import micro_model

DEADLY, LOST, BUG = 255, 254, 253
"""A film of this grey alone kills the process, loses the GPU, or meets an error of our own."""


class NullGpu(NullBackend):
    """`distance` is the GPU's number. rows: that it has memory for."""

    def __init__(self, model: Model, gpu: Gpu, batch_size: int, rows: int) -> None:
        super().__init__(model.card, batch_size)
        self.device = replace(self.device, device=f"cuda:{gpu.index}", uuid=gpu.uuid)
        self._gpu, self._fitting = gpu, rows
        self.infer(np.zeros((batch_size, 1, self.size, self.size), np.uint8))

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        if len(images) > self._fitting:
            raise MemoryRefusedError("cudaMalloc: out of memory")
        first = images[0].min()
        if first == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if first == LOST:
            raise BackendError(f"cuda:{self._gpu.index}: an illegal memory access was encountered")
        if first == BUG:
            raise ZeroDivisionError("a bug")
        outputs = super()._infer(images)
        outputs.distance[:] = self._gpu.index
        return outputs


def null(model: Model, kind: str, gpu: Gpu, batch_size: int, engine: VerifiedEngine | None) -> NullGpu:
    """Cards with memory for as many rows as their name says."""
    if gpu.name == "not there":
        raise UsageError("no such GPU")
    return NullGpu(model, gpu, batch_size, int(gpu.name))


def opened(*rows: object, batch_size: int = 4) -> SeveralGpus:
    """A GPU with memory for so many rows each."""
    gpus = [Gpu(index, str(name), f"GPU-{index}") for index, name in enumerate(rows)]
    return open_gpus(micro_model(), "cuda", gpus, batch_size, None, "tests.null_gpu:null")
