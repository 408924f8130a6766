"""Processors and memory: what a container leaves counts, and all of it is used."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import cv2
import numpy as np
import pytest

from screen.machine import (
    _FILES,
    _rest,
    batch_size_for,
    control_groups,
    library_version,
    library_versions,
    network_streams,
    usable_memory,
    workers_for,
)
from screen.runs import pipeline

GIB = 1 << 30


@pytest.mark.parametrize(
    ("cpus", "streams"),
    [(1, (1, 1)), (2, (2, 1)), (4, (4, 1)), (6, (4, 2)), (8, (4, 2)), (16, (4, 4)), (64, (16, 4))],
)
def test_no_processor_idles(cpus: int, streams: tuple[int, int]) -> None:
    assert network_streams(cpus) == streams
    assert cpus <= streams[0] * streams[1] <= cpus + 3


@pytest.mark.parametrize(
    ("memory", "streams", "size", "batch"),
    [(16 * GIB, 2, 224, 16), (GIB, 2, 224, 8), (GIB // 8, 2, 224, 1), (0, 1, 224, 1), (2 * GIB, 2, 512, 4)],
)
def test_a_batch_fits_into_a_quarter_of_memory(memory: int, streams: int, size: int, batch: int) -> None:
    assert batch_size_for(memory, streams, size) == batch


@pytest.mark.parametrize(
    ("memory", "cpus", "workers"), [(16 * GIB, 2, 2), (16 * GIB, 64, 17), (GIB, 4, 1), (0, 8, 1)]
)
def test_workers_fit_into_half_of_memory(memory: int, cpus: int, workers: int) -> None:
    assert workers_for(memory, cpus) == workers


def test_a_container_limit_counts(tmp_path: Path) -> None:
    group = tmp_path / "cg" / "a"
    group.mkdir(parents=True)
    (tmp_path / "proc").write_text("0::/a\n")
    (group / "memory.max").write_text("1000\n")
    (group / "memory.current").write_text("900\n")
    (group / "memory.stat").write_text("anon 400\ninactive_file 500\n")
    groups = list(control_groups("memory", tmp_path / "proc", tmp_path / "cg"))
    assert groups == [(group, 2), (tmp_path / "cg", 2)]
    assert _rest(group, _FILES[2]) == 600
    (group / "memory.max").write_text("max\n")
    assert _rest(group, _FILES[2]) is None
    assert usable_memory() > 0


def no_distribution(name: str) -> str:
    raise PackageNotFoundError(name)


@pytest.mark.parametrize(
    "failing",
    [no_distribution, lambda name: None, lambda name: 1 // 0],
    ids=["another distribution", "damaged", "whatever"],
)
def test_a_version_is_the_modules_if_no_distribution_has_it(
    monkeypatch: pytest.MonkeyPatch, failing: Callable[[str], str]
) -> None:
    monkeypatch.setattr("importlib.metadata.version", failing)
    assert library_version("opencv-python-headless") == cv2.__version__
    assert library_versions(["numpy", "no-such-package"]) == {"numpy": np.__version__}


def test_a_run_and_a_certificate_name_what_they_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another distribution of OpenCV, and one library that says nothing of itself."""
    monkeypatch.setattr("importlib.metadata.version", no_distribution)
    versions = pipeline._versions()
    assert versions["opencv-python-headless"] == cv2.__version__
    assert {"python", "numpy", "pydicom", "imagecodecs"} <= versions.keys()
    monkeypatch.delattr(cv2, "__version__")
    assert "opencv-python-headless" not in pipeline._versions()
