"""No network at all: for timing everything but the model, and for tests of what stands around it."""

import numpy as np
from numpy.typing import NDArray

from screen.backends.base import Backend, DeviceInfo, Outputs
from screen.model_card import ModelCard


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
