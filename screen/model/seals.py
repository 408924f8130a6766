"""Small JSON documents with a seal: by this machine (HMAC-SHA-256) or by whoever has a private key (Ed25519).

    {"kind": …, "content": {…}, "seal": {"method": …, "value": hex}}

What is sealed is the content in one canonical form, with its kind in front: a seal for one kind of document
is none for another. This machine's key lies in the user's configuration folder; Ed25519 keys are PEM files as
openssl makes them.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from screen.errors import MissingExtraError, ScreenError, SealError, UsageError
from screen.files import check_private, configuration_folder, secret_from_file

_MAX_KEY_BYTES = 1 << 16


class Sealer(Protocol):
    """Whoever can seal."""

    method: str

    def sign(self, message: bytes) -> bytes:
        """The seal's value."""


class Verifier(Protocol):
    """Whoever can tell a seal."""

    method: str

    def verify(self, message: bytes, value: bytes) -> bool:
        """Whether it is the message's."""


def sealed(kind: str, content: Mapping[str, Any], sealer: Sealer) -> bytes:
    """The document, as UTF-8 for people to read too. Raises ValueError for NaN and infinity."""
    value = sealer.sign(_message(kind, content))
    document = {
        "kind": kind,
        "content": content,
        "seal": {"method": sealer.method, "value": value.hex()},
    }
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def unsealed(data: bytes, kind: str, verifier: Verifier) -> dict[str, Any]:
    """The content of a document whose seal holds. Raises SealError."""
    content, method, value = parts(data, kind)
    if method != verifier.method:
        raise SealError(f"sealed with {method}, where {verifier.method} is asked for")
    if not verifier.verify(_message(kind, content), value):
        raise SealError("the seal does not hold: it was changed, or sealed with another key")
    return content


def parts(data: bytes, kind: str) -> tuple[dict[str, Any], str, bytes]:
    """Content, method and value of a document whose seal nobody has looked at. Raises SealError."""
    try:
        document = json.loads(data, parse_constant=_refuse)
        content, seal = document["content"], document["seal"]
        if document["kind"] == kind and isinstance(content, dict) and isinstance(seal["method"], str):
            return content, seal["method"], bytes.fromhex(seal["value"])
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise SealError(f"not a sealed document of the kind '{kind}'")


class ThisMachine:
    """The user's own key on this machine, made on first use. Raises UsageError and ScreenError."""

    method = "hmac-sha256"

    def __init__(self) -> None:
        path = configuration_folder() / "engine-key"
        try:
            self._key = bytes.fromhex(secret_from_file(path))
        except OSError as error:
            raise ScreenError(f"{path}: this machine's key cannot be kept there") from error
        except ValueError as error:
            raise UsageError(f"{path}: no key; remove it, and a new one is made") from error
        if len(self._key) < hashlib.sha256().digest_size:
            raise UsageError(f"{path}: a key that is cut short; remove it, and a new one is made")

    def sign(self, message: bytes) -> bytes:
        """32 bytes."""
        return hmac.digest(self._key, message, hashlib.sha256)

    def verify(self, message: bytes, value: bytes) -> bool:
        """In constant time."""
        return hmac.compare_digest(self.sign(message), value)


class PrivateKey:
    """An Ed25519 key that nobody else can read. Raises UsageError and MissingExtraError."""

    method = "ed25519"

    def __init__(self, path: Path) -> None:
        serialization, ed25519, unsupported = _cryptography("signing engines")
        try:
            key = serialization.load_pem_private_key(_pem(path, private=True), password=None)
        except TypeError as error:
            raise UsageError(f"{path}: has a password; openssl pkey -in KEY -out … takes it off") from error
        except (ValueError, unsupported) as error:
            raise UsageError(f"{path}: no private key (PEM): {_HOW}") from error
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise UsageError(f"{path}: not an Ed25519 key: {_HOW}")
        self._key = key

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return bytes(self._key.sign(message))


class PublicKey:
    """Its other half. Raises UsageError and MissingExtraError."""

    method = "ed25519"

    def __init__(self, path: Path) -> None:
        serialization, ed25519, unsupported = _cryptography("checking a signature")
        try:
            key = serialization.load_pem_public_key(_pem(path, private=False))
        except (ValueError, unsupported) as error:
            raise UsageError(f"{path}: no public key (PEM): openssl pkey -in KEY -pubout makes it") from error
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise UsageError(f"{path}: not an Ed25519 key: {_HOW}")
        self._key = key

    def verify(self, message: bytes, value: bytes) -> bool:
        """Whether the private key's holder signed it."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(value, message)
        except InvalidSignature:
            return False
        return True


_HOW = "openssl genpkey -algorithm ed25519 -out KEY makes one"


def _message(kind: str, content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"cxr-screen {kind}\n{text}".encode()


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _pem(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as file:
            if private:
                check_private(path, file.fileno())
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({os.strerror(error.errno or 0)})") from error


def _cryptography(what: str) -> tuple[Any, Any, type[Exception]]:
    """Its modules for keys and for Ed25519, and what it raises for keys of unknown kinds."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtraError(what, "trt") from error
    return serialization, ed25519, UnsupportedAlgorithm
