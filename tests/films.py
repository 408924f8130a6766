"""Films made in code, as files: PNG and DICOM phantoms that the readers take for chest radiographs."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian


def pixels(seed: int, height: int = 96, width: int = 80) -> NDArray[np.uint8]:
    """Smooth, every seed another picture."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 10), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def png(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels(seed))[1].tobytes())
    return path


def dicom(
    path: Path,
    seed: int,
    *,
    sop: str = "",
    study: str = "1.2.3",
    photometric: str = "MONOCHROME2",
    patient: str = "PAT-77",
) -> Path:
    """A DX film of the chest. sop: its UID, made from the seed if not given."""
    values = pixels(seed)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = sop or f"1.2.3.{seed + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.1"
    ds.PatientID, ds.PatientName, ds.AccessionNumber, ds.StudyDate = (
        patient,
        "DOE^JANE",
        "ACC-55",
        "20260102",
    )
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "CHEST", "PA"
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.Rows, ds.Columns = values.shape
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelData = values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def retagged(data: bytes, old: bytes, new: bytes) -> bytes:
    """The file with the first short value that is `old` replaced by any bytes, its length told truly."""
    value = new + b" " * (len(new) % 2)
    for padding in (b" ", b"\0"):
        there = old + padding * (len(old) % 2)
        told = len(there).to_bytes(2, "little") + there
        if told in data:
            return data.replace(told, len(value).to_bytes(2, "little") + value, 1)
    raise ValueError(f"no value is {old!r}")
