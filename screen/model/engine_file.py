"""TensorRT engines that may be deserialised: bytes that were verified, and what is known of them.

An engine is two files: FILE, and FILE.json, its sealed manifest. An engine can run code, so nothing is given
to a runtime before the seal holds and the bytes are the manifest's.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from screen.errors import EngineError, SealError
from screen.files import read_bounded, whole_file
from screen.model.seals import PublicKey, Sealer, ThisMachine, Verifier, parts, sealed, unsealed

SCHEMA = 1
PROFILE = (1, 64, 256)
"""Smallest, best and largest batch unless others are asked for."""
_KIND = "engine"
_MAX_ENGINE_BYTES = 2 << 30
_MAX_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the builder says of an engine.

    weights_digest: of the model file that it was built from. library: `tensorrt` or `tensorrt_rtx`, the
    module that runs it; version: of that. precision: of the layers, inspected. profile: smallest, best and
    largest batch. targets: compute capabilities, `sm89` …; none: the GPU of the machine that built it.
    engine_digest: SHA-256 (hex) of the engine's bytes. layers: how many of its convolutions compute in which
    type, `{"half": 20, …}`; None if the library did not say. gpu, driver: of the machine that built it for
    itself; empty if built ahead. certificate: of `screen.engines.parity`, if it could run where it was built.
    """

    weights_digest: str
    library: str
    version: str
    precision: str
    profile: tuple[int, int, int]
    targets: tuple[str, ...]
    engine_digest: str
    layers: Mapping[str, int] | None = None
    gpu: str = ""
    driver: str = ""
    certificate: Mapping[str, Any] | None = None

    def to_plain(self) -> dict[str, Any]:
        """As it is sealed."""
        return {"schema": SCHEMA, **asdict(self)}


@dataclass(frozen=True, slots=True)
class VerifiedEngine:
    """data: the very bytes that were read once and verified; a runtime deserialises these and no file."""

    data: bytes
    manifest: Manifest


def manifest_path(engine: Path) -> Path:
    """FILE -> FILE.json."""
    return engine.with_name(f"{engine.name}.json")


def engine_digest(data: bytes) -> str:
    """SHA-256 (hex)."""
    return hashlib.sha256(data).hexdigest()


def write_engine(path: Path, engine: VerifiedEngine, sealer: Sealer) -> None:
    """Both are on the disk before the first gets its name: a pair that does not fit is refused anyhow.

    Raises EngineError.
    """
    manifest = sealed(_KIND, engine.manifest.to_plain(), sealer)
    try:
        with whole_file(manifest_path(path)) as manifest_file, whole_file(path) as engine_file:
            manifest_file.write(manifest)
            manifest_file.flush()
            os.fsync(manifest_file.fileno())
            engine_file.write(engine.data)
    except OSError as error:
        raise EngineError(f"{path}: cannot be written: {error.strerror}") from error


def verified_engine(path: Path, public_key: Path | None) -> VerifiedEngine:
    """An engine that the key's owner signed; without a key: one that this machine built for itself.

    Raises EngineError for any other, UsageError for a file that is no key, MissingExtraError.
    """
    verifier: Verifier = ThisMachine() if public_key is None else PublicKey(public_key)
    try:
        manifest = _manifest(unsealed(_read(manifest_path(path), _MAX_MANIFEST_BYTES), _KIND, verifier))
    except SealError as error:
        advice = (
            "it was not built by you on this machine: name its signer with --engine-key PUBLIC_KEY"
            if public_key is None
            else f"it is not what the owner of {public_key} signed"
        )
        raise EngineError(f"{manifest_path(path)}: {error}. Not loaded: {advice}") from error
    data = _read(path, _MAX_ENGINE_BYTES)
    if engine_digest(data) != manifest.engine_digest:
        raise EngineError(f"{path}: not the bytes that {manifest_path(path).name} speaks of. Not loaded")
    return VerifiedEngine(data, manifest)


def unverified_manifest(path: Path) -> tuple[Manifest, str]:
    """What FILE.json says, and how it is sealed, for people to read. Raises EngineError."""
    try:
        content, method, _ = parts(_read(manifest_path(path), _MAX_MANIFEST_BYTES), _KIND)
        return _manifest(content), method
    except SealError as error:
        raise EngineError(f"{manifest_path(path)}: {error}") from error


def _read(path: Path, limit: int) -> bytes:
    try:
        data = read_bounded(path, limit)
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror}") from error
    if data is None:
        raise EngineError(f"{path}: more than {limit >> 20} MiB: no engine's")
    return data


def _manifest(content: dict[str, Any]) -> Manifest:
    """Raises SealError: what is sealed and yet no manifest comes from another version."""
    try:
        if content.pop("schema") != SCHEMA:
            raise SealError("of another version of cxr-screen: build the engine again")
        smallest, best, largest = content.pop("profile")
        targets = tuple(map(str, content.pop("targets")))
        return Manifest(profile=(int(smallest), int(best), int(largest)), targets=targets, **content)
    except (KeyError, TypeError, ValueError) as error:
        raise SealError("no manifest of this version of cxr-screen: build the engine again") from error
