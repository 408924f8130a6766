"""How much memory this process may really use, and what fits into it."""

from pathlib import Path

from screen.cgroups import control_groups

_MEMINFO = Path("/proc/meminfo")
_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
"""Limit, use, and the part of the use (in memory.stat) that is files' and given up on demand; by version."""
_SHARE = 4
"""Activations may take a quarter: films, decoders and the model need the rest."""
MAX_BATCH = 16
"""On a CPU larger ones gain nothing."""
_ROW_BYTES = 10_000_000
"""Of one 224-pixel film on its way: slope of the peak over batches of 4 to 32, ONNX Runtime."""
_ROW_PIXELS = 224 * 224
_WORKER_BYTES = 500_000_000
"""Of a decode process at work on large films: libraries, and a heap that keeps its pages."""


def usable_memory() -> int:
    """Bytes: what the machine has left, and what every control group above us leaves (v2 and v1)."""
    rests = [_rest(group, _FILES[version]) for group, version in control_groups("memory")]
    return min([_available(_MEMINFO), *(rest for rest in rests if rest is not None)])


def batch_size_for(memory: int, streams: int, size: int) -> int:
    """The largest power of two up to `MAX_BATCH` whose activations, in all streams, fit; at least 1.

    memory: bytes, as `usable_memory` gives. size: of the network's input, pixels.
    """
    row = _ROW_BYTES * size * size // _ROW_PIXELS
    batch = MAX_BATCH
    while batch > 1 and batch * streams * row > memory // _SHARE:
        batch //= 2
    return batch


def workers_for(memory: int, cpus: int) -> int:
    """Decode processes: one for each processor, if half of the memory holds them; at least 1."""
    return max(1, min(cpus, memory // 2 // _WORKER_BYTES))


def _available(meminfo: Path) -> int:
    for line in meminfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise ValueError(f"{meminfo} does not say what is available")


def _rest(group: Path, files: tuple[str, str, str]) -> int | None:
    """What a group leaves; None without a limit."""
    limit, used, cache = files
    try:
        allowed = int((group / limit).read_text())
        rest = allowed - int((group / used).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # "max" is no number
        return None
    return max(0, min(allowed, rest + int(stat.get(cache, 0))))
