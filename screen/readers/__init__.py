"""Files to films, by signature: the header first, and what it rules out is never decoded."""

from screen.discover import Source
from screen.film import Film, Unscreened
from screen.readers.limits import Limits
from screen.readers.pictures import film_from_picture
from screen.readers.refusal import Refusal
from screen.readers.signature import HEAD_BYTES, Kind, kind_from_head
from screen.reasons import Reason

__all__ = ["Limits", "read"]

_DEFAULT_LIMITS = Limits()


def read(source: Source, limits: Limits = _DEFAULT_LIMITS) -> Film | Unscreened:
    """A film to be screened, or why there is none. Never raises for what a file holds."""
    if source.problem is not None:
        return Unscreened(source.problem)
    try:
        return _read(source, limits)
    except Refusal as refusal:
        return Unscreened(refusal.reason, refusal.detail)
    except OSError as error:
        return Unscreened(Reason.UNREADABLE, error.strerror or type(error).__name__)


def _read(source: Source, limits: Limits) -> Film | Unscreened:
    with source.open() as stream:
        head = stream.read(HEAD_BYTES)
        if not head:
            raise Refusal(Reason.EMPTY_FILE)
        kind = kind_from_head(head)
        if kind is Kind.NO_IMAGE:
            raise Refusal(Reason.NOT_AN_IMAGE)
        if kind is Kind.OTHER_IMAGE:
            raise Refusal(Reason.UNSUPPORTED_SYNTAX, "convert it to PNG, TIFF, JPEG or DICOM")
        limits.check_bytes(source.size)
        return film_from_picture(head + stream.read(limits.max_bytes), kind, limits)
