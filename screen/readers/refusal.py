"""How the parts of a reader say that a file ends here; `screen.readers.read` turns it into a result."""

from screen.reasons import Reason


class Refusal(Exception):  # noqa: N818  (no error: an outcome)
    """The file gets no score.

    detail: what was wrong, for a person: a decoder's complaint or a keyword, never a tag's content.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.value, detail)
        self.reason = reason
        self.detail = detail
