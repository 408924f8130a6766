"""What was measured on: processor, memory, versions. A figure without it says nothing."""

import os
import platform
from pathlib import Path

from screen.machine import library_version, usable_cpus

PACKAGES = ("cxr-screen", "imagecodecs", "numpy", "onnxruntime", "opencv-python-headless", "pydicom", "torch")


def machine() -> dict[str, str]:
    """Names -> values, for the table's head and for `--json`."""
    return {
        "processor": _field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "usable processors": str(usable_cpus()),
        # Above 0 before we start, others compute here too, and the figures are theirs as well.
        "load before": f"{os.getloadavg()[0]:.1f}",
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "system": platform.platform(),
        "python": platform.python_version(),
    } | {package: library_version(package) or "not installed" for package in PACKAGES}


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
