"""A DICOMweb archive on loopback that misbehaves as it is told to. Real ones stand in `tests/orthanc.py`."""

import email
import email.policy
import io
import json
import ssl
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

import pydicom

Kind = Literal["query", "film", "store"]
Fault = int | Literal["drop", "cut", "hang", "trickle", "html", "endless", "gzip", "redirect", "other", "two"]
"""A status, or: no answer; half of one; none in time; byte by byte; a login page; without end; compressed;
elsewhere; another film than was asked for; two of them."""


@dataclass(frozen=True)
class Held:
    """One object of the archive, with what the archive says of it."""

    sop: str
    series: str
    study: str
    patient: str
    modality: str
    date: str
    data: bytes

    @classmethod
    def of(cls, data: bytes) -> Self:
        ds = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        return cls(
            ds.SOPInstanceUID,
            ds.SeriesInstanceUID,
            ds.StudyInstanceUID,
            str(ds.get("PatientID", "")),
            ds.Modality,
            str(ds.get("StudyDate", "")),
            data,
        )

    def json(self) -> dict[str, Any]:
        values = {
            "00080018": ("UI", self.sop),
            "0020000E": ("UI", self.series),
            "0020000D": ("UI", self.study),
            "00100020": ("LO", self.patient),
            "00080060": ("CS", self.modality),
        }
        return {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items()}


@dataclass
class FakeArchive:
    """What it has, what it was asked, what goes wrong next.

    faults: for each kind of request, the next ones, in turn; `always`: every one. page: matches that
    it gives at once, None: what was asked for. index_after: queries that do not see a stored object yet.
    deaf: it knows no filters and no offset. ports: of who asked, request by request.
    """

    held: dict[str, Held] = field(default_factory=dict)
    faults: dict[Kind, deque[Fault | None]] = field(default_factory=lambda: defaultdict(deque))
    always: dict[Kind, Fault] = field(default_factory=dict)
    asked: list[tuple[Kind, str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    page: int | None = None
    index_after: int = 0
    deaf: bool = False
    authorization: str = ""
    refuses: dict[str, int] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    unseen: dict[str, int] = field(default_factory=dict)
    ports: list[int] = field(default_factory=list)
    url: str = ""

    def add(self, *films: Path) -> Self:
        for film in films:
            held = Held.of(film.read_bytes())
            self.held[held.sop] = held
        return self

    def change(self, sop: str, **values: str) -> None:
        """A merge or a correction: what the archive says of an object from now on."""
        self.held[sop] = replace(self.held[sop], **values)  # type: ignore[arg-type]

    def count(self, kind: Kind) -> int:
        return sum(asked[0] == kind for asked in self.asked)

    def next_fault(self, kind: Kind) -> Fault | None:
        if queue := self.faults[kind]:
            return queue.popleft()
        return self.always.get(kind)

    def matches(self, path: str, query: dict[str, str]) -> list[dict[str, Any]]:
        found = [held for sop, held in self.held.items() if not self._is_unseen(sop)]
        if self.deaf:
            return [held.json() for held in found][: self.page]
        places = path.strip("/").split("/")
        within = dict(zip(places[::2], places[1::2], strict=False))
        first, _, last = query.get("StudyDate", "-").partition("-")
        found = [
            held
            for held in found
            if query.get("Modality", held.modality) == held.modality
            and (not first or first <= held.date)
            and (not last or held.date <= last)
            and query.get("SOPInstanceUID", held.sop) == held.sop
            and query.get("StudyInstanceUID", held.study) == held.study
            and within.get("studies", held.study) == held.study
            and within.get("series", held.series) == held.series
        ]
        if places[-1] == "studies":
            found = list({(held.study, held.patient): held for held in found}.values())
        start = int(query.get("offset", 0))
        limit = min(int(query.get("limit", 10**6)), self.page or 10**6)
        return [held.json() for held in found[start : start + limit]]

    def _is_unseen(self, sop: str) -> bool:
        if self.unseen.get(sop, 0) <= 0:
            return False
        self.unseen[sop] -= 1
        return True

    def store(self, content_type: str, body: bytes) -> tuple[int, dict[str, Any]]:
        message = email.message_from_bytes(
            b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
        )
        stored, failed = [], []
        for part in message.iter_parts():  # type: ignore[attr-defined]
            held = Held.of(part.get_payload(decode=True))
            if reason := self.refuses.get(held.sop):
                failed.append({"00081155": _value(held.sop), "00081197": {"vr": "US", "Value": [reason]}})
                continue
            self.stored.append(held.sop)
            if held.sop not in self.held:
                self.held[held.sop] = held
                self.unseen[held.sop] = self.index_after
            stored.append({"00081155": _value(held.sop)})
        said: dict[str, Any] = {}
        if stored:
            said["00081199"] = {"vr": "SQ", "Value": stored}
        if failed:
            said["00081198"] = {"vr": "SQ", "Value": failed}
        return (409 if not stored else 202 if failed else 200), said


def _value(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    archive: FakeArchive

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path.removeprefix("/dicom-web")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        is_film = path.count("/") == 6
        self._begin("film" if is_film else "query", path, query)
        if is_film:
            self._film(path)
            return
        data = json.dumps(self.archive.matches(path, query)).encode()
        self._answer(200, "application/dicom+json", data, self.archive.next_fault("query"))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._begin("store", urlsplit(self.path).path, {})
        fault = self.archive.next_fault("store")
        if isinstance(fault, int):
            self._answer(fault, "text/plain", b"no", fault)
            return
        status, said = self.archive.store(self.headers["Content-Type"], body)
        # Whatever goes wrong with the answer, they are stored.
        self._answer(status, "application/dicom+json", json.dumps(said).encode(), fault)

    def _begin(self, kind: Kind, path: str, query: dict[str, str]) -> None:
        self.archive.asked.append((kind, path, query, dict(self.headers)))
        self.archive.ports.append(self.client_address[1])

    def _film(self, path: str) -> None:
        fault = self.archive.next_fault("film")
        held = self.archive.held.get(path.rpartition("/")[2])
        if held is None:
            self._answer(404, "text/plain", b"", fault)
            return
        if fault == "other":
            held = next(other for other in self.archive.held.values() if other.sop != held.sop)
        # A boundary that stands in no film, and of which each begins.
        boundary = b"\r\n--b"
        part = boundary + b"\r\nContent-Type: application/dicom\r\n\r\n" + held.data
        body = part * (2 if fault == "two" else 1) + boundary + b"--\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary="b"'
        self._answer(200, kind, body, fault)

    def _answer(self, status: int, content_type: str, data: bytes, fault: Fault | None) -> None:
        if self.archive.authorization and self.headers["Authorization"] != self.archive.authorization:
            status, data = 401, b""
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "hang":
            time.sleep(3)
            self.close_connection = True
            return
        if isinstance(fault, int):
            status, data = fault, b"<p>DOE^JANE is why</p>"
        if fault == "html":
            content_type, data = "text/html", b"<html>Who are you?</html>"
        self.send_response(302 if fault == "redirect" else status)
        self.send_header("Content-Type", content_type)
        if fault == "redirect":
            self.send_header("Location", "http://192.0.2.1/elsewhere")
        if fault == "gzip":
            self.send_header("Content-Encoding", "gzip")
        if fault != "endless":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try:
            if fault == "cut":
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            elif fault == "trickle":
                for place in range(len(data)):
                    self.wfile.write(data[place : place + 1])
                    time.sleep(0.02)
            elif fault == "endless":
                self.wfile.write(data[:1000])
                while True:
                    self.wfile.write(b"[" * (1 << 20))
            else:
                self.wfile.write(data)
        except OSError:
            self.close_connection = True


@contextmanager
def serving(archive: FakeArchive, certificate: Path | None = None) -> Iterator[FakeArchive]:
    """The archive on a free port, on https if there is a certificate with its key."""
    handler = type("Handler", (_Handler,), {"archive": archive})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    archive.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/dicom-web"
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
