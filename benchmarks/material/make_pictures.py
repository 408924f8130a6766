"""Pictures that are no chest film, out of Debian packages: photographs, drawings, documents, slices, skulls.

What the gate was never shown decides what it is worth, and nobody collects such pictures. Packages are found
wherever they were unpacked (`apt-get download NAME`, `dpkg -x NAME*.deb FOLDER/NAME`); what is taken from
them hangs on their contents alone.
"""

import gzip
import random
import struct
import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

MOST = 150
"""Pictures of a kind."""
_LONGEST, _SHORTEST = 1024, 64
"""Side, pixels: larger ones are scaled down, smaller ones are icons and left out."""
_SUFFIXES = {".png", ".jpg", ".webp"}
_NIFTI_TYPES = {2: np.uint8, 4: np.int16, 8: np.int32, 16: np.float32, 64: np.float64, 256: np.int8}

Grey = NDArray[np.uint8]
Volume = NDArray[np.float32]

_PICTURE_FOLDERS = {
    "clip-art": ("openclipart-png", ""),
    "documents": ("opencv-doc", "usr/share/doc/opencv-doc/opencv4"),
    "elements": ("kalzium-data", ""),
    "game-textures": ("extremetuxracer-data", ""),
    "maps": ("kgeography-data", ""),
    "paint-program": ("gimp-data", ""),
    "planets": ("xplanet-images", ""),
    "samples": ("opencv-doc", "usr/share/doc/opencv-doc/examples"),
    "stamps": ("tuxpaint-stamps-default", ""),
    "wallpapers-gnome": ("gnome-backgrounds", ""),
    "wallpapers-mate": ("mate-backgrounds", ""),
}
"""Kind -> package, and the folder in it."""


def make(out: Path, packages: Path) -> dict[str, int]:
    """Write OUT/KIND/NAME.png for every kind whose package is in a folder of its name in `packages`.

    How many of each kind there are. Grey, 8 bits, sides of 64 to 1,024 pixels.
    """
    kinds: dict[str, Iterator[tuple[str, Grey]]] = {
        kind: _pictures_in(packages / package / folder)
        for kind, (package, folder) in _PICTURE_FOLDERS.items()
        if (packages / package).is_dir()
    }
    if (volumes := packages / "mricron-data").is_dir():
        kinds["brain-mr"] = _brain_slices(volumes)
    if (example := packages / "invesalius-examples").is_dir():
        head = _head(example)
        kinds |= {"head-ct": _head_slices(head), "skull-radiographs": _skulls(head)}
    counts = {}
    for kind, pictures in kinds.items():
        (out / kind).mkdir(parents=True, exist_ok=True)
        counts[kind] = 0
        for name, values in islice(pictures, MOST):
            cv2.imwrite(str(out / kind / f"{name}.png"), values)
            counts[kind] += 1
    return counts


def _pictures_in(folder: Path) -> Iterator[tuple[str, Grey]]:
    draws = random.Random(0)
    paths = sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
    draws.shuffle(paths)
    for index, path in enumerate(paths):
        values = _grey(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), on_white=draws.random() < 0.5)
        if values is not None:
            yield f"{index:04}-{path.stem}", values


def _grey(image: NDArray[np.uint8] | None, on_white: bool) -> Grey | None:
    """None for what is no picture, an icon, or of one grey."""
    if image is None or min(image.shape[:2]) < _SHORTEST:
        return None
    if image.ndim == 3 and image.shape[2] == 4:
        cover = image[..., 3:] / 255
        image = (image[..., :3] * cover + 255 * on_white * (1 - cover)).astype(np.uint8)
    values = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    if values.dtype != np.uint8 or values.std() < 3:
        return None
    scale = _LONGEST / max(values.shape)
    if scale < 1:
        values = cv2.resize(values, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(values, np.uint8)


def _brain_slices(package: Path) -> Iterator[tuple[str, Grey]]:
    for path in sorted(package.rglob("*.nii.gz")):
        volume = _nifti(path)
        for axis, share in ((axis, share) for axis in range(3) for share in (0.3, 0.42, 0.5, 0.6, 0.7)):
            plane = np.rot90(np.take(volume, int(share * volume.shape[axis]), axis))
            if plane.std() > 0 and min(plane.shape) >= _SHORTEST:
                yield f"{path.name.partition('.')[0]}-{axis}-{share}", _stretched(plane, 0.01, 0.995)


def _nifti(path: Path) -> Volume:
    """NIfTI-1, little-endian, three dimensions."""
    data = gzip.decompress(path.read_bytes())
    shape = struct.unpack("<3h", data[42:48])
    kind, offset = struct.unpack("<h", data[70:72])[0], int(struct.unpack("<f", data[108:112])[0])
    values = np.frombuffer(data, _NIFTI_TYPES[kind], int(np.prod(shape)), offset)
    return values.reshape(shape, order="F").astype(np.float32)


def _head(package: Path) -> Volume:
    """CT of a head in Hounsfield units, planes from the feet up, of pixels of .957 mm, 1.5 mm apart."""
    with tarfile.open(next(package.rglob("Cranium.inv3"))) as archive:
        member = next(m for m in archive if m.name.endswith("/matrix.dat"))
        stream = archive.extractfile(member)
        assert stream is not None
        return np.frombuffer(stream.read(), np.int16).reshape(108, 256, 256).astype(np.float32)


def _head_slices(head: Volume) -> Iterator[tuple[str, Grey]]:
    for index in range(4, len(head) - 4, 4):
        width = 1800 if index % 8 else 400  # bone, and soft tissue
        yield f"{index:03}", (np.clip((head[index] + 100) / width, 0, 1) * 255).astype(np.uint8)


def _skulls(head: Volume) -> Iterator[tuple[str, Grey]]:
    """What an X-ray tube would see from all sides: attenuation, added up."""
    attenuation = np.clip(head + 1000, 0, 3000) / 1000
    side = attenuation.shape[1]
    for angle in range(0, 360, 15):
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1)
        lines = [cv2.warpAffine(plane, turn, (side, side)).sum(0) for plane in attenuation]
        film = cv2.resize(np.stack(lines[::-1]), (512, int(512 * len(lines) * 1.5 / (side * 0.957))))
        yield f"{angle:03}", _stretched(film, 0.05, 0.999)


def _stretched(values: Volume, low: float, high: float) -> Grey:
    darkest, brightest = np.quantile(values, [low, high])
    return (np.clip((values - darkest) / max(brightest - darkest, 1e-6), 0, 1) * 255).astype(np.uint8)
