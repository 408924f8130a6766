"""What this process may really use of the machine: processors, memory, what fits into them, libraries."""

import importlib
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def control_groups(controller: str, proc: Path = _PROC, root: Path = _ROOT) -> Iterator[tuple[Path, int]]:
    """Folders of the groups above us with this controller (`cpu`, `memory`), and its version."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base = root
        elif controller in controllers.split(","):
            base = root / controller
        else:
            continue
        # Within a container the path may be the host's: the root itself is looked at in any case.
        group = base / path.lstrip("/")
        while group.is_relative_to(base):
            yield group, 2 if base == root else 1
            if group == base:
                break
            group = group.parent


MOST_AT_ONCE = 4096
"""Films in a batch, and processes that decode: who asks for more has mistyped it."""
_THREADS = 4


def usable_cpus() -> int:
    """At least 1: the scheduler's affinity, and the quota of every control group above us (v2 and v1)."""
    quotas = [_quota_v2(group) if v == 2 else _quota_v1(group) for group, v in control_groups("cpu")]
    limits = [float(len(os.sched_getaffinity(0))), *(quota for quota in quotas if quota is not None)]
    return max(1, math.ceil(min(limits)))


def network_streams(cpus: int) -> tuple[int, int]:
    """Batches at once on a CPU, and threads for each of them, all processors together.

    Batches side by side share nothing; threads of one batch meet after every layer and wait for the one
    whose processor a decoder has. So up to four processors take a batch each. Beyond, memory (150 MB for each
    batch of 16) speaks for threads, up to four: more of them wait rather than work on a layer of some
    milliseconds. 8 processors: 4 batches × 2 threads; 16: 4 × 4; 64: 16 × 4. (Measured on 2.)
    """
    streams = max(min(cpus, _THREADS), math.ceil(cpus / _THREADS))
    # Rounded up: a thread too many waits without spinning, a processor too many would idle.
    return streams, math.ceil(cpus / streams)


def _quota_v2(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(group: Path) -> float | None:
    try:
        quota = int((group / "cpu.cfs_quota_us").read_text())
        period = int((group / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None


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


_MODULES = {
    "cxr-screen": "screen",
    "onnxruntime-gpu": "onnxruntime",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
}
"""What a distribution is imported as, where the name is another."""


def library_version(distribution: str) -> str:
    """Its version; that of the module if it came by another way (OpenCV has four distributions); or empty.

    Never raises: what a library says of itself is no reason to lose a night.
    """
    from importlib import metadata  # decode workers need this module, and none of it

    with suppress(Exception):
        # None if its files are damaged.
        if found := metadata.version(distribution):
            return found
    with suppress(Exception):
        module = importlib.import_module(_MODULES.get(distribution, distribution))
        return str(getattr(module, "__version__", ""))
    return ""


def library_versions(distributions: Iterable[str]) -> dict[str, str]:
    """Those that are known."""
    return {name: found for name in distributions if (found := library_version(name))}
