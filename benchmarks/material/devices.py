"""The same real films as two makers' devices give them: another exposure, other greys, another header."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray

from export.realistic import BITS, SYNTAXES, dicom_bytes, file_bytes, uid_from_text

OLD, NEW = "AGFA", "SIEMENS"
_EXPLICIT = SYNTAXES["explicit"]
_NEW_BITS = 14
_STEEPER, _SHARPER = 1.6, 0.6
"""The new one's exponent of the grey, and how much of the fine structure it adds."""
_QUIET, _NOISY = 0.004, 0.012
"""Standard deviation of the noise, of the whole range: the new one exposes with a ninth of the dose."""
_MOVED = 0.06
"""Of a side: where a film is needed several times, its frame is cut by up to so much."""


def write_films(folder: Path, small: Sequence[NDArray[np.uint8]], count: int, maker: str) -> Path:
    """So many films of that maker's device as DICOM files; the folder.

    small: grey uint8 [h, w], bone bright; each comes as often as need be, its frame moved every time.
    """
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        grey = small[number % len(small)]
        film = _framed(grey, rng) if number >= len(small) else grey
        data = _of_old_device(film, rng, number) if maker == OLD else _of_new_device(film, rng, number)
        (folder / f"{number:05}.dcm").write_bytes(data)
    return folder


def _framed(grey: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    cuts = (rng.uniform(0, _MOVED, (2, 2)) * np.array([grey.shape]).T).astype(int)
    (top, bottom), (left, right) = cuts
    return grey[top : grey.shape[0] - bottom, left : grey.shape[1] - right]


def _of_old_device(grey: NDArray[np.uint8], rng: np.random.Generator, number: int) -> bytes:
    """Greys as they are, 12 bits, a window over all of them."""
    noisy = grey / 255 + rng.normal(0, _QUIET, grey.shape)
    return _file(noisy, number, OLD, BITS)


def _of_new_device(grey: NDArray[np.uint8], rng: np.random.Generator, number: int) -> bytes:
    """Less dose, a steeper curve and sharpened edges; 14 bits, inverted (MONOCHROME1), a sigmoid window."""
    film = np.asarray(grey / 255, np.float32)
    fine = film - cv2.GaussianBlur(film, (0, 0), 1.5)
    shown = film**_STEEPER + _SHARPER * fine + rng.normal(0, _NOISY, film.shape)
    return _file(
        1 - shown,
        number,
        NEW,
        _NEW_BITS,
        PhotometricInterpretation="MONOCHROME1",
        PresentationLUTShape="INVERSE",
        VOILUTFunction="SIGMOID",
    )


def _file(shares: NDArray[np.floating], number: int, maker: str, bits: int, **tags: str) -> bytes:
    """shares: 0 … 1 of the stored range, cut off there."""
    values = np.rint(shares.clip(0, 1) * ((1 << bits) - 1)).astype(np.uint16)
    uid = uid_from_text(f"{maker} {number}")
    ds = pydicom.dcmread(
        io.BytesIO(dicom_bytes(values, _EXPLICIT, sop_instance_uid=uid, patient_id=uid[-9:]))
    )
    ds.Manufacturer = maker
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.WindowCenter, ds.WindowWidth = 1 << (bits - 1), 1 << bits
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return file_bytes(ds, _EXPLICIT, values.tobytes())
