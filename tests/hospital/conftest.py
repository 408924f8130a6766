"""Fixtures of the tests before a real archive."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hospitals import Hospital, open_hospital


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    """Skips the test where there is no Orthanc."""
    with open_hospital(tmp_path) as hospital:
        yield hospital
