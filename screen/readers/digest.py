"""The digest that says whether two files hold the same film."""

import time

from blake3 import blake3


def pixel_digest(*parts: bytes) -> tuple[bytes, float]:
    """BLAKE3 over the parts, one after the other: 32 bytes, and the seconds that it took.

    A film of 15 MB takes SHA-256 twice as long with the processor's own instructions for it, and six times
    as long without them.
    """
    started = time.perf_counter()
    digest = blake3()
    for part in parts:
        digest.update(part)
    return digest.digest(), time.perf_counter() - started
