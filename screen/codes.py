"""Every status, reason and warning code: the one table. The README shows it; a test holds the two equal.

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
    Reason.NOT_AN_IMAGE: "no image by its first bytes (text, archive, program, …)",
    Reason.DICOMDIR: "an index of DICOM files, no image itself",
    Reason.NOT_A_RADIOGRAPH: "a DICOM object of another kind (CT, MR, report, structure set, …)",
    Reason.NOT_CHEST: "a radiograph whose tags name another body part",
    Reason.LATERAL_VIEW: "a lateral or oblique chest film: the network knows frontal ones only",
    Reason.FOR_PROCESSING: "a detector image (For Processing) that is not meant to be looked at",
    Reason.DERIVED: "somebody's result (an earlier report, a reformatted or captured picture), no film",
    Reason.UNLIKE_CHEST: "the tags say nothing and the picture does not look like a chest radiograph",
}
_FAILED = {
    Reason.EMPTY_FILE: "no bytes in it, or nothing but zeros: a transfer that broke off?",
    Reason.UNREADABLE: "the file cannot be opened or read (permissions, I/O error)",
    Reason.FOLDER_UNREADABLE: "the folder cannot be listed: what is in it is unknown",
    Reason.CORRUPT_HEADER: "the header cannot be parsed or lacks what is needed to decode",
    Reason.CORRUPT_PIXELS: "the pixel data are damaged or cut short",
    Reason.UNSUPPORTED_SYNTAX: "no decoder for this transfer syntax or file format",
    Reason.UNSUPPORTED_PIXELS: "pixels of a kind that no radiograph has (float, 1 bit, 32 bits, …)",
    Reason.NO_PIXELS: "a chest radiograph without pixel data",
    Reason.TOO_LARGE: "more pixels than the limit: a decompression bomb, or no film",
    Reason.TOO_SMALL: "fewer than 32 pixels on a side: nothing to see",
    Reason.DECODER_CRASHED: "the decoder brought its process down",
    Reason.TIMED_OUT: "reading took longer than the limit",
    Reason.CHANGED_WHILE_READ: "the file changed while it was read: run again when it is complete",
    Reason.READER_ERROR: "a fault of this program that the file brought to light: report it with the log",
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

    @property
    def meaning(self) -> str:
        """One line for a person."""
        return _WARNINGS[self]


_WARNINGS = {
    Warn.UNLIKE_CHEST: "the tags say chest, the picture does not look like one: look at it",
    Warn.UID_REUSED: "another file has the same SOP Instance UID but other pixels, encoding or polarity",
    Warn.KNOWN: "known from an earlier night: screened then, its result is reused; or it failed then, too",
    Warn.NO_WINDOW: "more than 8 bits and no window or VOI LUT: the full range of the stored values is used",
    Warn.SEVERAL_WINDOWS: "several windows or VOI LUTs in the header: the first is used",
    Warn.BAD_WINDOW: "a window or VOI LUT that makes no sense (width < 1, no number, hides all) is ignored",
    Warn.SEVERAL_FRAMES: "several frames or pages: the first is screened",
    Warn.COLOUR: "a colour picture: its luminance is screened",
    Warn.NO_PREAMBLE: "the DICOM preamble is missing: read all the same",
    Warn.PIXELS_SHORT: "the pixel data end less than a row early: the row above fills the gap",
    Warn.UPSCALED: "fewer pixels than the network's input: enlarged",
    Warn.BLANK: "all pixels are (nearly) equal: there is nothing on this film",
    Warn.POLARITY_CONTRADICTED: "its greys look inverted, against its tags: screened the other way round",
    Warn.ON_ITS_SIDE: "the film seems to lie on its side: screened as it lies",
    Warn.UPSIDE_DOWN: "the film seems to be upside down: screened as it lies",
    Warn.IDENTITY_DIFFERS: "the same film is filed under another patient or study, too: which one is right?",
    Warn.PERHAPS_NO_CHEST: "the tags say nothing, and the picture may be no chest radiograph: look at it",
    Warn.BAD_PADDING: "what the header calls padding covers the picture, and is shown",
    Warn.CHANNEL_IGNORED: "a further channel that is no transparency, or hides the picture, is left out",
    Warn.STREAM_REPAIRED: "the compressed pixels break a rule of their format, which costs none of them",
    Warn.PERHAPS_DAMAGED: "zeros as damage leaves them, too, or an encoding that hides holes: look at it",
    Warn.PIXELS_LONG: "more pixel data than the header says, by a row or more: the rest is left out",
    Warn.NOT_SQUARE: "its pixels are not square: shown in the proportions that its header says",
    Warn.PERHAPS_SQUEEZED: "pixels are said not to be square, but not for certain: shown as if they were",
    Warn.SIGN_CONTRADICTED: "unsigned values under a signed header, or the reverse: mended where certain",
}


OF_POSE = frozenset({Warn.POLARITY_CONTRADICTED, Warn.ON_ITS_SIDE, Warn.UPSIDE_DOWN})
"""What the judge says of a film (`screen.preprocess.pose`)."""

OF_GATE = (Warn.UNLIKE_CHEST, Warn.PERHAPS_NO_CHEST)
"""What the gate says of a film that is screened all the same."""
