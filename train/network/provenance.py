"""What made a checkpoint: the code, the libraries, the machine."""

import platform
import subprocess
from pathlib import Path

import cv2
import numpy as np
import torch

import screen


def code_version() -> dict[str, str]:
    """Commit (with `+` if the tree was changed; empty outside a checkout) and versions."""
    checkout = Path(__file__).resolve().parent.parent.parent
    try:
        commit = _git(checkout, "rev-parse", "--short=12", "HEAD")
        if _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", "screen", "train"):
            commit += "+"
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    return {
        "commit": commit,
        "cxr_screen": screen.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
