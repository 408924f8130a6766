"""What one would write first: read with cv2 or pydicom, CLAHE, eager torch, one film after the other.

Its squares are those of `screen.preprocess` (up to the rounding of 16 bits, which a test bounds), made as one
makes them with pydicom, OpenCV and numpy: nothing is left out and nothing is done twice.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from torch import Tensor

from screen.discover import Source
from screen.preprocess import Geometry, PreprocessSpec
from screen.readers.signature import HEAD_BYTES, Kind, kind_from_head
from train.network.resnet import ResNet18

Read = Callable[[Source], NDArray[Any]]
"""A file's grey levels [H, W] of any type and scale, bone bright. Raises whatever the library raises."""


class PlainLoop:
    """One film after the other, through a network of the same shape with random weights."""

    def __init__(self, spec: PreprocessSpec) -> None:
        torch.manual_seed(0)
        self._network = ResNet18(in_channels=1, num_classes=1).eval()
        self._spec = spec

    def score(self, source: Source) -> float | None:
        """A number for one film, None for a file that cv2 or pydicom can't read."""
        try:
            grey = read_plainly(source)
        except Exception:  # the readers' errors are of any type
            return None
        square = square_from_grey(grey, self._spec)
        with torch.inference_mode():
            x: Tensor = torch.from_numpy(square)[None, None].float() / 255
            return float(torch.sigmoid(self._network(x)))


def read_plainly(source: Source) -> NDArray[Any]:
    """`Read` by pydicom (its own choice of the decoders that are installed) or cv2."""
    return _from_dicom(source) if is_dicom(source) else _from_picture(source)


def is_dicom(source: Source) -> bool:
    """By the file's first bytes."""
    with source.open() as stream:
        return kind_from_head(stream.read(HEAD_BYTES)) is Kind.DICOM


def square_from_grey(grey: NDArray[Any], spec: PreprocessSpec) -> NDArray[np.uint8]:
    """Grey levels [H, W] -> uint8 [S, S]: area resize, percentile stretch, CLAHE, black padding."""
    height, width = grey.shape
    box = Geometry.fit(height, width, spec.size)
    shrinks = max(height, width) > spec.size
    small = cv2.resize(
        # In 8 bits the means of an area would lose what the stretch shows.
        grey.astype(np.float32),
        (box.content_width, box.content_height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    low, high = np.percentile(small, (spec.low_percentile, spec.high_percentile))
    stretched = np.clip((small - low) * (255 / max(high - low, 1e-6)), 0, 255)
    clahe = cv2.createCLAHE(spec.clahe_clip, (spec.clahe_tiles, spec.clahe_tiles))
    square = np.zeros((spec.size, spec.size), np.uint8)
    square[box.top : box.top + box.content_height, box.left : box.left + box.content_width] = clahe.apply(
        np.rint(stretched).astype(np.uint8)
    )
    return square


def read_pixels(source: Source) -> NDArray[Any]:
    """The stored values alone, as pydicom or cv2 gives them. Raises whatever they raise."""
    if is_dicom(source):
        return np.asarray(pydicom.dcmread(source.path).pixel_array)
    return _from_picture(source)


def _from_picture(source: Source) -> NDArray[Any]:
    image = cv2.imread(str(source.path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ValueError("cv2 cannot read it")
    return np.asarray(image)


def _from_dicom(source: Source) -> NDArray[Any]:
    ds = pydicom.dcmread(source.path)
    grey = np.asarray(apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds))
    if grey.ndim != 2:
        raise ValueError("not one grey frame")
    return grey.max() - grey if ds.PhotometricInterpretation == "MONOCHROME1" else grey
