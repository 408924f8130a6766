"""`python -m` in a folder that somebody else filled: nothing is imported from it, nor by our processes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.films import png
from tests.micro_model import micro_bytes
from tests.places import ROOT

PLANTED = (
    "click", "numpy", "cv2", "rich", "pydicom", "onnxruntime", "openvino", "imagecodecs", "blake3", "PIL",
    "tensorrt", "nvidia", "pathlib", "contextlib", "importlib", "selectors", "socket", "subprocess", "json",
    "sqlite3", "export", "train", "benchmarks",
)  # fmt: skip
"""Libraries, optional ones, the standard library's; our own, for who starts another of them."""


def plant(folder: Path, but: set[str]) -> Path:
    """Modules that leave a trace if they are imported."""
    for name in set(PLANTED) - but:
        seen = folder / f"imported-{name}"
        (folder / f"{name}.py").write_text(f"open({str(seen)!r}, 'w').close()\nraise SystemExit(99)\n")
    return folder


def python_m(folder: Path, *arguments: str, path: str) -> None:
    """path: of the environment."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**environment, **({"PYTHONPATH": path} if path else {})},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert list(folder.glob("imported-*")) == [], done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr


RUN = ("screen", "run", "films", "--out", "out", "--model", "model.onnx", "--device", "cpu", "--workers", "1")


@pytest.mark.parametrize(
    "arguments",
    [
        RUN,
        ("screen", "doctor"),
        ("screen", "train", "--help"),
        ("train", "finetune", "--help"),
        ("export", "onnx", "--help"),
        ("benchmarks", "decode", "--help"),
    ],
    ids=" ".join,
)
def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    # Python itself looks for what is named after -m in the current folder first.
    plant(tmp_path, but={arguments[0]})
    if arguments[0] != "screen":
        (tmp_path / "screen.py").write_text((tmp_path / "click.py").read_text())
    png(tmp_path / "films" / "a.png", 1)
    (tmp_path / "model.onnx").write_bytes(micro_bytes())
    python_m(tmp_path, *arguments, path=str(ROOT))


def test_a_checkout_that_is_not_installed_runs_in_its_own_root(tmp_path: Path) -> None:
    """There the current folder is where we lie: it comes last, so that what is installed wins."""
    for name in ("screen", "train", "export"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    mine = tmp_path / "screen" / "cli" / "doctor.py"
    mine.write_text(mine.read_text() + f"\nopen({str(tmp_path / 'mine')!r}, 'w').close()\n")
    optional = {"tensorrt", "nvidia", "train", "export", "benchmarks"}
    plant(tmp_path, but=optional)
    png(tmp_path / "films" / "a.png", 1)
    (tmp_path / "model.onnx").write_bytes(micro_bytes())
    python_m(tmp_path, *RUN, path="")
    python_m(tmp_path, "train", "--help", path="")
    assert not (tmp_path / "mine").exists()
    python_m(tmp_path, "screen", "doctor", "--help", path="")
    assert (tmp_path / "mine").exists()
