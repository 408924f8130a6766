"""How many processors this process may really use, and how the network shares them out."""

import math
import os
from pathlib import Path

from screen.cgroups import control_groups

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
