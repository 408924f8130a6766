"""Files that are read in one go, or written whole or not at all."""

import os
from pathlib import Path


def read_bounded(path: Path, limit: int) -> bytes | None:
    """All bytes of a file; None if there are more than `limit`. Raises OSError."""
    with path.open("rb") as stream:
        # Nothing is read of what is too large by its length; the bound is for a file that grows.
        if os.fstat(stream.fileno()).st_size > limit:
            return None
        data = stream.read(limit + 1)
    return data if len(data) <= limit else None


def write_whole(path: Path, data: bytes) -> None:
    """Durable before it has its name, so that a reader finds the old file or the new one. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
