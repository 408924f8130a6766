"""Every status, reason and warning code: the one table. docs/codes.md shows it; a test holds the two equal.

A reason explains a row without a score; its status is `skipped` (deliberately: nothing to look after)
or `failed` (somebody must look). A warning stands beside a score. Codes are only ever appended.
"""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What became of a file."""

    SCREENED = "screened"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class _Entry:
    status: Status
    meaning: str


class Reason(StrEnum):
    """Why a file has no score."""

    NOT_AN_IMAGE = "not_an_image"
    EMPTY_FILE = "empty_file"
    DICOMDIR = "dicomdir"
    NOT_A_RADIOGRAPH = "not_a_radiograph"
    NOT_CHEST = "not_chest"
    LATERAL_VIEW = "lateral_view"
    FOR_PROCESSING = "for_processing"
    DERIVED = "derived"
    UNLIKE_CHEST = "unlike_chest"
    UNREADABLE = "unreadable"
    FOLDER_UNREADABLE = "folder_unreadable"
    CORRUPT_HEADER = "corrupt_header"
    CORRUPT_PIXELS = "corrupt_pixels"
    UNSUPPORTED_SYNTAX = "unsupported_syntax"
    UNSUPPORTED_PIXELS = "unsupported_pixels"
    NO_PIXELS = "no_pixels"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    DECODER_CRASHED = "decoder_crashed"
    TIMED_OUT = "timed_out"
    CHANGED_WHILE_READ = "changed_while_read"
    READER_ERROR = "reader_error"

    @property
    def status(self) -> Status:
        """`skipped` or `failed`."""
        return _REASONS[self].status

    @property
    def meaning(self) -> str:
        """One line for a person."""
        return _REASONS[self].meaning


_SKIPPED = {
    Reason.NOT_AN_IMAGE: "not an image: its first bytes say text, archive, program, …",
    Reason.DICOMDIR: "an index of DICOM files, not an image",
    Reason.NOT_A_RADIOGRAPH: "a DICOM object of another kind (CT, MR, report, structure set, …)",
    Reason.NOT_CHEST: "a radiograph whose tags name another body part",
    Reason.LATERAL_VIEW: "a lateral or oblique chest film: the network knows only frontal films",
    Reason.FOR_PROCESSING: "raw data of a detector (For Processing), not meant for reading",
    Reason.DERIVED: "somebody's result (an earlier report, a screen capture, …), not a film",
    Reason.UNLIKE_CHEST: "the tags do not say what it shows, and it does not look like a chest radiograph",
}
_FAILED = {
    Reason.EMPTY_FILE: "no bytes in it, or only zeros: perhaps the transfer was interrupted",
    Reason.UNREADABLE: "the file cannot be opened or read (permissions, disk error)",
    Reason.FOLDER_UNREADABLE: "the folder cannot be listed: nobody knows what is in it",
    Reason.CORRUPT_HEADER: "the header cannot be read, or lacks what is needed to decode the pixels",
    Reason.CORRUPT_PIXELS: "the pixel data are damaged or cut short",
    Reason.UNSUPPORTED_SYNTAX: "there is no decoder for this transfer syntax or file format",
    Reason.UNSUPPORTED_PIXELS: "a kind of pixels that no radiograph has (float, 1 bit, 32 bits, …)",
    Reason.NO_PIXELS: "a chest radiograph without pixel data",
    Reason.TOO_LARGE: "more pixels or memory than the limit: not a film, or made to do harm",
    Reason.TOO_SMALL: "fewer than 32 pixels on a side: too small to see anything",
    Reason.DECODER_CRASHED: "the decoder crashed on this file",
    Reason.TIMED_OUT: "reading took longer than the limit",
    Reason.CHANGED_WHILE_READ: "the file changed while it was read: run again when it is complete",
    Reason.READER_ERROR: "an error in this program that the file brought to light: report it with the log",
}
_REASONS = {code: _Entry(Status.SKIPPED, text) for code, text in _SKIPPED.items()} | {
    code: _Entry(Status.FAILED, text) for code, text in _FAILED.items()
}


UNREACHABLE = frozenset({Reason.UNREADABLE, Reason.FOLDER_UNREADABLE})
"""Where the disk or the network may be at fault and not the file."""


class Warn(StrEnum):
    """What a person should know beside a score."""

    UNLIKE_CHEST = "unlike_chest"
    UID_REUSED = "uid_reused"
    KNOWN = "known"
    NO_WINDOW = "no_window"
    SEVERAL_WINDOWS = "several_windows"
    BAD_WINDOW = "bad_window"
    SEVERAL_FRAMES = "several_frames"
    COLOUR = "colour"
    NO_PREAMBLE = "no_preamble"
    PIXELS_SHORT = "pixels_short"
    UPSCALED = "upscaled"
    BLANK = "blank"
    POLARITY_CONTRADICTED = "polarity_contradicted"
    ON_ITS_SIDE = "on_its_side"
    UPSIDE_DOWN = "upside_down"
    IDENTITY_DIFFERS = "identity_differs"
    PERHAPS_NO_CHEST = "perhaps_no_chest"
    BAD_PADDING = "bad_padding"
    CHANNEL_IGNORED = "channel_ignored"
    STREAM_REPAIRED = "stream_repaired"
    PERHAPS_DAMAGED = "perhaps_damaged"
    PIXELS_LONG = "pixels_long"
    NOT_SQUARE = "not_square"
    PERHAPS_SQUEEZED = "perhaps_squeezed"
    SIGN_CONTRADICTED = "sign_contradicted"
    CHILD = "child"
    NOT_HUMAN = "not_human"

    @property
    def meaning(self) -> str:
        """One line for a person."""
        return _WARNINGS[self]


_WARNINGS = {
    Warn.UNLIKE_CHEST: "the tags say chest, but it does not look like a chest radiograph: look at it",
    Warn.UID_REUSED: "another file has the same SOP Instance UID but other pixels, encoding or polarity",
    Warn.KNOWN: "known from an earlier night: its result is reused (a film that failed was read again)",
    Warn.NO_WINDOW: "more than 8 bits and no window or VOI LUT: the full range of the stored values is used",
    Warn.SEVERAL_WINDOWS: "several windows or VOI LUTs in the header: the first one is used",
    Warn.BAD_WINDOW: "a window or VOI LUT that cannot be right (width < 1, hides all, …) is ignored",
    Warn.SEVERAL_FRAMES: "several frames or pages: the first one is screened",
    Warn.COLOUR: "a colour picture: its brightness is screened",
    Warn.NO_PREAMBLE: "the DICOM preamble is missing: the file is read all the same",
    Warn.PIXELS_SHORT: "less than one row of pixels is missing at the end: the row above fills the gap",
    Warn.UPSCALED: "fewer pixels than the network takes: the film was enlarged",
    Warn.BLANK: "all pixels are nearly equal: nothing can be seen on this film",
    Warn.POLARITY_CONTRADICTED: "it looks inverted, and its tags deny that: screened the other way round",
    Warn.ON_ITS_SIDE: "the film seems to lie on its side: screened as it lies",
    Warn.UPSIDE_DOWN: "the film seems to be upside down: screened as it lies",
    Warn.IDENTITY_DIFFERS: "the same film is also filed under another patient or study: which one is right?",
    Warn.PERHAPS_NO_CHEST: "the tags do not say what it shows, perhaps no chest radiograph: look at it",
    Warn.BAD_PADDING: "the padding value in the header would hide the picture: it is ignored",
    Warn.CHANNEL_IGNORED: "an extra channel that is not transparency, or hides the picture, is left out",
    Warn.STREAM_REPAIRED: "the compressed pixels break a rule of their format; no pixel is lost",
    Warn.PERHAPS_DAMAGED: "long runs of zeros, or an encoding in which damage cannot be seen: look at it",
    Warn.PIXELS_LONG: "a row or more of pixels too many for its header: the rest is not used",
    Warn.NOT_SQUARE: "its pixels are not square: shown in the proportions that its header says",
    Warn.PERHAPS_SQUEEZED: "the header says, perhaps wrongly, that pixels are not square: shown as square",
    Warn.SIGN_CONTRADICTED: "signed or unsigned: header and values disagree; corrected where that is certain",
    Warn.CHILD: "the tags say that the patient is under 18 years: most models are meant for adults",
    Warn.NOT_HUMAN: "the tags say that it shows an animal or a test object (phantom), no person",
}


OF_POSE = frozenset({Warn.POLARITY_CONTRADICTED, Warn.ON_ITS_SIDE, Warn.UPSIDE_DOWN})
"""What the judge says of a film (`screen.preprocess.pose`)."""

OF_PATIENT = (Warn.CHILD, Warn.NOT_HUMAN)
"""What a film is screened for all the same, though the model may not be meant for it."""

OF_GATE = (Warn.UNLIKE_CHEST, Warn.PERHAPS_NO_CHEST)
"""What the gate says of a film that is screened all the same."""
