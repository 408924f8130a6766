"""CLAHE of a training batch, on the device that holds it; the same greys on every device."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from screen.clahe import equalise

_TILES = 8


def equalised(squares: Tensor, clip: NDArray[np.float64]) -> Tensor:
    """uint8 [N, S, S], each film by its own clip limit [N] -> the same shape, a new tensor."""
    # OpenCV is many times as fast on a processor.
    return _by_opencv(squares, clip) if squares.device.type == "cpu" else on_device(squares, clip)


def on_device(squares: Tensor, clip: NDArray[np.float64]) -> Tensor:
    """`equalised` in tensor operations alone."""
    n, size, _ = squares.shape
    with squares.device:
        boxes = torch.tensor([[0, 0, size, size]]).expand(n, 4)
        result: Tensor = equalise(squares, boxes, torch.asarray(clip), _TILES, torch)
    return result


def _by_opencv(squares: Tensor, clip: NDArray[np.float64]) -> Tensor:
    films = [
        cv2.createCLAHE(float(c), (_TILES, _TILES)).apply(s)
        for c, s in zip(clip, squares.numpy(), strict=True)
    ]
    return torch.from_numpy(np.stack(films)) if films else squares.clone()
