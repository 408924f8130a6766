"""The benchmarks for a GPU run end to end on a CPU; limits computed for GPUs agree with their data sheets."""

import json
import subprocess
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from benchmarks.cli import cli
from benchmarks.gpu import ceilings, engines, gpu_frames, gpu_session, throughput
from benchmarks.gpu.ceilings import flop_per_image, limits_from_smi
from screen.cli import cli as screen_cli
from screen.errors import ScreenError
from screen.gpus import Gpu
from tests.phantoms import dicom_file, film_values
from tests.places import EXAMPLES
from tests.tiny_model import tiny_model_file

QUICK = ("--seconds", "0.1", "--batch-size", "1", "--batch-size", "2")


def invoke(*args: str | Path) -> Result:
    result = CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_file(tmp_path_factory.mktemp("model") / "tiny.onnx", size=40)


@pytest.fixture
def quick_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but torch.compile, which takes half a minute, and one that fails."""

    def broken(*_: object) -> Any:
        raise RuntimeError("no such runtime")

    kept = {name: opened for name, opened in engines.PEERS.items() if name != "torch.compile"}
    monkeypatch.setattr(engines, "PEERS", kept | {"broken": broken})


@pytest.mark.usefixtures("quick_peers")
def test_latency_of_every_engine(tiny: Path, tmp_path: Path) -> None:
    figures, plot = tmp_path / "l.json", tmp_path / "l.png"
    result = invoke("latency", *QUICK, "--model", tiny, "--json", figures, "--plot", plot)
    found = json.loads(figures.read_text())
    names = ["screen run", "ONNX Runtime as it comes", "eager torch"]
    assert [(row["engine"], row["batch_size"]) for row in found["rows"]] == [
        (n, b) for b in (1, 2) for n in names
    ]
    for row in found["rows"]:
        assert 0 < row["ms"][0] <= row["ms"][1] <= row["ms"][2]
        assert row["images_per_second"] > 0
    assert found["missing"] == {"broken": "RuntimeError: no such runtime"}
    assert "no such runtime" in result.output
    assert cv2.imread(str(plot)) is not None


@pytest.mark.usefixtures("quick_peers")
def test_throughput_from_memory_and_from_files(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "CHUNK", 2)
    films, figures, plot = tmp_path / "films", tmp_path / "t.json", tmp_path / "t.png"
    films.mkdir()
    (films / "a.dcm").write_bytes(dicom_file(film_values(200, 160)))
    once = (*QUICK, "--repeats", "1", "--model", tiny)
    invoke("throughput", films, *once, "--json", figures, "--plot", plot)
    found = json.loads(figures.read_text())
    ways = {(row["figure"], row["way"]) for row in found["rows"]}
    assert ("engine only", "screen run, fp32") in ways
    for squares in ("OpenCV", "NumPy", "PyTorch"):
        assert ("pixels to scores", f"squares by {squares}") in ways
    assert {way for figure, way in ways if figure == "files to report"} == {"screen run", "plain loop"}
    assert all(row["rate"]["turns"][0] > 0 and row["limits"] == {} for row in found["rows"])
    assert found["gpu"] is None
    assert cv2.imread(str(plot)) is not None


def test_squares_that_differ_are_no_benchmark(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "CHUNK", 2)
    made = throughput.squares_from_batch

    def fused(*arguments: Any) -> tuple[Any, Any]:
        squares, blank = made(*arguments)
        return squares ^ 1, blank

    monkeypatch.setattr(throughput, "squares_from_batch", fused)
    with pytest.raises(AssertionError, match="NumPy"):
        throughput.measure(tiny, "cpu", (1,), (), 1, 0.1, alone=True)


def test_our_own_engine_must_run(tiny: Path) -> None:
    with pytest.raises(ScreenError):
        throughput.measure(tiny, "cuda", (1,), (), 1, 0.1, alone=True)


def test_parity_of_a_device_with_itself(tmp_path: Path) -> None:
    figures = tmp_path / "p.json"
    invoke("parity", EXAMPLES, "--device", "cpu", "--batch-size", "1", "--batch-size", "3", "--json", figures)
    found = json.loads(figures.read_text())
    assert found["place_matters"] == []
    assert found["agreement"]["3"]["films"] > 5
    assert found["agreement"]["3"]["max_probability_difference"] < 1e-5


class Shifted:
    """A codec that is right on every other frame."""

    name = "shifted"

    def __init__(self) -> None:
        self.calls = 0

    def decode(self, data: bytes) -> NDArray[Any] | None:
        self.calls += 1
        values = film_values(80, 60)
        return None if self.calls == 4 else values + np.uint16(self.calls % 2)


def test_gpu_frames_counts_what_is_equal(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_file(film_values(80, 60), "1.2.840.10008.1.2.4.90"))
    (tmp_path / "b.dcm").write_bytes(dicom_file(film_values(80, 60)))
    # One call warms up; of the four that follow one is declined.
    (folder,), _ = gpu_frames.measure([tmp_path], sample=2, repeats=4, codec=Shifted())
    assert (folder.frames, folder.equal, folder.declined) == (4, 1, 1)
    assert len(folder.cpu_ms.turns) == len(folder.gpu_ms.turns) == 4


@pytest.mark.parametrize(
    ("line", "multiprocessors", "teraflops", "gigabytes"),
    [
        ("NVIDIA H100 80GB HBM3, 580.1, 9.0, 1830, 5, 16, 700.00, GPU-a", 132, 989, 63),
        ("NVIDIA A100-SXM4-80GB, 580.1, 8.0, 1410, 4, 16, 400.00, GPU-a", 108, 312, 31.5),
        ("Tesla T4, 580.1, 7.5, 1590, 3, 16, 70.00, GPU-a", 40, 65, 15.8),
        ("NVIDIA L4, 580.1, 8.9, 2040, 4, 16, 72.00, GPU-a", 58, 121, 31.5),
        ("Some, 999, 99.0, 1000, [N/A], [N/A], [N/A], GPU-a", 10, 0, 0),
    ],
)
def test_limits_are_those_of_the_data_sheets(
    line: str, multiprocessors: int, teraflops: float, gigabytes: float
) -> None:
    found = limits_from_smi(line, multiprocessors)
    assert found.flops / 1e12 == pytest.approx(teraflops, rel=0.01)
    assert found.bus / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_a_gpu_is_asked_for_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    class Driver:
        def cuDeviceGet(self, device: Any, index: int) -> int:
            assert index == 1
            return 0

        def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
            assert attribute == 16
            value._obj.value = 132
            return 0

    def smi(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        line = "NVIDIA H200, 580.1, 9.0, 1980, 5, 16, 700.00, GPU-b"
        return subprocess.CompletedProcess(command, 0, line, "")

    monkeypatch.setattr(ceilings, "gpus", lambda: [Gpu(0, "a", "GPU-a"), Gpu(1, "b", "GPU-b")])
    monkeypatch.setattr(ceilings.ctypes, "CDLL", lambda name: Driver())
    monkeypatch.setattr(ceilings.subprocess, "run", smi)
    found = ceilings.gpu_limits(1)
    assert (found.name, found.multiprocessors, found.uuid) == ("NVIDIA H200", 132, "GPU-b")
    assert "--id=GPU-b" in asked[0]
    with pytest.raises(ScreenError, match="GPU 2"):
        ceilings.gpu_limits(2)


def test_the_network_costs_what_the_literature_says() -> None:
    """3.6 GFLOP with three channels; the first convolution is a third of that with one."""
    assert flop_per_image(224) == pytest.approx(3.47e9, rel=0.01)
    limits = limits_from_smi("H, 1, 9.0, 1830, 5, 16, 1, GPU-a", 132).image_limits(224, flop_per_image(224))
    assert limits["flop"] == pytest.approx(285_000, rel=0.02)
    assert limits["bus"] == pytest.approx(1.26e6, rel=0.01)


def test_a_session_goes_on_behind_a_step_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = gpu_session.Step("fine", ("screen", "--version"), 60)
    steps = [
        gpu_session.Step("wrong", ("screen", "nonsense"), 60),
        gpu_session.Step("slow", ("timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"), 1),
        fine,
    ]
    monkeypatch.setattr(gpu_session, "steps", lambda *_, quick: steps)
    result = CliRunner().invoke(cli, ["gpu", str(tmp_path), "--quick"])
    assert result.exit_code == 1
    found = json.loads((tmp_path / "session.json").read_text())["steps"]
    assert [step["exit_code"] for step in found] == [2, None, 0]
    assert "No such command" in (tmp_path / "wrong.log").read_text()
    assert "time was up" in result.output
    # Nothing is started behind the last minute.
    assert gpu_session.session(tmp_path, ("cpu",), None, 0.0, quick=True)[0].exit_code is None


def test_every_step_of_a_session_is_a_command(tmp_path: Path) -> None:
    found = gpu_session.steps(tmp_path, tmp_path, ("cuda:0,1", "tensorrt", "cpu"), None, quick=False)
    assert len({step.name for step in found}) == len(found)
    assert {"latency-cuda-0-1", "throughput-tensorrt", "gpu-frames", "run-gpu-decoders-tensorrt"} <= {
        step.name for step in found
    }
    for name in ("explicit", "jpeg-lossless", "jpeg-2000", "htj2k"):
        (tmp_path / name).mkdir()
    for step in found:
        group, name, *words = step.command
        command = (cli if group == "benchmarks" else screen_cli).get_command(click.Context(cli), name)
        assert command is not None
        # Raises for an option or a value that the command does not have.
        command.make_context(name, words)
