"""DICOM results that were made of a night's cases: what must be the same when they are made again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class DicomObject:
    """One object that `screen dicom` has made, or was about to.

    kind: `sr`, a case's report, or `sc`, a film's capture. study_instance_uid, patient_id: of the case.
    film: SOP Instance UID of the film that a capture shows; empty for a report.
    says: SHA-256 (hex) of the result alone: another version may write the same result in another object.
    decided_at: when this result was first decided, ISO 8601 with offset. predecessor: SOP Instance UID of the
    report whose place it takes, empty if there is none. digest: SHA-256 (hex) of the file, empty until that
    was whole. earlier: an earlier night has made it.
    """

    sop_instance_uid: str
    series_instance_uid: str
    kind: str
    study_instance_uid: str
    patient_id: str
    film: str
    says: str
    decided_at: str
    predecessor: str = ""
    digest: str = ""
    earlier: bool = False

    @property
    def file(self) -> str:
        """Where it lies in the run's folder."""
        return f"{OBJECTS}/{self.sop_instance_uid}.dcm"

    @classmethod
    def from_record(cls, record: tuple[object, ...]) -> Self:
        """From its columns, which may be anybody's. Raises ValueError if one is not of its kind."""
        *others, earlier = record
        texts = [text for text in others if isinstance(text, str) and len(text) <= _LONGEST]
        if len(texts) < len(others) or earlier not in (0, 1):
            raise ValueError("no object")
        "".join(texts).encode()  # halves of characters can be kept, and written nowhere
        found = cls(**dict(zip(cls.__slots__, texts, strict=False)), earlier=bool(earlier))
        own = [found.sop_instance_uid, found.series_instance_uid, *filter(None, [found.predecessor])]
        digests = [found.says, *filter(None, [found.digest])]
        if (
            found.kind not in KINDS
            or bool(found.film) is not (found.kind == "sc")
            or not all(map(_is_own_uid, own))
            or not all(map(is_digest, digests))
            or not is_time(found.decided_at)
        ):
            raise ValueError("no object of ours")
        return found


KINDS = ("sr", "sc")
OBJECTS = "dicom"
"""Folder of the objects, in the run's."""
SELECT = """
SELECT
    sop_instance_uid, series_instance_uid, kind, study_instance_uid, patient_id, film, says, decided_at,
    predecessor, digest, earlier
FROM dicom_object
"""
"""What `from_record` takes."""
INSERT = "INSERT INTO dicom_object VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
"""What an object's fields are put by."""
_LONGEST = 300
"""Characters; tags are kept up to 256."""
_UUIDS = "2.25."


def _is_own_uid(text: str) -> bool:
    number = text.removeprefix(_UUIDS)
    is_number = number.isascii() and number.isdigit() and (number == "0" or number[0] != "0")
    return text.startswith(_UUIDS) and is_number and int(number) < 1 << 128


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 in hex."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def is_time(text: str) -> bool:
    """Whether it is a time of ISO 8601 with its offset."""
    try:
        return datetime.fromisoformat(text).utcoffset() is not None
    except ValueError:
        return False
