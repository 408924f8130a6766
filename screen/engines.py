"""TensorRT engines that may be deserialised: bytes that were verified, and what is known of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the builder says of an engine.

    library: `tensorrt` or `tensorrt_rtx`, the module that runs it; version: of that. precision: of the
    layers, inspected. profile: smallest, best and largest batch. targets: compute capabilities, `sm89` ….
    engine_digest: SHA-256 (hex) of the engine's bytes.
    """

    weights_digest: str
    library: str
    version: str
    precision: str
    profile: tuple[int, int, int]
    targets: tuple[str, ...]
    engine_digest: str


@dataclass(frozen=True, slots=True)
class VerifiedEngine:
    """data: the very bytes that were read once and verified; a runtime deserialises these and no file."""

    data: bytes
    manifest: Manifest
