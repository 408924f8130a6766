"""How much a single file may ask of this machine."""

from dataclasses import dataclass

from screen.preprocess import MIN_SIDE
from screen.readers.refusal import Refusal
from screen.reasons import Reason


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that no radiograph reaches; beyond them a file is `too_large`.

    max_values: rows × columns × samples of one frame. A 35 × 43 cm film digitised at 50 µm has 61 million.
    max_bytes: of encoded pixels, of a picture's file, and of a deflated data set after inflation.
    memory: bytes of heap that a decoder's process may have. A film takes a tenth of it; what asks for more is
    a bomb: better MemoryError than the kernel's killer.
    seconds: that reading one file may take; a hundred times what the slowest film takes (then: `timed_out`).
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
