"""How many processors this process may really use."""

import math
import os
from pathlib import Path

_PROC = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


def usable_cpus() -> int:
    """At least 1: the scheduler's affinity, and the quota of every control group above us (v2 and v1)."""
    limits = [float(len(os.sched_getaffinity(0))), *_quotas(_PROC, _ROOT)]
    return max(1, math.ceil(min(limits)))


def _quotas(proc: Path, root: Path) -> list[float]:
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return []
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base = root
        elif "cpu" in controllers.split(","):
            base = root / "cpu"
        else:
            continue
        # Within a container the path may be the host's: the root itself is looked at in any case.
        group = base / path.lstrip("/")
        while group.is_relative_to(base):
            quotas.append(_quota_v2(group) if base == root else _quota_v1(group))
            if group == base:
                break
            group = group.parent
    return [quota for quota in quotas if quota is not None]


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
