"""Films made in code, in every way that a file can store them, and the files that must not be taken for one.

`film_values` is what is on them; `dicom_file` writes it down. Nothing here is anybody's radiograph.
"""

import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from screen.discover import Source
from screen.film import Film, Unscreened
from screen.readers import Limits, read

LOSSLESS_SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG lossless": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
    "HTJ2K": HTJ2KLossless,
}
DX = "1.2.840.10008.5.1.4.1.1.1.1"
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def film_values(rows: int = 120, columns: int = 100, bits: int = 12) -> NDArray[np.uint16]:
    """uint16 [rows, columns]: a bright middle between two dark fields, ribs, grain; nearly all `bits`."""
    y, x = np.mgrid[0:rows, 0:columns] / np.array([rows, columns]).reshape(2, 1, 1)
    lungs = np.exp(-(((x - 0.28) / 0.14) ** 2 + ((y - 0.5) / 0.3) ** 2))
    lungs += np.exp(-(((x - 0.72) / 0.14) ** 2 + ((y - 0.5) / 0.3) ** 2))
    grain = np.random.default_rng(7).normal(0, 0.01, (rows, columns))
    shown = 0.75 - 0.6 * lungs + 0.05 * np.sin(40 * y) + grain
    return np.asarray(np.clip(shown, 0.02, 0.98) * ((1 << bits) - 1), np.uint16)


def encoded(values: NDArray[Any], syntax: str) -> bytes:
    """One frame under a compressed, lossless transfer syntax."""
    if syntax == RLELossless:
        return get_encoder(RLELossless).encode(
            values,
            rows=values.shape[0],
            columns=values.shape[1],
            samples_per_pixel=1,
            number_of_frames=1,
            photometric_interpretation="MONOCHROME2",
            bits_allocated=8 * values.dtype.itemsize,
            # All of the cell is encoded, junk above the stored bits included.
            bits_stored=8 * values.dtype.itemsize,
            pixel_representation=int(values.dtype.kind == "i"),
        )
    if syntax == JPEGLosslessSV1:
        return imagecodecs.jpeg8_encode(values.view(f"u{values.itemsize}"), lossless=True, predictor=1)
    if syntax == JPEGLSLossless:
        return imagecodecs.jpegls_encode(values.view(f"u{values.itemsize}"))
    if syntax == JPEG2000Lossless:
        return imagecodecs.jpeg2k_encode(values, level=0, reversible=True, codecformat="j2k")
    if syntax == HTJ2KLossless:
        return imagecodecs.htj2k_encode(values, reversible=True)
    raise ValueError(syntax)


def dicom_file(
    values: NDArray[Any] | None,
    syntax: str = ExplicitVRLittleEndian,
    *,
    bits_stored: int = 12,
    frame: bytes | None = None,
    preamble: bool = True,
    **tags: Any,
) -> bytes:
    """A DX chest film with these stored values; `tags` replace, add or (None) remove attributes.

    values: uint8|int8|uint16|int16 [rows, columns]; None: no pixels. frame: encoded bytes instead of ours.
    """
    ds = Dataset()
    ds.SOPClassUID = DX
    ds.SOPInstanceUID = "1.2.826.0.1.3680043.10.1.3"
    ds.StudyInstanceUID = "1.2.826.0.1.3680043.10.1.1"
    ds.SeriesInstanceUID = "1.2.826.0.1.3680043.10.1.2"
    ds.Modality = "DX"
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = "PA"
    ds.PatientID = "PHANTOM"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    if values is not None:
        ds.Rows, ds.Columns = values.shape[:2]
        ds.BitsAllocated = 8 * values.dtype.itemsize
        ds.BitsStored, ds.HighBit = bits_stored, bits_stored - 1
        ds.PixelRepresentation = int(values.dtype.kind == "i")
    for keyword, value in tags.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, Sequence(value) if keyword.endswith("Sequence") else value)
    if values is not None:
        if syntax in NATIVE:
            order = ">" if syntax == ExplicitVRBigEndian else "<"
            data = frame if frame is not None else values.astype(values.dtype.newbyteorder(order)).tobytes()
            data += b"\0" * (len(data) % 2)
        else:
            data = encapsulate([frame if frame is not None else encoded(values, syntax)])
        is_bytes = values.dtype.itemsize == 1 or syntax not in NATIVE
        ds.add_new("PixelData", "OB" if is_bytes else "OW", data)
        ds["PixelData"].is_undefined_length = syntax not in NATIVE
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", DX)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    buffer = io.BytesIO()
    ds.save_as(
        buffer,
        enforce_file_format=True,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
    )
    data = buffer.getvalue()
    return data if preamble else data[132:]


def read_from_bytes(folder: Path, data: bytes, limits: Limits | None = None) -> Film | Unscreened:
    path = folder / "file"
    path.write_bytes(data)
    status = path.stat()
    return read(Source(path, "file", status.st_size, status.st_mtime_ns), limits or Limits())


def film(result: Film | Unscreened) -> Film:
    assert isinstance(result, Film), result
    return result


def exif(orientation: int) -> bytes:
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def jpeg_with_exif(samples: NDArray[np.uint8], orientation: int) -> bytes:
    body = b"Exif\0\0" + exif(orientation)
    jpeg = bytes(imagecodecs.jpeg8_encode(samples, level=98))
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
