"""What one would write first: read with cv2 or pydicom, CLAHE, eager torch, one film after the other."""

import cv2
import numpy as np
import pydicom
import torch
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from torch import Tensor

from screen.discover import Source
from screen.film import Pixels
from screen.preprocess import PreprocessSpec, square_from_pixels
from screen.readers.signature import HEAD_BYTES, Kind, kind_from_head
from train.model import ResNet18

_IDENTITY_16 = np.arange(65536, dtype=np.uint16)
_IDENTITY_8 = (np.arange(256) * 257).astype(np.uint16)


class PlainLoop:
    """The earlier kind of program, with the same squares and a network of the same shape."""

    def __init__(self, spec: PreprocessSpec) -> None:
        torch.manual_seed(0)
        self._network = ResNet18(in_channels=1, num_classes=1).eval()
        self._spec = spec

    def score(self, source: Source) -> float | None:
        """A number for one film, None for a file that cv2 or pydicom can't read."""
        try:
            px = _pixels(source)
        except Exception:  # the readers' errors are of any type
            return None
        square = square_from_pixels(px, self._spec).values
        with torch.inference_mode():
            x: Tensor = torch.from_numpy(square)[None, None].float() / 255
            return float(torch.sigmoid(self._network(x)))


def _pixels(source: Source) -> Pixels:
    with source.open() as stream:
        kind = kind_from_head(stream.read(HEAD_BYTES))
    return _from_dicom(source) if kind is Kind.DICOM else _from_picture(source)


def _from_picture(source: Source) -> Pixels:
    image = cv2.imread(str(source.path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ValueError("cv2 cannot read it")
    return Pixels(image.astype(np.uint8, copy=False), _IDENTITY_8)


def _from_dicom(source: Source) -> Pixels:
    ds = pydicom.dcmread(source.path)
    grey = np.asarray(apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds), np.float32)
    if grey.ndim != 2:
        raise ValueError("not one grey frame")
    low, high = float(grey.min()), float(grey.max())
    grey = (grey - low) * (65535 / max(high - low, 1e-6))
    if ds.PhotometricInterpretation == "MONOCHROME1":
        grey = 65535 - grey
    return Pixels(np.round(grey).astype(np.uint16), _IDENTITY_16)
