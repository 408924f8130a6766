"""What processes of ours get from us, and what they do not."""

import sys
import time
from itertools import chain
from pathlib import Path

import pytest

from screen.decode import Decoded, DecodePool
from screen.discover import discover
from screen.preprocess import PreprocessSpec
from screen.processes import end, spawn
from screen.readers import Limits
from tests.films import png

SECRETS = ("CXR_SCREEN_KEY", "CXR_SCREEN_PACS_PASSWORD", "CXR_SCREEN_DICOMWEB_TOKEN")


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "a secret for tests only")


def environment(process: int) -> dict[str, str]:
    """As the kernel shows it, once the process is the program that was asked for."""
    told, deadline = Path(f"/proc/{process}/cmdline"), time.monotonic() + 20
    while b"screen.processes" not in told.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    entries = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def test_decode_workers_get_no_secret() -> None:
    with DecodePool(2, PreprocessSpec(size=32), Limits()) as pool:
        assert len(pool._workers) == 2
        for worker in pool._workers:
            got = environment(worker.process.pid)
            assert [name for name in got if name.startswith("CXR_SCREEN_")] == []
            assert "a secret for tests only" not in got.values()
            assert got["ORT_DISABLE_TELEMETRY"] == "1"
            assert got["PATH"]


def test_nobody_who_is_spawned_gets_one() -> None:
    process = spawn("time:sleep", 30, descriptors=(), environment={"CUDA_VISIBLE_DEVICES": "0"})
    try:
        got = environment(process.pid)
    finally:
        end(process)
    assert not set(SECRETS) & got.keys()
    assert got["CUDA_VISIBLE_DEVICES"] == "0"


def test_who_calls_from_python_hands_no_current_folder_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter that was not started with a file has the current folder on its path, as ''."""
    (tmp_path / "cv2.py").write_text("open('imported', 'w')\n")
    film = png(tmp_path / "films" / "a.png", 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with DecodePool(1, PreprocessSpec(size=32), Limits()) as pool:
        ((_, outcome),) = chain.from_iterable(pool.map(discover([film], None)))
    assert isinstance(outcome.result, Decoded)
    assert not (tmp_path / "imported").exists()
