"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

import screen  # noqa: F401  before anything imports ONNX Runtime: it switches its telemetry off
from tests.places import SHARED


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real films beside the checkout; tests that want it are skipped where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("needs the real films in ../shared/data beside the checkout")
    return SHARED
