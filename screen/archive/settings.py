"""`archives.toml`: which archives there are, where, and how they let us in. Secrets lie elsewhere."""

import base64
import ipaddress
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from screen.errors import UsageError
from screen.files import check_private, configuration_folder, read_bounded

_KEYS = frozenset({"url", "user", "password_file", "token_file", "ca_file", "timeout", "batch", "insecure"})
_SECRET_KEYS = frozenset({"password", "passwd", "token", "secret"})
_TIMEOUT = 60.0
_BATCH = 10
_MOST_BYTES = 1 << 16
"""Of archives.toml, and of a secret."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive, as its table in archives.toml has it.

    url: of its DICOMweb service, without a slash at the end. authorization: the header's value, empty if
    everybody is let in. ca_file: who vouches for its certificate; None is whom this machine trusts.
    timeout: seconds to wait for the next bytes. batch: objects that are sent in one request.
    """

    name: str
    url: str
    authorization: str = field(default="", repr=False)
    ca_file: Path | None = None
    timeout: float = _TIMEOUT
    batch: int = _BATCH


def archives_file() -> Path:
    """Where archives stand."""
    return configuration_folder() / "archives.toml"


def archive_named(name: str, file: Path | None = None) -> Archive:
    """The archive of that name, with its secret. file: archives.toml, if not the user's own.

    Raises UsageError for one that is unknown, or whose table cannot be used.
    """
    path = file or archives_file()
    tables = _tables(path)
    if name not in tables:
        known = ", ".join(sorted(tables)) or "none"
        # Not said back: an address that was typed may hold a password.
        raise UsageError(f"{path}: no archive of that name; there is: {known}")
    table = tables[name]
    where = f"{path}: [{name}]"
    if not isinstance(table, dict):
        raise UsageError(f"{path}: '{name}' is no table; write [{name}] and its settings below")
    for key in table:
        if key.lower() in _SECRET_KEYS:
            raise UsageError(
                f"{where}: a secret must not stand in it; name its file by password_file or token_file"
            )
        if key not in _KEYS:
            raise UsageError(f"{where}: unknown setting '{key}'; known are {', '.join(sorted(_KEYS))}")
    return Archive(
        name=name,
        url=_url(table, where),
        authorization=_authorization(name, table, where),
        ca_file=_ca_file(table, where),
        timeout=_number(table, "timeout", _TIMEOUT, 1, 3600, where),
        batch=int(_number(table, "batch", _BATCH, 1, 1000, where)),
    )


def _tables(path: Path) -> dict[str, Any]:
    try:
        text = read_bounded(path, _MOST_BYTES)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: not there; write a table for each archive into it") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    if text is None:
        raise UsageError(f"{path}: larger than {_MOST_BYTES >> 10} KiB")
    try:
        return tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: no TOML ({error})") from error


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or not value.isprintable():
        raise UsageError(f"{where}: {key} is a text of one line")
    return value


def _number(table: dict[str, Any], key: str, default: float, least: float, most: float, where: str) -> float:
    value = table.get(key, default)
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise UsageError(f"{where}: {key} is a {'whole ' if whole else ''}number")
    if not least <= value <= most:
        raise UsageError(f"{where}: {key} lies between {least} and {most}")
    return value


def _url(table: dict[str, Any], where: str) -> str:
    url = _text(table, "url", where)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"{where}: url is no address") from error
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{where}: url must not hold a user or a secret; use user and password_file")
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.query
        or parts.fragment
        or not url.isascii()
    ):
        raise UsageError(f"{where}: url is like https://pacs.example.org/dicom-web")
    insecure = table.get("insecure", False)
    if not isinstance(insecure, bool):
        raise UsageError(f"{where}: insecure is true or false")
    if parts.scheme == "http" and not insecure and not _is_loopback(host):
        raise UsageError(f"{where}: http:// shows films and secrets to the network; use https://")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ca_file(table: dict[str, Any], where: str) -> Path | None:
    named = _text(table, "ca_file", where)
    if not named:
        return None
    if not (path := Path(named)).is_file():
        raise UsageError(f"{where}: ca_file {path} is not there")
    return path


def _authorization(name: str, table: dict[str, Any], where: str) -> str:
    """Basic, Bearer or nothing. Raises UsageError."""
    user = _text(table, "user", where)
    password = _secret(name, table, "password", where)
    token = _secret(name, table, "token", where)
    if bool(user) != bool(password):
        raise UsageError(f"{where}: user and password_file belong together")
    if password and token:
        raise UsageError(f"{where}: either user and password_file, or token_file")
    if ":" in user:
        raise UsageError(f"{where}: a user has no colon in it")
    if password:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Bearer {token}" if token else ""


def _secret(name: str, table: dict[str, Any], kind: str, where: str) -> str:
    """From its file, or from the environment; empty if there is none. Raises UsageError."""
    variable = f"CXR_SCREEN_{re.sub('[^A-Z0-9]', '_', name.upper())}_{kind.upper()}"
    if named := _text(table, f"{kind}_file", where):
        source = f"{where}: {kind}_file"
        secret = _from_file(named, source)
    elif variable in os.environ:
        source, secret = variable, os.environ[variable]
    else:
        return ""
    if not secret or not secret.isprintable() or (kind == "token" and not secret.isascii()):
        raise UsageError(f"{source}: holds no {kind} of one line")
    return secret


def _from_file(named: str, source: str) -> str:
    """A bare name is one of systemd's credentials, whose folder the service alone can enter."""
    bare = Path(named).name == named
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if bare and folder is None:
        raise UsageError(f"{source}: a bare name is for LoadCredential= of systemd; give the full path")
    path = Path(folder or "", named)
    if not path.is_absolute():
        raise UsageError(f"{source}: give the full path")
    try:
        with path.open("rb") as stream:
            if not bare:
                check_private(path, stream.fileno())
            return stream.read(_MOST_BYTES).decode().strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{source}: {path} cannot be read") from error
