"""Films as detectors give them, made from small real ones: full size, 12 bits, noise; and their DICOM files.

Real radiographs that may be copied about are small and have 8 bits. Decoders' speed, and what their shortcuts
do to scores, hang on size, depth and noise: these films have all three, and under every transfer syntax they
compress as hospitals' do (JPEG-LS and JPEG 2000 about 2.5 : 1).
"""

import hashlib
import io
import struct

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

SYNTAXES: dict[str, UID] = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg": JPEGBaseline8Bit,
    "jpeg-lossless": JPEGLosslessSV1,
    "jpeg-ls": JPEGLSLossless,
    "jpeg-2000": JPEG2000Lossless,
    "htj2k": HTJ2KLossless,
}
"""Short names of the transfer syntaxes that `dicom_bytes` writes."""

LONGER_SIDE = 3056
"""Pixels, of a 43 cm detector with 0.14 mm pixels."""

BITS = 12

_JPEG_QUALITY = 95
_DARKEST, _BRIGHTEST = 140, 3940
"""Stored values of grey 0 and 255: noise around them still fits into 12 bits."""
_NOISE = 8.0
"""Standard deviation where the film is darkest, stored values: sets how well the film compresses."""
_DOSE_RATIO = 10.0
"""Exposure behind the lungs over that behind the spine: the film shows its logarithm, where quantum noise is
in inverse proportion to the root of the exposure."""
_BLUR = 0.5
"""Of the noise, standard deviation in pixels: light spreads in the scintillator."""

NATIVE = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)


def film_from_small(
    small: NDArray[np.uint8], seed: int, longer_side: int = LONGER_SIDE
) -> NDArray[np.uint16]:
    """Grey uint8 [h, w], bone bright -> uint16 [H, W], 12 bits, max(H, W) = `longer_side`, aspect kept.

    Another seed gives other noise, and so another film; the same one gives the same film.
    """
    height, width = small.shape
    scale = longer_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    film = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.float32)
    film *= (_BRIGHTEST - _DARKEST) / 255
    film += _DARKEST
    white = np.random.default_rng(seed).standard_normal(film.shape, dtype=np.float32)
    noise = np.asarray(cv2.GaussianBlur(white, (3, 3), _BLUR), np.float32)
    noise *= 1 / _blur_gain()
    noise *= _noise_levels()[film.astype(np.int16).clip(0, (1 << BITS) - 1)]
    film += noise
    return np.rint(film, out=film).clip(0, (1 << BITS) - 1).astype(np.uint16)


def _blur_gain() -> float:
    """What the blur leaves of white noise's standard deviation."""
    kernel = cv2.getGaussianKernel(3, _BLUR)
    return float(np.square(kernel).sum())  # the root of the sum over both axes


def _noise_levels() -> NDArray[np.float32]:
    """float32 [4096]: standard deviation of the noise at a stored value."""
    level = np.arange(1 << BITS) / ((1 << BITS) - 1)
    return np.asarray(_NOISE * np.sqrt(_DOSE_RATIO) ** level, np.float32)


def eight_bits(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """12-bit stored values -> their upper 8 bits."""
    return (values >> (BITS - 8)).astype(np.uint8)


def dicom_bytes(
    values: NDArray[np.uint8] | NDArray[np.uint16],
    syntax: str,
    *,
    sop_instance_uid: str,
    study_instance_uid: str = "",
    patient_id: str = "BENCH",
) -> bytes:
    """A frontal chest film (DX For Presentation) with these stored values under this transfer syntax.

    values: uint8 (8 bits stored) or uint16 (12 bits stored) [H, W], bone bright. JPEG Baseline, the one lossy
    syntax, stores the upper 8 bits of 12. study_instance_uid: made from the film's own where none is given.
    Raises ValueError for a syntax that is not in `SYNTAXES`.
    """
    if syntax == JPEGBaseline8Bit and values.dtype == np.uint16:
        values = eight_bits(values.view(np.uint16))
    study = study_instance_uid or uid_from_text(sop_instance_uid)
    ds = Dataset()
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = sop_instance_uid
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = f"{study[:62]}.1"
    ds.PatientID = patient_id
    ds.StudyDate, ds.AccessionNumber = "20260101", ""
    ds.Modality = "DX"
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = "PA"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.PresentationLUTShape = "IDENTITY"
    ds.Rows, ds.Columns = values.shape
    ds.BitsAllocated = 8 * values.dtype.itemsize
    ds.BitsStored = BITS if values.dtype == np.uint16 else 8
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = 0
    ds.WindowCenter, ds.WindowWidth = 1 << (ds.BitsStored - 1), 1 << ds.BitsStored
    ds.LossyImageCompression = "01" if syntax == JPEGBaseline8Bit else "00"
    return file_bytes(ds, syntax, _native(values, syntax) if syntax in NATIVE else _encoded(values, syntax))


def file_bytes(ds: Dataset, syntax: str, frame: bytes | bytearray) -> bytes:
    """A data set and its one frame, encoded under the transfer syntax, as a file."""
    native = syntax in NATIVE
    padded = bytes(frame) + bytes(len(frame) % 2)
    ds.add_new(
        "PixelData",
        "OW" if native and ds.BitsAllocated == 16 else "OB",
        padded if native else encapsulate([padded]),
    )
    ds["PixelData"].is_undefined_length = not native
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    buffer = io.BytesIO()
    ds.save_as(
        buffer,
        enforce_file_format=True,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
    )
    return buffer.getvalue()


def uid_from_text(text: str) -> str:
    """A UID below 2.25 (PS3.5 B.2), the same for the same text."""
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:15], 'big')}"


def _native(values: NDArray[np.uint8] | NDArray[np.uint16], syntax: str) -> bytes:
    big = syntax == ExplicitVRBigEndian
    return values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes()


def _encoded(values: NDArray[np.uint8] | NDArray[np.uint16], syntax: str) -> bytes | bytearray:
    """One frame's code stream."""
    bits = BITS if values.dtype == np.uint16 else 8
    if syntax == RLELossless:
        return rle_frame(values)
    if syntax == JPEGBaseline8Bit:
        return imagecodecs.jpeg8_encode(values, level=_JPEG_QUALITY)
    if syntax == JPEGLosslessSV1:
        return imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=bits)
    if syntax == JPEGLSLossless:
        # It says 16 bits: neither size nor time is another.
        return imagecodecs.jpegls_encode(values)
    if syntax == JPEG2000Lossless:
        return imagecodecs.jpeg2k_encode(
            values, level=0, reversible=True, codecformat="j2k", bitspersample=bits
        )
    if syntax == HTJ2KLossless:
        return imagecodecs.htj2k_encode(values, reversible=True)
    raise ValueError(f"{syntax} is not among the transfer syntaxes that can be written")


def rle_frame(values: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """PackBits of every row of the high bytes, then of the low ones (PS3.5 G)."""
    planes = values.astype(values.dtype.newbyteorder(">")).view(np.uint8)
    planes = planes.reshape(*values.shape, values.dtype.itemsize)
    segments = []
    for plane in np.moveaxis(planes, -1, 0):
        segment = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in plane)
        segments.append(segment + b"\0" * (len(segment) % 2))
    offsets = [64 + sum(map(len, segments[:i])) for i in range(len(segments))]
    header = struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(offsets)))
    return header + b"".join(segments)
