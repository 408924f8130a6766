"""What `screen doctor` says of devices: what ran, in whose words, and what is missing."""

from pathlib import Path

import pytest

from screen import gpus
from screen.backends import tensorrt_binding
from screen.cli import checkup
from screen.cli.checkup import Check, State
from screen.gpus import Gpu
from screen.model import model_from_bytes
from tests.tiny_model import tiny_model_bytes


def devices(monkeypatch: pytest.MonkeyPatch) -> dict[str, Check]:
    tiny = model_from_bytes(tiny_model_bytes(), Path("tiny.onnx"))
    monkeypatch.setattr(checkup, "load_model", lambda path: tiny)
    return {check.name: check for check in checkup._runtime_and_model()}


def test_the_cpu_is_proved_by_its_profile_and_gpus_say_what_they_lack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpus, "_LIBRARY", "libcuda-that-is-not-there.so.1")
    found = devices(monkeypatch)
    assert found["--device cpu"].state is State.OK
    assert "nodes on CPUExecutionProvider, convolutions in float" in found["--device cpu"].detail
    for device in ("cuda", "tensorrt"):
        check = found[f"--device {device}"]
        assert check.state is State.NOTE
        assert "nvidia-smi" in check.detail
        assert "--device cpu" in check.detail
    assert "screen export trt" in found["--device tensorrt"].detail


def test_beside_a_gpu_it_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = [Gpu(0, "A GPU", "GPU-1")]
    monkeypatch.setattr(checkup, "gpus", lambda: gpu)
    monkeypatch.setattr("screen.backends.devices.gpus", lambda: gpu)
    monkeypatch.setattr(tensorrt_binding, "installed", list)
    found = devices(monkeypatch)
    assert found["GPU 0"].detail == "A GPU, GPU-1"
    assert "cxr-screen[gpu]" in found["--device cuda:0"].detail
    assert "cxr-screen[trt]" in found["--device tensorrt"].detail
    monkeypatch.setattr(tensorrt_binding, "installed", lambda: ["tensorrt_rtx"])
    assert devices(monkeypatch)["--device tensorrt"].state is State.OK


def test_it_says_whether_telemetry_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkup._telemetry().state is State.OK
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    assert checkup._telemetry().state is State.BAD


def test_it_says_whether_archives_can_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "fetch, dicom, send"
    assert {check.name: check.state for check in checkup._libraries()}[name] is State.OK
    monkeypatch.setattr(checkup, "library_versions", lambda names: {"httpx": "1"})
    missing = {check.name: check for check in checkup._libraries()}[name]
    assert (missing.state, "cxr-screen[dicom]" in missing.detail) == (State.NOTE, True)
