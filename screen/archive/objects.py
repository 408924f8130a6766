"""What all our DICOM objects have in common: who made them, when, of which patient and study."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

from highdicom import SOPClass
from pydicom import Dataset
from pydicom.valuerep import DA, DT, TM

from screen import __version__
from screen.archive.headers import OF_THE_FILM
from screen.ledger import DicomObject
from screen.machine import library_version
from screen.readers.eligibility import OWN_EQUIPMENT

MANUFACTURER = f"{OWN_EQUIPMENT} project"
WRITER = (
    __version__,
    *(
        f"{name} {library_version(name)}"
        for name in ("highdicom", "pydicom", "pillow", "opencv-python-headless")
    ),
)
"""The versions of everything that decides about an object's bytes."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which object it is. of: as the ledger keeps it. predecessor: of a report, the one before it."""

    of: DicomObject
    predecessor: DicomObject | None = None

    @property
    def decided(self) -> datetime:
        """When the result was first decided, by the clock there, to the second."""
        return datetime.fromisoformat(self.of.decided_at).replace(microsecond=0)

    @property
    def date(self) -> DA:
        """As DICOM has it."""
        return DA(self.decided.date())

    @property
    def time(self) -> TM:
        """As DICOM has it."""
        return TM(self.decided.time())


def finished(ds: SOPClass, header: Dataset, stamp: Stamp) -> bytes:
    """The file: with patient and study as the film's header has them, and no time but the decision's."""
    for element in header:
        if element.keyword not in OF_THE_FILM:
            ds[element.tag] = element
    ds.ManufacturerModelName = OWN_EQUIPMENT
    ds.SoftwareVersions = list(WRITER)  # type: ignore[assignment]
    ds.ContentDate = ds.InstanceCreationDate = stamp.date
    ds.ContentTime = ds.InstanceCreationTime = stamp.time
    for equipment in ds.ContributingEquipmentSequence:
        equipment.ContributionDateTime = DT(stamp.decided.replace(tzinfo=None))
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def digest_of_file(data: bytes) -> str:
    """SHA-256 (hex)."""
    return hashlib.sha256(data).hexdigest()
