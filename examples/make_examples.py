"""Make `examples/films` from originals of NIH ChestX-ray14: `python examples/make_examples.py DATA`.

DATA holds the originals named in `ORIGINALS`; their SHA-256 is checked, so provenance is certain. Every
run writes the same bytes: UIDs are hashes of names, dates are fixed, nothing is taken from the clock or the
machine. Persons are invented; sex, age and view are those of the NIH tables.
"""

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

Grey = NDArray[np.uint8] | NDArray[np.uint16]

ORIGINALS = {
    "00001543_004": (
        "raw-samples/images/nih_00001543_004.png",
        "cb3544326bf2da3d220b43cc61ee443c2f416c245e691be98f2fd22558e4c760",
    ),
    "00003363_001": (
        "raw-samples/images/nih_00003363_001.png",
        "ed3ba7d4fa55af64f67707a1b79dd28b62fcad079ea4a42d395c7e792a959153",
    ),
    "00001543_001": (
        "cxr/images/nih_00001543_001.jpg",
        "64251a720f29d7dc88d38665fdadca6fa036d0c7f47a0a1d781556f25d199a4d",
    ),
    "00008386_000": (
        "cxr/images/nih_00008386_000.jpg",
        "3eeb5d70e0035d785446beb6b4ba4d37a792095a5d99d4ae1fd5497c22a5c523",
    ),
    "00009683_000": (
        "cxr/images/nih_00009683_000.jpg",
        "85c1a59ddad2240c2f6e912ae60d465c2b6b87c3659c811724d78f74b7599977",
    ),
    "00013911_000": (
        "cxr/images/nih_00013911_000.jpg",
        "6adebf2dd8e6b424e497fc660681735ab0016d41013fb0a7b5a310746a6e2cd8",
    ),
    "00000550_000": (
        "cxr/images/nih_00000550_000.jpg",
        "351b23be98b47a86edd3a9c7e4094cb2f0d5b879fc71a86f426dd2c2ab71ea1f",
    ),
}
"""NIH image index -> path under DATA and SHA-256. PNG: as released. JPEG: reduced to 512 pixels."""

NODULE_BOX = (712, 358, 59, 48)
"""x, y, width, height in the released 1024 x 1024 pixels: NIH's BBox_List_2017.csv, 00008386_000, Nodule."""

DETECTOR = ((2500, 2048), 0.168)
"""Width, height, spacing in mm, the same for all films wrapped here: NIH's Data_Entry_2017."""

NOTE = """A text file among the films, as real folders have them. Nobody needs to look after it:
its row says `skipped`, `not_an_image`.
"""


@dataclass(frozen=True)
class Person:
    """A study of an invented person; sex, age and view are the original's."""

    study: str
    name: str
    patient_id: str
    sex: str
    age: int
    study_date: str
    accession_number: str


ADA = Person("study-1", "Example^Ada", "EXAMPLE-1", "F", 57, "20260105", "EX0001")
BEN = Person("study-2", "Example^Ben", "EXAMPLE-2", "M", 49, "20260105", "EX0002")
CLEO = Person("study-3", "Example^Cleo", "EXAMPLE-3", "F", 45, "20260106", "EX0003")
DAN = Person("study-4", "Example^Dan", "EXAMPLE-4", "M", 56, "20260106", "EX0004")


@dataclass(frozen=True)
class Original:
    """One film of NIH's: its index there, its file, and uint8 [H, W], bone bright."""

    index: str
    content: bytes
    grey: NDArray[np.uint8]

    @property
    def lossy_ratio(self) -> float | None:
        """Bytes of pixels for each byte of JPEG; None for a PNG."""
        return None if self.content.startswith(b"\x89PNG") else self.grey.size / len(self.content)


def original(data: Path, index: str) -> Original:
    """One original. Raises click.ClickException if it is missing or another file."""
    name, digest = ORIGINALS[index]
    path = data / name
    if not path.is_file():
        needed = "\n  ".join(name for name, _ in ORIGINALS.values())
        raise click.ClickException(f"{path} is missing; DATA must hold\n  {needed}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise click.ClickException(f"{path} is not the file that examples/films was made from")
    grey = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert grey is not None
    assert grey.ndim == 2
    return Original(index, content, grey.astype(np.uint8))


def halved_to_12_bits(grey: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """uint8 [2H, 2W] -> uint16 [H, W], 0 to 4095: four pixels' sum has 10 real bits of its own."""
    sums = grey.astype(np.uint32).reshape(grey.shape[0] // 2, 2, grey.shape[1] // 2, 2).sum(axis=(1, 3))
    return ((sums * 4095 + 510) // 1020).astype(np.uint16)


def widened_to_12_bits(grey: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """uint8 -> uint16, 0 to 4095; no detail is gained, only the encoding is that of a detector."""
    return ((grey.astype(np.uint32) * 4095 + 127) // 255).astype(np.uint16)


def uid_of(name: str) -> uid.UID:
    """The same UID for the same name, under the root of UUIDs (PS3.5 B.2)."""
    return uid.UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'cxr-screen examples {name}').int}")


def code(value: str, meaning: str) -> Dataset:
    """A SNOMED CT code as a sequence item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def common(person: Person, name: str, sop_class: str) -> FileDataset:
    """Patient, study, series, equipment and SOP modules (PS3.3 C.7.1.1, C.7.2.1, C.7.3.1, C.7.5.1, C.12)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = uid_of(f"{person.study}/{name}")
    meta.ImplementationClassUID = uid_of("implementation")
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID = person.name, person.patient_id
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "", person.sex, f"{person.age:03d}Y"
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "Removed by NIH; this person is invented"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid_of(person.study), uid_of(f"{person.study}/{sop_class}")
    ds.StudyDate, ds.StudyTime, ds.StudyID = person.study_date, "080000", person.study
    ds.AccessionNumber, ds.ReferringPhysicianName = person.accession_number, ""
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    ds.Manufacturer = "Example Detectors"
    ds.ImageComments = "NIH Clinical Center, ChestX-ray14; Wang et al., CVPR 2017"
    ds.BurnedInAnnotation = "NO"
    return ds


def set_pixels(ds: FileDataset, values: Grey, syntax: uid.UID, *, monochrome1: bool = False) -> None:
    """Image Pixel module (PS3.3 C.7.6.3) and encoding; `values` are bone bright, 8 or 12 bits."""
    bits = 8 if values.dtype == np.uint8 else 12
    if monochrome1:
        values = ((1 << bits) - 1 - values).astype(values.dtype)
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    ds.Rows, ds.Columns = values.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = values.dtype.itemsize * 8, bits, bits - 1
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.PixelData = values.astype(values.dtype.newbyteorder("<")).tobytes()
    ds["PixelData"].VR = "OW"
    if syntax == uid.ExplicitVRLittleEndian:
        return
    if syntax == uid.RLELossless:
        ds.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
        return
    if syntax == uid.JPEGLosslessSV1:
        frame = imagecodecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=bits)
    elif syntax == uid.JPEGLSLossless:
        frame = imagecodecs.jpegls_encode(values)
    elif syntax == uid.JPEG2000Lossless:
        frame = imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True, bitspersample=bits)
    else:
        raise NotImplementedError(syntax.name)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([bytes(frame)])
    ds["PixelData"].VR = "OB"


def film(
    person: Person,
    source: Original,
    values: Grey,
    syntax: uid.UID,
    *,
    view: str,
    number: int = 1,
    monochrome1: bool = False,
) -> FileDataset:
    """A Digital X-Ray image for presentation (PS3.3 A.26) of `values`, which are `source`'s, bone bright."""
    ds = common(person, f"film-{number}", uid.DigitalXRayImageStorageForPresentation)
    ds.InstanceNumber = number
    ds.Modality, ds.PresentationIntentType = "DX", "FOR PRESENTATION"
    ds.BodyPartExamined, ds.ViewPosition = "CHEST", view
    ds.ImageType, ds.DerivationDescription = ["DERIVED", "PRIMARY", ""], f"From {source.index}.png"
    ds.PatientOrientation, ds.ImageLaterality = ["L", "F"], "U"
    ds.AnatomicRegionSequence = [code("43799004", "Chest")]
    ds.ViewCodeSequence = [
        code("399348003", "Antero-posterior projection")
        if view == "AP"
        else code("272479007", "Postero-anterior projection")
    ]
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = []
    ds.DetectorType, ds.PositionerType = None, None
    # NIH squeezed films of any shape into 1024 x 1024: each pixel is as high and as wide as the rest says.
    (width, height), spacing = DETECTOR
    ds.ImagerPixelSpacing = [
        f"{height * spacing / values.shape[0]:.4f}",
        f"{width * spacing / values.shape[1]:.4f}",
    ]
    ds.AcquisitionContextSequence = []
    set_pixels(ds, values, syntax, monochrome1=monochrome1)
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1 if monochrome1 else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    # Required with either polarity, and says the same as MONOCHROME1 does: to be applied once, not twice.
    ds.PresentationLUTShape = "INVERSE" if monochrome1 else "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = 1 << ds.BitsStored - 1, 1 << ds.BitsStored
    set_lossy(ds, source.lossy_ratio)
    return ds


def set_lossy(ds: Dataset, ratio: float | None) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5): `ratio` of the JPEG that an original is, None for PNG."""
    ds.LossyImageCompression = "00" if ratio is None else "01"
    if ratio is not None:
        ds.LossyImageCompressionRatio, ds.LossyImageCompressionMethod = f"{ratio:.2f}", "ISO_10918_1"


def annotated(person: Person, source: Original) -> FileDataset:
    """A secondary capture (PS3.3 A.8) of the film with NIH's box drawn on it: somebody's result, no film."""
    x, y, width, height = (side * source.grey.shape[0] // 1024 for side in NODULE_BOX)
    drawn = cv2.rectangle(source.grey.copy(), (x, y), (x + width, y + height), 255, 2).astype(np.uint8)
    ds = common(person, "annotated", uid.SecondaryCaptureImageStorage)
    ds.Modality, ds.ConversionType = "OT", "WSD"
    ds.SeriesNumber, ds.SeriesDescription = 2, "Reader's box"
    ds.ImageType, ds.PatientOrientation, ds.Laterality = ["DERIVED", "SECONDARY"], ["L", "F"], ""
    set_pixels(ds, drawn, uid.RLELossless)
    set_lossy(ds, source.lossy_ratio)
    ds.BurnedInAnnotation = "YES"
    return ds


def save(ds: FileDataset, path: Path) -> None:
    """Write a DICOM file (PS3.10)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)


def make(data: Path, out: Path) -> None:
    """Write all example files below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "normal.png").write_bytes(original(data, "00003363_001").content)
    (out / "nodule.jpg").write_bytes(original(data, "00013911_000").content)
    (out / "notes.txt").write_text(NOTE)

    source = original(data, "00001543_004")
    values: Grey = halved_to_12_bits(source.grey)
    save(film(ADA, source, values, uid.ExplicitVRLittleEndian, view="AP"), out / "study-1/film-1.dcm")
    source = original(data, "00001543_001")
    save(film(ADA, source, source.grey, uid.RLELossless, view="AP", number=2), out / "study-1/film-2.dcm")

    source = original(data, "00008386_000")
    values = widened_to_12_bits(source.grey)
    # An archive that migrates without loss keeps the SOP Instance UID.
    for name, syntax in (("film", uid.JPEG2000Lossless), ("film-migrated", uid.JPEGLosslessSV1)):
        save(film(BEN, source, values, syntax, view="PA", monochrome1=True), out / f"study-2/{name}.dcm")
    save(annotated(BEN, source), out / "study-2/annotated.dcm")

    source = original(data, "00009683_000")
    mass = film(CLEO, source, source.grey, uid.JPEGLSLossless, view="PA", monochrome1=True)
    save(mass, out / "study-3/film.dcm")
    save(mass, out / "study-3/film-sent-twice.dcm")

    source = original(data, "00000550_000")
    cut = out / "study-4/film-cut-short.dcm"
    save(film(DAN, source, source.grey, uid.JPEGLosslessSV1, view="PA"), cut)
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 5])


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path(__file__).parent / "films",
    show_default="films beside this file",
)
def main(data: Path, out: Path) -> None:
    """Write the example films below --out from the originals in DATA."""
    make(data, out)
    click.echo(f"{sum(1 for path in out.rglob('*') if path.is_file())} files in {out}")


if __name__ == "__main__":
    main()
