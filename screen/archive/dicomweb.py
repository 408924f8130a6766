"""QIDO-RS, WADO-RS and STOW-RS with one archive (PS3.18 10.4 to 10.6). Answers are bounded and checked."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from screen.archive.connection import Answer, AnswerError, Connection, Request, Trouble, cut_short
from screen.archive.multipart import FilesBody, only_part
from screen.text import visible

PAGE = 100
"""Instances asked for at once."""
_MOST_JSON = 16 << 20
_MOST_FILM = 1 << 30
"""Bytes. A page of a list and a radiograph have a hundredth; read, a list takes many times its bytes."""
_JSON = "application/dicom+json"
_DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""As it is stored: without the asterisk archives decode or transcode."""
_NO_LIST = "the answer to a query is no list in DICOM JSON: is its url that of its DICOMweb service?"
_HEAD = 1 << 13
"""Bytes of a file in which its file meta information lies."""
_UID = re.compile(r"[0-9][0-9.]{0,63}")

_SOP_INSTANCE_UID = "00080018"
_MODALITY = "00080060"
_PATIENT_ID = "00100020"
_STUDY_INSTANCE_UID = "0020000D"
_SERIES_INSTANCE_UID = "0020000E"
_FAILED = "00081198"
_REFERENCED = "00081199"
_REFERENCED_SOP_INSTANCE_UID = "00081155"
_FAILURE_REASON = "00081197"


@dataclass(frozen=True, slots=True)
class Instance:
    """One object of an archive, as a query tells of it."""

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str
    modality: str

    @property
    def has_uids(self) -> bool:
        """Whether it can be asked for: they are the archive's, and may be anything."""
        uids = (self.sop_instance_uid, self.series_instance_uid, self.study_instance_uid)
        return all(map(is_uid, uids))


@dataclass(frozen=True, slots=True)
class Stored:
    """What an archive says of objects that it was sent. refused: failure reasons (PS3.3 C.38) by UID."""

    stored: frozenset[str] = frozenset()
    refused: dict[str, int] = field(default_factory=dict)


def is_uid(text: str) -> bool:
    """Whether it may stand in a path: digits and dots alone, at most 64."""
    return _UID.fullmatch(text) is not None


class DicomWeb:
    """The services of one archive. All methods raise as `Connection.ask` does."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def instances(self, modality: str, dates: str, offset: int) -> list[Instance]:
        """A page of a query by modality and study date (`20260102-20260103`), from so many matches on."""
        query = {
            "Modality": modality,
            "StudyDate": dates,
            "includefield": f"{_PATIENT_ID},{_MODALITY}",
            "limit": str(PAGE),
            "offset": str(offset),
        }
        return [_instance(item) for item in self._query("/instances", query)]

    def patients_of(self, study_instance_uid: str) -> list[str]:
        """Patient IDs of a study: none if the archive does not have it."""
        found = self._query("/studies", {"StudyInstanceUID": study_instance_uid, "includefield": _PATIENT_ID})
        studies = [_instance(item) for item in found]
        return [study.patient_id for study in studies if study.study_instance_uid == study_instance_uid]

    def has(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> bool:
        """Whether a query finds an object where it belongs."""
        path = f"/studies/{study_instance_uid}/series/{series_instance_uid}/instances"
        try:
            found = self._query(path, {"SOPInstanceUID": sop_instance_uid})
        except AnswerError as error:
            if error.trouble is Trouble.NOT_FOUND:  # some archives say so of a series that they do not have
                return False
            raise
        return any(_instance(item).sop_instance_uid == sop_instance_uid for item in found)

    def film(self, instance: Instance, stream: BinaryIO, *, once: bool = False) -> None:
        """Write an object, as the archive stores it, from the stream's first byte on.

        once: do not try again. Raises OSError too.
        """

        def take(answer: Answer) -> None:
            stream.seek(0)
            stream.truncate()
            head = b""
            for piece in only_part(answer.content_type, answer.chunks(_MOST_FILM)):
                if len(head) < _HEAD:
                    head += piece[:_HEAD]
                stream.write(piece)
            _check_is(head, instance.sop_instance_uid)

        path = (
            f"/studies/{instance.study_instance_uid}/series/{instance.series_instance_uid}"
            f"/instances/{instance.sop_instance_uid}"
        )
        self._connection.ask(Request(path, accept=_DICOM), take, once=once)

    def store(self, files: Sequence[Path]) -> Stored:
        """Send DICOM files. One of which nothing is said may be stored or not. Raises OSError too."""
        body = FilesBody(files)
        request = Request(
            "/studies",
            accept=_JSON,
            # 202: some were refused; 400, 409: all, or, as some archives have it, some.
            expected=frozenset({200, 202, 400, 409, 413}),
            method="POST",
            content_type=body.content_type,
            body=body,
            length=body.length,
        )

        def take(answer: Answer) -> Stored:
            data = answer.read(_MOST_JSON)
            try:
                said = json.loads(data)
            except (ValueError, RecursionError):
                said = None  # of a refusal nothing has to be said
            if isinstance(said, list):  # some archives wrap it
                said = said[0] if said else None
            if not isinstance(said, dict):
                return Stored()
            refused = {_text(i, _REFERENCED_SOP_INSTANCE_UID): _number(i) for i in _items(said, _FAILED)}
            named = (_text(item, _REFERENCED_SOP_INSTANCE_UID) for item in _items(said, _REFERENCED))
            return Stored(frozenset(named) - refused.keys(), refused)

        return self._connection.ask(request, take)

    def _query(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        def take(answer: Answer) -> list[dict[str, Any]]:
            data = answer.read(_MOST_JSON)
            if answer.status == 204 or not data.strip():
                return []
            try:
                found = json.loads(data)
            except ValueError as error:
                if "json" not in answer.content_type:
                    raise AnswerError(Trouble.UNREADABLE, _NO_LIST) from error
                raise cut_short() from error
            except RecursionError as error:
                raise AnswerError(Trouble.UNREADABLE, _NO_LIST) from error
            if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
                raise AnswerError(Trouble.UNREADABLE, _NO_LIST)
            return found

        return self._connection.ask(Request(path, _JSON, query, frozenset({200, 204, 206})), take)


def _instance(item: dict[str, Any]) -> Instance:
    return Instance(
        sop_instance_uid=_text(item, _SOP_INSTANCE_UID),
        series_instance_uid=_text(item, _SERIES_INSTANCE_UID),
        study_instance_uid=_text(item, _STUDY_INSTANCE_UID),
        patient_id=_text(item, _PATIENT_ID),
        modality=_text(item, _MODALITY),
    )


def _values(item: dict[str, Any], tag: str) -> list[Any]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _text(item: dict[str, Any], tag: str) -> str:
    """The first value, of which nothing is invisible; empty if there is none."""
    for value in _values(item, tag):
        return visible(value).strip()[:256] if isinstance(value, str) else ""
    return ""


def _items(item: dict[str, Any], tag: str) -> Iterator[dict[str, Any]]:
    yield from (value for value in _values(item, tag) if isinstance(value, dict))


def _number(item: dict[str, Any]) -> int:
    return next((value for value in _values(item, _FAILURE_REASON) if isinstance(value, int)), 0)


def _check_is(head: bytes, sop_instance_uid: str) -> None:
    """Raises AnswerError unless the first bytes of a file are those of this object's (PS3.10 7.1)."""
    if head[128:132] != b"DICM":
        raise AnswerError(Trouble.UNREADABLE, "an answer holds no DICOM file")
    if _media_storage_sop_instance_uid(head) != sop_instance_uid.encode():
        raise AnswerError(Trouble.UNREADABLE, "an answer holds another object than was asked for")


def _media_storage_sop_instance_uid(head: bytes) -> bytes:
    """(0002,0003) of the file meta information, which is explicit VR little endian; empty without it."""
    place = 132
    while head[place : place + 2] == b"\x02\x00":
        long = head[place + 4 : place + 6] in (b"OB", b"UN")
        start = place + (12 if long else 8)
        length = int.from_bytes(head[start - 4 if long else start - 2 : start], "little")
        if head[place + 2 : place + 4] == b"\x03\x00":
            return head[start : start + length].rstrip(b"\0 ")
        place = start + length
    return b""
