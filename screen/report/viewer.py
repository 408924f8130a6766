"""Links from a case to its films in the site's own viewer."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from screen.errors import UsageError
from screen.film import Identity

_SCHEMES = ("http", "https", "weasis")
_VALUES: dict[str, Callable[[Identity], str]] = {
    "study_instance_uid": lambda identity: identity.study_instance_uid,
    "accession_number": lambda identity: identity.accession_number,
}
_LONGEST = 2000
_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Viewer:
    """A viewer's address with places for what tells one case from another."""

    template: str

    def url(self, identity: Identity) -> str:
        """The case's address, its values percent-encoded; empty if one of them is not known."""
        values = {name: value(identity) for name, value in _VALUES.items()}
        if not all(values[name] for name in _PLACE.findall(self.template)):
            return ""
        return _PLACE.sub(lambda place: quote(values[place[1]], safe="", errors="replace"), self.template)


def viewer_from(template: str | None, identifiers: str) -> Viewer | None:
    """The viewer of `--viewer-url`; None if there is none.

    Raises UsageError for a template that makes no link to a case, and where identifiers are hidden.
    """
    if template is None:
        return None
    if identifiers != "full":
        raise UsageError(
            f"--viewer-url needs to say which study a case is, and --identifiers {identifiers} hides it: "
            "leave one of them out"
        )
    scheme, colon, rest = template.partition(":")
    if scheme.lower() not in _SCHEMES or not colon or not rest.startswith("//"):
        raise UsageError(f"--viewer-url begins with one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    places = _PLACE.findall(template)
    if not places or set(places) - _VALUES.keys() or {"{", "}"} & set(_PLACE.sub("", template)):
        known = " or ".join(f"{{{name}}}" for name in _VALUES)
        raise UsageError(f"--viewer-url needs {known} in it, and no other braces")
    plain = template.isascii() and template.isprintable() and not set(template) & set(" \"'<>\\^`|")
    host = "" if scheme.lower() == "weasis" else re.split(r"[/?#]", rest[2:])[0]
    if not plain or len(template) > _LONGEST or "{" in host:
        raise UsageError("--viewer-url: no such address; percent-encode what an address may not hold")
    return Viewer(template)
