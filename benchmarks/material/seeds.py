"""Small files to start from: a corpus' own where they are small, and its films cut down in every encoding."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, uid

from export.realistic import NATIVE, file_bytes, rle_frame
from screen.discover import discover
from screen.film import Film
from screen.readers import read
from screen.readers.tags import quietly

MOST_BYTES = 24 << 10
"""Of a seed: what is larger is cut down."""
_ROWS, _COLUMNS = 152, 136
_FILMS = 4
"""So many of the corpus' films are cut down; each gives a file in every encoding."""


def seeds(corpora: Sequence[Path]) -> list[bytes]:
    """Files to mutate, none of them empty."""
    found: list[bytes] = []
    films: list[NDArray[Any]] = []
    for source in discover(corpora, None):
        data = source.path.read_bytes()
        small = len(data) <= MOST_BYTES
        if small and data:
            found.append(data)
        as_chest = _as_chest_film(data)
        if as_chest and small:
            found.append(as_chest)
        if len(films) < _FILMS and isinstance(film := read(source), Film):
            films.append(_cut_down(film.pixels.values))
    for values in films:
        found += _in_every_encoding(values)
    return found


def _as_chest_film(data: bytes) -> bytes | None:
    """A DICOM file under a chest film's tags, so that its pixels are not ruled out unseen."""
    try:
        with quietly():
            ds = dcmread(io.BytesIO(data))
            ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "CHEST", "PA"
            ds.PresentationIntentType = "FOR PRESENTATION"
            buffer = io.BytesIO()
            ds.save_as(buffer)
    except Exception:  # the corpus holds what no library can write again
        return None
    return buffer.getvalue()


def _cut_down(values: NDArray[Any]) -> NDArray[Any]:
    """The middle of a film, [at most _ROWS, at most _COLUMNS]."""
    top, left = max(0, values.shape[0] - _ROWS) // 2, max(0, values.shape[1] - _COLUMNS) // 2
    return np.ascontiguousarray(values[top : top + _ROWS, left : left + _COLUMNS])


def _in_every_encoding(values: NDArray[Any]) -> Iterator[bytes]:
    """values: uint8 | uint16 [H, W]."""
    grey8 = values if values.dtype == np.uint8 else (values >> max(0, int(values.max()).bit_length() - 8))
    grey8 = grey8.astype(np.uint8)
    for syntax in NATIVE:
        stored = values.byteswap() if syntax == uid.ExplicitVRBigEndian else values
        yield _dicom(values, syntax, stored.tobytes())
    yield _dicom(values, uid.JPEGLosslessSV1, imagecodecs.jpeg8_encode(values, lossless=True, predictor=1))
    yield _dicom(grey8, uid.JPEGBaseline8Bit, imagecodecs.jpeg8_encode(grey8, level=90))
    yield _dicom(values, uid.JPEGLSLossless, imagecodecs.jpegls_encode(values))
    j2k = imagecodecs.jpeg2k_encode(values, level=0, reversible=True, codecformat="j2k")
    yield _dicom(values, uid.JPEG2000Lossless, j2k)
    yield _dicom(values, uid.HTJ2KLossless, imagecodecs.htj2k_encode(values, reversible=True))
    yield _dicom(values, uid.RLELossless, rle_frame(values))
    colour = np.dstack([grey8, grey8[::-1], grey8])
    yield _dicom(colour, uid.ExplicitVRLittleEndian, colour.tobytes())
    yield _dicom(colour, uid.JPEGBaseline8Bit, imagecodecs.jpeg8_encode(colour, level=90))
    yield from _unusual_colours(colour)
    for encode in (imagecodecs.png_encode, imagecodecs.jpeg8_encode, imagecodecs.tiff_encode):
        yield bytes(encode(grey8))
        yield bytes(encode(colour))
    yield bytes(imagecodecs.png_encode(values))
    yield bytes(imagecodecs.tiff_encode(values))
    yield bytes(imagecodecs.webp_encode(colour))


def _unusual_colours(colour: NDArray[Any]) -> Iterator[bytes]:
    """Colours as no camera stores them: signed, deep, subsampled, by palettes. colour: uint8 [H, W, 3]."""
    for deep in (np.int8, np.int16, np.uint16, np.uint32):
        stream = imagecodecs.jpeg2k_encode(
            colour.astype(deep), level=0, reversible=True, codecformat="j2k", mct=False
        )
        yield _dicom(colour, uid.JPEG2000Lossless, stream)
    grey = np.ascontiguousarray(colour[..., 0])
    signed = imagecodecs.jpeg2k_encode(grey.view(np.int8), level=0, reversible=True, codecformat="j2k")
    yield _dicom(grey, uid.JPEG2000Lossless, signed)
    yield _dicom(colour, uid.JPEGLSLossless, imagecodecs.jpegls_encode(colour))
    yield _dicom(colour, uid.HTJ2KLossless, imagecodecs.htj2k_encode(colour, reversible=True))
    planes = [rle_frame(np.ascontiguousarray(colour[..., n])) for n in range(3)]
    yield _dicom(colour, uid.RLELossless, planes[0])
    for odd in (0, 1):
        luma = grey[: len(grey) - odd, : grey.shape[1] - odd]
        pairs = np.append(luma.ravel(), luma[-1:, -1:])[: luma.size + luma.size % 2].reshape(-1, 2)
        shared = np.hstack([pairs, np.full_like(pairs, 128)])
        subsampled = np.dstack([luma] * 3)
        yield _dicom(subsampled, uid.ExplicitVRLittleEndian, shared.tobytes(), "YBR_FULL_422")
    yield _dicom(grey, uid.ExplicitVRLittleEndian, grey.tobytes(), "PALETTE COLOR")
    table = np.repeat(np.arange(256, dtype=np.uint16)[np.newaxis] * 257, 3, axis=0)
    yield bytes(imagecodecs.tiff_encode(grey, photometric="palette", colormap=table))
    yield bytes(imagecodecs.jpeg8_encode(np.dstack([colour, grey]), colorspace="CMYK", outcolorspace="CMYK"))


def _dicom(values: NDArray[Any], syntax: str, frame: bytes | bytearray, photometric: str = "") -> bytes:
    """A chest film with windows, rescale and padding, so that these can be damaged as well."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = uid.DigitalXRayImageStorageForPresentation, "1.2.3.4"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    ds.PatientID, ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "P", "DX", "CHEST", "PA"
    ds.Rows, ds.Columns = values.shape[:2]
    ds.SamplesPerPixel = 1 if values.ndim == 2 else 3
    ds.PhotometricInterpretation = photometric or ("MONOCHROME2" if values.ndim == 2 else "RGB")
    if photometric == "PALETTE COLOR":
        for ink in ("Red", "Green", "Blue"):
            for part, vr, value in (
                ("Descriptor", "US", [256, 0, 16]),
                ("Data", "OW", bytes(range(256)) * 2),
            ):
                setattr(ds, f"{ink}PaletteColorLookupTable{part}", value)
                ds[f"{ink}PaletteColorLookupTable{part}"].VR = vr
    if values.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = 8 * values.dtype.itemsize
    ds.BitsStored = max(8, int(values.max()).bit_length())
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = 0
    ds.WindowCenter, ds.WindowWidth = [2 ** (ds.BitsStored - 1), 100], [2**ds.BitsStored, 50]
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 16], np.arange(256, dtype="<u2").tobytes()
    table["LUTDescriptor"].VR = "US"
    table["LUTData"].VR = "OW"
    if syntax == uid.ImplicitVRLittleEndian:
        ds.VOILUTSequence = [table]
    ds.PixelPaddingValue = 0
    ds["PixelPaddingValue"].VR = "US"
    return file_bytes(ds, syntax, frame)
