"""Fixtures shared by all tests."""

import sys
from pathlib import Path

import pytest

import screen  # noqa: F401  before anything imports ONNX Runtime: it switches its telemetry off
from tests.places import SHARED

# OpenVINO's model converter reports its use when it is imported, and tests ask whether OpenVINO is there.
sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real films beside the checkout; tests that want it are skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("needs the real films in ../shared/data beside the checkout")
    return SHARED
