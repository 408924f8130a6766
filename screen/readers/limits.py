"""How much a single file may ask, how a reader says that it ends here, and which film it holds."""

import time
from dataclasses import dataclass

from blake3 import blake3

from screen.codes import Reason
from screen.preprocess import MIN_SIDE


class Refusal(Exception):  # noqa: N818  (no error: an outcome)
    """The file gets no score.

    detail: what was wrong, for a person: a decoder's complaint or a keyword, never a tag's content.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason.value, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that no radiograph reaches; beyond them a file is `too_large`.

    max_values: rows × columns × samples of one frame. A 35 × 43 cm film digitised at 50 µm has 61 million.
    max_bytes: of encoded pixels, of a picture's file, and of a deflated data set after inflation.
    memory: bytes of heap that a decoder's process may have. A film takes a tenth of it; what asks for more is
    a bomb: better MemoryError than the kernel's killer.
    seconds: that reading one file may take; a hundred times what the slowest film takes (then: `timed_out`).
    `screen.decode.pool` ends the worker then; memory is its process's own limit (`screen.decode.worker`).
    """

    max_values: int = 80_000_000
    max_bytes: int = 512 * 2**20
    memory: int = 4 * 2**30
    seconds: float = 120.0

    def check_shape(self, rows: int, columns: int, samples: int = 1) -> None:
        """Refuse what is too large to decode or too small to show anything. Raises Refusal."""
        if min(rows, columns) < MIN_SIDE:
            raise Refusal(Reason.TOO_SMALL, f"{columns} × {rows} pixels")
        if rows * columns * samples > self.max_values:
            raise Refusal(Reason.TOO_LARGE, f"{columns} × {rows} pixels × {samples}")

    def check_bytes(self, size: int) -> None:
        """Refuse more encoded bytes than any radiograph has. Raises Refusal."""
        if size > self.max_bytes:
            raise Refusal(Reason.TOO_LARGE, f"more than {self.max_bytes >> 20} MiB")


class PixelDigest:
    """BLAKE3, 32 bytes, and the seconds that it took.

    SHA-256 takes twice as long with the processor's own instructions for it, and many times as long without.
    """

    def __init__(self) -> None:
        self._hash = blake3()
        self.seconds = 0.0

    def update(self, data: bytes | memoryview) -> None:
        """Add the bytes that come next."""
        started = time.perf_counter()
        self._hash.update(data)
        self.seconds += time.perf_counter() - started

    def digest(self) -> bytes:
        """The digest of all bytes so far."""
        return self._hash.digest()
