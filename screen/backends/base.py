"""What every runtime offers, and the life that all of them lead.

with open_backend(...) as backend:          # loads, warms up, proves device and precision
    outputs = backend.infer(images)         # uint8 [N, 1, S, S]; N is the batch size, padded
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from screen.errors import BackendError


@dataclass(frozen=True, slots=True)
class Outputs:
    """One batch's results, float32, row by row.

    logits [N, K]; heatmap [N, K, h, w]; embedding [N, D]; distance [N]; gate [N] (> 0: chest film).
    """

    logits: NDArray[np.float32]
    heatmap: NDArray[np.float32]
    embedding: NDArray[np.float32]
    distance: NDArray[np.float32]
    gate: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What really runs: read back from the opened runtime, never from what was asked for."""

    device: str
    provider: str
    precision: str
    runtime: str
    uuid: str = ""


class Backend(ABC):
    """One opened runtime. `infer` checks shapes and values, `_infer` computes.

    streams: how many threads may call `infer` at once, and should, to keep the device busy.
    """

    streams = 1

    def __init__(self, batch_size: int, size: int, device: DeviceInfo) -> None:
        self.batch_size = batch_size
        self.size = size
        self.device = device

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """images: uint8 [batch_size, 1, S, S] -> Outputs of as many rows.

        Raises BackendError if the runtime fails or returns NaN or infinity.
        """
        expected = (self.batch_size, 1, self.size, self.size)
        if images.shape != expected or images.dtype != np.uint8:
            raise BackendError(f"batch is {images.dtype} {images.shape}, the backend takes uint8 {expected}")
        outputs = self._infer(images)
        for name in ("logits", "distance", "gate"):
            if not np.isfinite(getattr(outputs, name)).all():
                raise BackendError(f"{self.device.provider} returned NaN or infinity in '{name}'")
        return outputs

    @abstractmethod
    def _infer(self, images: NDArray[np.uint8]) -> Outputs: ...

    def close(self) -> None:  # noqa: B027  most runtimes have nothing to give back
        """Give back what the runtime holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
