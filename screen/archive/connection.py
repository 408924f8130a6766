"""Requests to one archive: retried, bounded, and never led to another host. What it answers is hostile input.

Retried with a fresh connection are lost connections, answers that were cut short or never came, and the
statuses 408, 429 and 5xx. Nothing that an archive says is repeated in a message.
"""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Self, TypeVar

import httpx

from screen import __version__
from screen.archive.settings import Archive
from screen.errors import ArchiveError, UsageError
from screen.runs.stopping import Stop

PAUSES = (0.0, 1.0, 4.0, 16.0)
"""Seconds before each further try. A server may have closed an idle connection: the first comes at once."""
_PASSING = frozenset({408, 429, *range(500, 600)})
_LONGEST_ANSWER = 10
"""Times the archive's `timeout`, from first to last byte: one that trickles does not hold a night up."""

T = TypeVar("T")


class Trouble(StrEnum):
    """Why one request has failed for good."""

    NOT_FOUND = "not_found"
    REFUSED = "refused"
    SERVER_ERROR = "server_error"
    TIMED_OUT = "timed_out"
    CUT_SHORT = "cut_short"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"


class AnswerError(ArchiveError):
    """The archive is there, but this request has failed for good."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(message)
        self.trouble = trouble


class _PassingError(Exception):
    """Worth another try; `outcome` is raised if that fails too."""

    def __init__(self, outcome: ArchiveError) -> None:
        super().__init__()
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. path: below the archive's url. body: made anew for each try; length: its bytes.

    expected: statuses whose answer is read; any other is an error.
    """

    path: str
    accept: str
    query: Mapping[str, str] = field(default_factory=dict)
    expected: frozenset[int] = frozenset({200})
    method: str = "GET"
    content_type: str = ""
    body: Callable[[], Iterator[bytes]] | None = None
    length: int = 0


class Answer:
    """An answer whose body has not been read yet."""

    def __init__(self, response: httpx.Response, seconds: float, stop: Stop) -> None:
        self._response = response
        self._deadline = time.monotonic() + seconds
        self._stop = stop
        self.status = response.status_code
        self.content_type = response.headers.get("Content-Type", "")
        self.warning = response.headers.get("Warning", "")

    def chunks(self, limit: int) -> Iterator[bytes]:
        """The body. Raises AnswerError if it is larger than so many bytes, StoppedError after a signal."""
        if self._response.headers.get("Content-Encoding", "identity") != "identity":
            raise AnswerError(Trouble.UNREADABLE, "an answer is compressed, which was not asked for")
        taken = 0
        # As they come: gathered to pieces of some size, no byte of one that trickles would be seen for long.
        for chunk in self._response.iter_raw():
            self._stop.check()
            taken += len(chunk)
            if taken > limit:
                raise AnswerError(Trouble.TOO_LARGE, f"an answer is larger than {limit >> 20} MiB")
            if time.monotonic() > self._deadline:
                raise _PassingError(_timed_out("an answer does not end"))
            yield chunk

    def read(self, limit: int) -> bytes:
        """The whole body. Raises as `chunks`."""
        return b"".join(self.chunks(limit))


def cut_short() -> Exception:
    """To be raised by who reads an answer that ends before its end: it is asked for again."""
    return _PassingError(AnswerError(Trouble.CUT_SHORT, "an answer was cut short"))


class Connection:
    """`ask` the archive. Between tries and within answers a signal ends it with StoppedError."""

    def __init__(self, archive: Archive, stop: Stop, pauses: tuple[float, ...] = PAUSES) -> None:
        """Raises UsageError if `url` or `ca_file` cannot be used."""
        self._pauses = pauses
        self._archive = archive
        self._stop = stop
        try:
            self._trust = ssl.create_default_context(cafile=archive.ca_file)
        except (ssl.SSLError, OSError) as error:
            raise UsageError(f"{archive.ca_file}: holds no certificate that can be read") from error
        try:
            httpx.URL(archive.url)
        except httpx.InvalidURL as error:
            raise UsageError(f"archive '{archive.name}': its url is no address") from error
        self._client = self._fresh_client()

    def _fresh_client(self) -> httpx.Client:
        headers = {"User-Agent": f"cxr-screen/{__version__}", "Accept-Encoding": "identity"}
        if self._archive.authorization:
            headers["Authorization"] = self._archive.authorization
        # trust_env: neither a proxy nor a password comes from the environment.
        return httpx.Client(
            headers=headers,
            verify=self._trust,
            timeout=self._archive.timeout,
            follow_redirects=False,
            trust_env=False,
        )

    def ask(self, request: Request, take: Callable[[Answer], T], *, once: bool = False) -> T:
        """What `take` makes of the answer; it is called again for each try. once: there is only one.

        Raises AnswerError, ArchiveError (unreachable), UsageError (credentials, certificate), StoppedError.
        """
        for pause in (*(() if once else self._pauses), None):
            self._stop.check()
            try:
                return self._once(request, take)
            except _PassingError as error:
                self._client.close()
                self._client = self._fresh_client()
                if pause is None:
                    raise error.outcome from error
                wait(pause, self._stop)
        raise AssertionError

    def _once(self, request: Request, take: Callable[[Answer], T]) -> T:
        headers = {"Accept": request.accept}
        if request.body is not None:
            # With a length, since archives that take bodies in pieces are few.
            headers |= {"Content-Type": request.content_type, "Content-Length": str(request.length)}
        try:
            with self._client.stream(
                request.method,
                f"{self._archive.url}{request.path}",
                params=request.query,
                headers=headers,
                content=None if request.body is None else request.body(),
            ) as response:
                self._client.cookies.clear()  # what an archive would have us remember is not bounded
                self._check(response.status_code, request.expected)
                return take(Answer(response, _LONGEST_ANSWER * self._archive.timeout, self._stop))
        except httpx.TransportError as error:
            raise self._lost(error) from error

    def _check(self, status: int, expected: frozenset[int]) -> None:
        name = f"archive '{self._archive.name}'"
        if status in expected:
            return
        if status in (401, 403):
            raise UsageError(f"{name} does not let us in ({status}): are its user and secret right?")
        said = f"{name} answers {status}"
        if status in _PASSING:
            raise _PassingError(
                AnswerError(Trouble.SERVER_ERROR, f"{said}: it is in trouble; try again later")
            )
        if 300 <= status < 400:
            raise AnswerError(
                Trouble.REFUSED, f"{said}, a redirect, which is not followed: is its url right?"
            )
        if status in (404, 410):
            raise AnswerError(Trouble.NOT_FOUND, f"{said}: is its url that of its DICOMweb service?")
        raise AnswerError(Trouble.REFUSED, f"{said} to what it was asked")

    def _lost(self, error: httpx.TransportError) -> Exception:
        name = f"archive '{self._archive.name}'"
        if untrusted := _untrusted(error):
            return UsageError(
                f"{name}: its certificate is not trusted ({untrusted}); if the hospital signed it itself, "
                "name the signer's certificate by ca_file"
            )
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            why = str(error) or "no answer in time"
            return _PassingError(
                ArchiveError(
                    f"{name} cannot be reached ({why}): are its url and the firewall right? "
                    "The same command goes on later"
                )
            )
        if isinstance(error, httpx.TimeoutException):
            return _PassingError(_timed_out(f"{name} does not answer"))
        return cut_short()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()


def wait(seconds: float, stop: Stop) -> None:
    """Sleep, but not through a signal. Raises StoppedError."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        stop.check()
        time.sleep(min(left, 0.1))


def _timed_out(what: str) -> AnswerError:
    return AnswerError(Trouble.TIMED_OUT, f"{what}; the same command goes on later")


def _untrusted(error: BaseException | None) -> str:
    """Why its certificate is refused, in OpenSSL's words; empty if that is not what went wrong."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message or "refused"
        error = error.__cause__ or error.__context__
    return ""
