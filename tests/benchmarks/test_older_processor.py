"""ONNX Runtime as on a processor without VNNI: told by what it computes."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.material.older_processor import older_runtime
from tests.places import ROOT


def test_products_are_added_up_in_16_bits(tmp_path: Path) -> None:
    if platform.machine() != "x86_64" or not all(map(shutil.which, ("cc", "objdump"))):
        pytest.skip("needs x86-64, a C compiler and binutils")
    done = subprocess.run(
        [sys.executable, "-c", "from export.quantize import sum_bits; print(sum_bits())"],
        env={**os.environ, **older_runtime(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "16\n", done.stderr
