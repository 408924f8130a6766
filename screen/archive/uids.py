"""UIDs that say what an object says: made again of the same result, it has the same one."""

import hashlib
import json
from typing import Any

_BITS = 128


def digest_of(*said: Any) -> str:
    """SHA-256 (hex) of anything that JSON can say."""
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def uid_of(*said: Any) -> str:
    """`2.25.` and the first 128 bits of `digest_of` (PS3.5 B.2)."""
    return f"2.25.{int(digest_of(*said)[: _BITS // 4], 16)}"
