"""The control groups that this process lives in: what a container may use, not what the host has."""

from collections.abc import Iterator
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
