"""What a reader makes of a file: a `Film` to be screened, or `Unscreened` with a reason."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason, Status
from screen.shortcuts import Shortcut


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
    modality: str = ""
    manufacturer: str = ""
    manufacturer_model_name: str = ""
    software_versions: str = ""
    station_name: str = ""
    institution_name: str = ""
    acquisition_date: str = ""
    patient_sex: str = ""
    patient_age: str = ""
    """As DICOM has it: 045Y, 003M. This and what stands above it is what nights are watched by."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """Stored values and the one lookup that turns them into grey, bone bright.

    values: uint8 or uint16 [H, W], as stored (signed values shifted so that the smallest is 0).
    lookup: uint16 [256] or [65536], indexed by `values`: modality LUT → VOI LUT or window → polarity
    (PS3.3 C.11.1, C.11.2, C.7.6.3.1.2), 0 black … 65535 white, bone bright whatever the file says.
    stored_shape: rows and columns of the film where `values` are a reduced picture of it; None: theirs.
    opposite: the lookup that the film would have under the other polarity; None: 65535 - lookup.
    aspect: height and width of a pixel, in proportion.
    """

    values: NDArray[np.uint8] | NDArray[np.uint16]
    lookup: NDArray[np.uint16]
    stored_shape: tuple[int, int] | None = None
    opposite: NDArray[np.uint16] | None = None
    aspect: tuple[int, int] = (1, 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the film as stored, however much of it was decoded."""
        return self.stored_shape or (self.values.shape[0], self.values.shape[1])

    def inverted(self) -> "Pixels":
        """The same film with the other polarity."""
        opposite = 65535 - self.lookup if self.opposite is None else self.opposite
        return replace(self, lookup=opposite, opposite=self.lookup)

    @property
    def is_monotone(self) -> bool:
        """Whether the lookup never turns: the mean of two values is then shown as a grey between theirs."""
        table = self.lookup
        return bool((table[1:] >= table[:-1]).all() or (table[1:] <= table[:-1]).all())


@dataclass(frozen=True, slots=True)
class Film:
    """One radiograph, read.

    pixel_digest: 32 bytes over the stored pixel bytes, the transfer syntax and every header field that
    enters the lookup: two films with the same digest give the same square. hash_seconds: what it cost.
    shortcut: how `pixels` came to be a reduced picture; None if they are the whole one.
    declared_chest: the tags say chest radiograph, so the gate may doubt it but not turn it away.
    """

    identity: Identity
    pixels: Pixels
    pixel_digest: bytes
    decoder: str
    declared_chest: bool
    warnings: tuple[str, ...] = field(default=())
    hash_seconds: float = 0.0
    shortcut: Shortcut | None = None


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
