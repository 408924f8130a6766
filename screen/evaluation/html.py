"""Pages of this package: a template and the one style sheet, which alone is allowed, by its hash."""

import base64
import hashlib
from importlib import resources
from string import Template

from screen.report.summary import DISCLAIMER


def filled(template: str, **values: str) -> bytes:
    """The whole page, UTF-8. template: a file of this package. values: safe HTML."""
    files = resources.files("screen.evaluation")
    style = files.joinpath("style.css").read_text("utf-8")
    html = Template(files.joinpath(template).read_text("utf-8")).substitute(
        style=style,
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        notice=DISCLAIMER,
        **values,
    )
    return html.encode("utf-8", "backslashreplace")
