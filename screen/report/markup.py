"""Text for the page: everything from outside passes through here."""

import base64
import html
from collections.abc import Iterable
from itertools import zip_longest

from screen.film import Identity
from screen.text import is_invisible

_LONGEST = 160


def text(value: object, longest: int = _LONGEST) -> str:
    """Any value as safe HTML text or attribute.

    Escaped, invisible characters shown as �, the middle of what is too long left out.
    """
    plain = str(value)
    if len(plain) > longest:
        half = longest // 2
        plain = f"{plain[:half]} … {plain[-half:]}"
    return html.escape("".join("�" if is_invisible(c) else c for c in plain))


def name(value: object) -> str:
    """A file name, an identifier: isolated, so that it cannot turn the text around it; may break anywhere."""
    return f'<bdi class="name">{text(value)}</bdi>' if value else '<span class="none">–</span>'


def date(study_date: str) -> str:
    """DICOM's YYYYMMDD (PS3.5 6.2, DA) with dashes; anything else as it is."""
    if len(study_date) == 8 and study_date.isascii() and study_date.isdigit():
        return f"{study_date[:4]}-{study_date[4:6]}-{study_date[6:]}"
    return study_date


def count(number: int, one: str, many: str = "") -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def probability(value: float) -> str:
    """Three decimals, more where they would say 0 and it is not."""
    return f"{value:.3f}" if value >= 0.001 or value == 0 else f"{value:.1e}"


def whose(identity: Identity) -> str:
    """Patient, accession number and study date, and beneath them the study: what is known of them."""
    first = (identity.patient_id, identity.accession_number, date(identity.study_date))
    lines = [" · ".join(name(value) for value in first if value)]
    if identity.study_instance_uid:
        lines.append(f'<span class="small">{name(identity.study_instance_uid)}</span>')
    return "<br>".join(line for line in lines if line) or '<span class="none">not known</span>'


def data_url(kind: str, content: bytes) -> str:
    """An image within the page. kind: `png` or `jpeg`."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def table(
    columns: Iterable[str], lines: Iterable[Iterable[str]], caption: str, attributes: Iterable[str] = ()
) -> str:
    """A table of safe HTML cells that turns into cards on a narrow screen (each cell knows its column).

    attributes: of each line, safe HTML as well.

    The roles say what the elements are anyway: browsers forget it when the style turns rows into blocks.
    """
    columns = list(columns)
    head = "".join(f'<th scope="col" role="columnheader">{column}</th>' for column in columns)
    body = "".join(
        f'<tr role="row"{more}>'
        + "".join(
            f'<td role="cell" data-column="{column}">{cell}</td>'
            for column, cell in zip(columns, line, strict=True)
        )
        + "</tr>"
        for line, more in zip_longest(lines, attributes, fillvalue="")
    )
    return (
        f'<table role="table"><caption class="unseen">{caption}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )
