"""One file through the whole chain, with everything said on the way. For people who wonder about a film."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from screen.api import Screener
from screen.codes import Reason, Warn
from screen.decide import Verdict
from screen.discover import Source, discover
from screen.errors import InputError, ScreenError, UsageError
from screen.files import write_whole
from screen.readers import Limits
from screen.readers.signature import HEAD_BYTES, Kind, kind_from_head
from screen.readers.tags import parse_dicom

# What decides how a film is read and shown. None of them says who is on it.
_KEYWORDS = (
    "Modality", "PresentationIntentType", "BodyPartExamined", "ViewPosition", "NumberOfFrames", "Rows",
    "Columns",
    "SamplesPerPixel", "PhotometricInterpretation", "PresentationLUTShape", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth",
    "VOILUTFunction", "PixelPaddingValue", "PixelPaddingRangeLimit",
)  # fmt: skip

Facts = dict[str, Any]


def inspect(path: Path, model: Path | None) -> tuple[Facts, NDArray[np.uint8] | None]:
    """Facts as plain values for JSON, and the network's square, uint8 [S, S], if there is one.

    Raises InputError if there is no such file, UsageError for a folder, and as `Screener` does.
    """
    if path.is_dir():
        raise UsageError(f"{path}: a folder; inspect takes one file")
    source = next(discover([path], None))
    facts: Facts = {"file": source.key, "bytes": source.size, **_header(source)}
    with Screener(model, "cpu", batch_size=1, workers=1) as screener:
        ((verdict, square),) = screener.predict_with_squares(path)
    row = verdict.row
    if row.inference is not None and row.geometry is not None:
        geometry = row.geometry
        facts["decoder"] = row.decoder
        facts["pixel_digest"] = row.pixel_digest
        facts["film"] = f"{geometry.width} × {geometry.height}"
        facts["square"] = (
            f"{geometry.size}, film at {geometry.left}, {geometry.top}, "
            f"{geometry.content_width} × {geometry.content_height}"
        )
        facts["gate"] = round(row.inference.gate, 6)
    facts["declared_chest"] = row.declared_chest
    return facts | _decided(verdict), square


def write_png(path: Path, square: NDArray[np.uint8]) -> None:
    """The square as an 8-bit grey PNG, whole or not at all, for its owner alone. Raises ScreenError."""
    try:
        write_whole(path, cv2.imencode(".png", square)[1].tobytes(), 0o600)
    except OSError as error:
        raise ScreenError(f"{path}: cannot be written ({error.strerror})") from error


def _header(source: Source) -> Facts:
    """The kind by its first bytes and, for DICOM, what the header says of the pixels."""
    try:
        with source.open() as stream:
            kind = kind_from_head(stream.read(HEAD_BYTES))
            facts: Facts = {"kind": kind.name.lower()}
            if kind in (Kind.DICOM, Kind.DICOM_BARE):
                parsed = parse_dicom(stream, Limits())
                name = uid.UID(parsed.syntax).name
                # An unknown UID has itself for a name: nothing that the standard says.
                facts["transfer_syntax"] = "unknown" if name == parsed.syntax else name
                facts |= {word: text for word in _KEYWORDS if (text := parsed.tags.text(word))}
                facts["pixel_data"] = parsed.element is not None
                if parsed.complaint:
                    facts["complaint"] = parsed.complaint
            return facts
    except OSError as error:
        raise InputError(f"{source.path}: cannot be read ({error.strerror})") from error


def _decided(verdict: Verdict) -> Facts:
    facts: Facts = {"status": str(verdict.status)}
    if verdict.reason is not None:
        facts["reason"] = f"{verdict.reason}: {Reason(verdict.reason).meaning}"
    if verdict.row.detail:
        facts["detail"] = verdict.row.detail
    if verdict.warnings:
        facts["warnings"] = [f"{code}: {Warn(code).meaning}" for code in verdict.warnings]
    for score in verdict.scores:
        facts[score.finding] = {
            "probability": round(score.probability, 6),
            "logit": round(score.logit, 6),
            "threshold": score.threshold,
            "flagged": score.flagged,
        }
    if verdict.normal_distance is not None:
        facts["normal_distance"] = round(verdict.normal_distance, 6)
    return facts
