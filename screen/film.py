"""What a reader makes of a file: a `Film` to be screened, or `Unscreened` with a reason."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from screen.reasons import Reason, Status


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and what a film is, in DICOM's words; an empty string where a tag is absent or for a picture."""

    patient_id: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    view: str = ""
    """ViewPosition, or what stands for it (PA, AP, LL, …), upper case."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """Stored values and the one lookup that turns them into grey, bone bright.

    values: uint8 or uint16 [H, W], as stored (signed values shifted so that the smallest is 0).
    lookup: uint16 [256] or [65536], indexed by `values`: modality LUT → VOI LUT or window → polarity
    (PS3.3 C.11.1, C.11.2, C.7.6.3.1.2), 0 black … 65535 white, bone bright whatever the file says.
    """

    values: NDArray[np.uint8] | NDArray[np.uint16]
    lookup: NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Film:
    """One radiograph, read.

    pixel_digest: 32 bytes over the stored pixel bytes, the transfer syntax and every header field that
    enters the lookup: two films with the same digest give the same square.
    declared_chest: the tags say chest radiograph, so the gate may doubt it but not turn it away.
    """

    identity: Identity
    pixels: Pixels
    pixel_digest: bytes
    decoder: str
    declared_chest: bool
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Unscreened:
    """A file that ends without a score.

    `detail` may name a decoder's complaint or a tag's keyword, never a tag's content.
    """

    reason: Reason
    detail: str = ""
    identity: Identity = field(default_factory=Identity)
    declared_chest: bool = False

    @property
    def status(self) -> Status:
        """`skipped` or `failed`, as the table of reasons has it."""
        return self.reason.status
