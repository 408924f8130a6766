"""What every runtime offers, and the life that all of them lead.

with open_backend(...) as backend:          # loads, warms up, proves device and precision
    outputs = backend.infer(images)         # uint8 [N, 1, S, S]; N is the batch size, padded
"""

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from screen.errors import BackendError, MemoryRefusedError
from screen.model import ModelCard


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


def output_shapes(card: ModelCard) -> dict[str, tuple[int, ...]]:
    """Of `Outputs`, by name and in its order, without the batch axis."""
    findings = len(card.findings)
    return {
        "logits": (findings,),
        "heatmap": (findings, *card.heatmap_grid),
        "embedding": (card.embedding_size,),
        "distance": (),
        "gate": (),
    }


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What really runs: read back from the opened runtime, never from what was asked for.

    uuid: of the GPU, or of several, joined by commas. batch_halved_to: rows that fit into the device's memory
    at once; 0 while the whole batch fits. engine: digest of the engine's bytes, for TensorRT.
    """

    device: str
    provider: str
    precision: str
    runtime: str
    uuid: str = ""
    batch_halved_to: int = 0
    engine: str = ""


class Backend(ABC):
    """One opened runtime. `infer` checks shapes and values, `_infer` computes.

    streams: how many threads may call `infer` at once, and should, to keep the device busy.
    """

    streams = 1

    def __init__(self, batch_size: int, size: int, device: DeviceInfo) -> None:
        self.batch_size = batch_size
        self.size = size
        self.device = device
        self._rows = batch_size
        self._halving = threading.Lock()

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """images: uint8 [batch_size, 1, S, S] -> Outputs of as many rows, in the same order.

        A batch that the device has no memory for goes through in halves, that one and all later ones.
        Raises BackendError if the runtime fails, has no memory for a single row, or returns NaN or infinity.
        """
        expected = (self.batch_size, 1, self.size, self.size)
        if images.shape != expected or images.dtype != np.uint8:
            raise BackendError(f"batch is {images.dtype} {images.shape}, the backend takes uint8 {expected}")
        outputs = self._infer_what_fits(images)
        for name in ("logits", "distance", "gate"):
            if not np.isfinite(getattr(outputs, name)).all():
                raise BackendError(f"{self.device.provider} returned NaN or infinity in '{name}'")
        return outputs

    def _infer_what_fits(self, images: NDArray[np.uint8]) -> Outputs:
        while True:
            rows = self._rows
            try:
                if rows == len(images):
                    return self._infer(images)
                return _joined([self._infer(images[at : at + rows]) for at in range(0, len(images), rows)])
            except MemoryRefusedError:
                if rows == 1:
                    raise
                self._halve(rows)

    def _halve(self, refused: int) -> None:
        """Once for all streams that were refused the same number of rows."""
        with self._halving:
            if self._rows == refused:
                self._rows = refused // 2
                self.device = replace(self.device, batch_halved_to=self._rows)

    @abstractmethod
    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        """images: uint8 [N, 1, S, S], N = `batch_size`, or fewer after a `MemoryRefusedError` for more."""

    def close(self) -> None:  # noqa: B027  most runtimes have nothing to give back
        """Give back what the runtime holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _joined(parts: list[Outputs]) -> Outputs:
    return Outputs(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Outputs)})


class NullBackend(Backend):
    """Answers at once: logits and heat map are the square's mean grey, 0 … 1; the gate is 1, distance 0."""

    def __init__(self, card: ModelCard, batch_size: int) -> None:
        super().__init__(batch_size, card.input_size, DeviceInfo("null", "none", card.precision, "none"))
        self._card = card

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        findings, n = len(self._card.findings), len(images)
        grey = images.mean((1, 2, 3), dtype=np.float32) / np.float32(255)
        logits = np.repeat(grey[:, None], findings, axis=1)
        grid = (n, findings, *self._card.heatmap_grid)
        return Outputs(
            logits=logits,
            heatmap=np.broadcast_to(logits[:, :, None, None], grid).astype(np.float32),
            embedding=np.zeros((n, self._card.embedding_size), np.float32),
            distance=np.zeros(n, np.float32),
            gate=np.ones(n, np.float32),
        )
