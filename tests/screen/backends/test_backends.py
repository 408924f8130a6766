"""Backends run where they were asked to, or say why not; a row depends on its film alone."""

import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from screen import gpus
from screen.backends import Device, check_probes, devices, onnx, open_backend, resolved_device
from screen.backends.base import NullBackend
from screen.backends.devices import device_from_text
from screen.backends.probes import packed, unpacked
from screen.cli import cli
from screen.errors import BackendError, MemoryRefusedError, MissingExtraError, ModelError, UsageError
from screen.model import Model, model_from_bytes
from tests.micro_model import SIZE, micro_bytes, micro_model
from tests.places import ROOT
from tests.tiny_model import tiny_model_bytes

OUTPUTS = ("logits", "heatmap", "embedding", "distance", "gate")


@pytest.fixture(scope="module")
def tiny() -> Model:
    return model_from_bytes(tiny_model_bytes(), Path("tiny.onnx"))


def images(n: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 1, size, size), dtype=np.uint8)


def test_a_row_depends_on_its_film_alone(tiny: Model) -> None:
    """Byte-equal wherever it stands in a batch, whatever stands beside it."""
    film, others = images(1, 64), images(7, 64, seed=1)
    with open_backend(tiny, "cpu", 8, threads=2) as backend:
        first = backend.infer(np.concatenate([film, others]))
        last = backend.infer(np.concatenate([others[::-1], film]))
        padded = backend.infer(np.concatenate([film, np.zeros_like(others)]))
    for name in OUTPUTS:
        row = getattr(first, name)[0]
        assert (row == getattr(last, name)[-1]).all(), name
        assert (row == getattr(padded, name)[0]).all(), name


def test_threads_change_no_bit(tiny: Model) -> None:
    batch = images(8, 64)
    results = []
    for threads in (1, 2, 3):
        with open_backend(tiny, "cpu", 8, threads) as backend:
            results.append(backend.infer(batch))
    for name in OUTPUTS:
        assert (getattr(results[0], name) == getattr(results[1], name)).all(), name
        assert (getattr(results[0], name) == getattr(results[2], name)).all(), name


def test_batch_sizes_agree(tiny: Model) -> None:
    batch = images(8, 64)
    with open_backend(tiny, "cpu", 8, 2) as eight, open_backend(tiny, "cpu", 1, 2) as one:
        together = eight.infer(batch)
        alone = [one.infer(batch[i : i + 1]) for i in range(8)]
    for name in OUTPUTS:
        expected = np.concatenate([getattr(single, name) for single in alone])
        np.testing.assert_allclose(getattr(together, name), expected, rtol=1e-5, atol=1e-5)


def test_says_what_really_runs() -> None:
    with open_backend(micro_model(), "cpu", 2, 1) as backend:
        info = backend.device
    assert (info.device, info.provider, info.precision) == ("cpu", "CPUExecutionProvider", "fp32")
    assert info.runtime.startswith("onnxruntime ")
    assert info.uuid == ""


def test_refuses_a_batch_of_another_shape() -> None:
    with open_backend(micro_model(), "cpu", 2, 1) as backend:
        with pytest.raises(BackendError, match="the backend takes uint8"):
            backend.infer(images(3, SIZE))
        with pytest.raises(BackendError, match="the backend takes uint8"):
            backend.infer(images(2, SIZE).astype(np.float32))  # type: ignore[arg-type]


def halving(limit: int) -> Any:
    """A null backend of batch 5 whose device has memory for `limit` rows."""

    class Small(NullBackend):
        asked: ClassVar[list[int]] = []

        def _infer(self, images: NDArray[np.uint8]) -> Any:
            self.asked.append(len(images))
            if len(images) > limit:
                raise MemoryRefusedError("no memory")
            return super()._infer(images)

    return Small(micro_model().card, 5)


def test_a_batch_that_does_not_fit_is_halved_and_the_size_remembered() -> None:
    batch = images(5, SIZE)
    small, whole = halving(2), NullBackend(micro_model().card, 5)
    first = small.infer(batch)
    for name in OUTPUTS:
        assert (getattr(first, name) == getattr(whole.infer(batch), name)).all(), name
    assert small.device.batch_halved_to == 2
    assert whole.device.batch_halved_to == 0
    small.asked.clear()
    small.infer(batch)
    assert small.asked == [2, 2, 1]


def test_no_memory_for_one_row_is_an_error() -> None:
    with pytest.raises(BackendError, match="no memory"):
        halving(0).infer(images(5, SIZE))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("BFCArena: Failed to allocate memory for requested buffer of size 9", MemoryRefusedError),
        ("CUDA failure 2: out of memory ; GPU=0", MemoryRefusedError),
        ("CUDA failure 700: an illegal memory access was encountered", BackendError),
    ],
)
def test_what_the_runtime_says_of_memory(
    said: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_backend(micro_model(), "cpu", 1, 1) as backend:

        class Failing:
            def run(self, *arguments: Any) -> Any:
                raise RuntimeError(said)

        monkeypatch.setattr(backend, "_session", Failing())
        with pytest.raises(BackendError) as raised:
            backend.infer(images(1, SIZE))
    assert type(raised.value) is kind


class BoundToTheCpu(onnx.CudaBackend):
    """A GPU's way through fixed places, on the device that is here. limit: rows that it takes."""

    def __init__(self, model: Model, batch_size: int, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
        session, bound = onnx._session, onnx.BoundSession

        def on_the_cpu(model: Model, kind: str, options: Any, session_options: Any) -> Any:
            return session(model, "cpu", {}, onnx._session_options("cpu", 1))

        def places(session: Any, rows: int, device: str, index: int) -> onnx.BoundSession:
            if rows > limit:
                raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")
            return bound(session, rows, "cpu", 0)

        monkeypatch.setattr(onnx, "_session", on_the_cpu)
        monkeypatch.setattr(onnx, "BoundSession", places)
        super().__init__(model, batch_size, ONE_GPU[0])


def test_fixed_places_give_the_same_and_padding_leaves_nothing_behind(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [images(6, 64, seed) for seed in range(2)]
    with open_backend(tiny, "cpu", 6, 1) as reference:
        expected = [reference.infer(batch) for batch in batches]
    for limit in (6, 5, 2):
        with BoundToTheCpu(tiny, 6, limit, monkeypatch) as backend:
            found = [backend.infer(batch) for batch in batches]
            assert backend.device.batch_halved_to == {6: 0, 5: 3, 2: 1}[limit]
        for one, other in zip(found, expected, strict=True):
            for name in OUTPUTS:
                np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-4)


def test_nowhere_to_place_a_single_film_is_no_memory(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MemoryRefusedError, match="out of memory"):
        BoundToTheCpu(tiny, 4, 0, monkeypatch)


def test_a_profile_says_what_ran(tiny: Model) -> None:
    said = onnx.what_runs(tiny, "cpu")
    assert said.endswith("nodes on CPUExecutionProvider, convolutions in float"), said
    assert int(said.split()[0]) > 20


def test_openvino_computes_the_same(tiny: Model) -> None:
    pytest.importorskip("openvino")
    batch = images(8, 64)
    with open_backend(tiny, "openvino", 8, 2) as backend, open_backend(tiny, "cpu", 8, 2) as reference:
        found, expected = backend.infer(batch), reference.infer(batch)
        again = backend.infer(batch[::-1].copy())
        info = backend.device
    for name in OUTPUTS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-4)
        assert (getattr(again, name)[::-1] == getattr(found, name)).all(), name
        assert getattr(found, name).dtype == np.float32
    assert (info.device, info.provider, info.precision) == ("openvino", "OpenVINO CPU", "fp32")


def test_openvino_reports_to_nobody() -> None:
    """Its import would load a converter that sends usage data."""
    pytest.importorskip("openvino")
    code = (
        "import sys; from screen.backends import openvino; openvino.quiet_openvino();"
        "print([n for n in sys.modules if n.startswith('openvino_telemetry')], 'openvino' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[] True\n", done.stderr


def test_a_missing_openvino_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"cxr-screen\[openvino\]"):
        open_backend(micro_model(), "openvino", 1, 1)


def with_factor(value: float) -> Model:
    def change(graph: Any) -> None:
        graph.graph.initializer[0].raw_data = np.float32(value).tobytes()

    return model_from_bytes(micro_bytes(change_graph=change), Path("m.onnx"))


def test_nan_is_no_result() -> None:
    with (
        open_backend(with_factor(np.nan), "cpu", 2, 1) as backend,
        pytest.raises(BackendError, match="NaN or infinity in 'logits'"),
    ):
        backend.infer(np.zeros((2, 1, backend.size, backend.size), np.uint8))


def test_a_graph_that_does_not_run_is_a_backend_error() -> None:
    """Structure and digests are right; the runtime finds what is wrong."""

    def unknown_operator(graph: Any) -> None:
        graph.graph.node[1].op_type = "Mull"

    model = model_from_bytes(micro_bytes(change_graph=unknown_operator), Path("m.onnx"))
    with pytest.raises(BackendError, match=r"cannot load m\.onnx"):
        open_backend(model, "cpu", 2, 1)


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("auto", Device("auto")),
        ("cpu", Device("cpu")),
        ("cuda", Device("cuda", (0,))),
        ("cuda:3", Device("cuda", (3,))),
        ("cuda:1,0", Device("cuda", (1, 0))),
        ("tensorrt", Device("tensorrt", (0,))),
    ],
)
def test_devices(text: str, device: Device) -> None:
    assert device_from_text(text) == device
    assert device_from_text(str(device)) == device


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu", "one of auto, cpu"),
        ("", "one of auto, cpu"),
        ("CPU", "one of auto, cpu"),
        ("cpu:1", "only GPUs"),
        ("cuda:", "number is missing"),
        ("cuda:x", "number is missing"),
        ("cuda:-1", "number is missing"),
        ("cuda:0,", "number is missing"),
        ("cuda:0,0", "twice"),
        ("openvino:1", "only GPUs"),
    ],
)
def test_devices_that_do_not_exist(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_backend(micro_model(), text, 1, 1)


def without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_LIBRARY", "libcuda-that-is-not-there.so.1")


def test_auto_is_the_cpu_where_no_gpu_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    without_gpus(monkeypatch)
    with open_backend(micro_model(), "auto", 1, 1) as backend:
        assert backend.device.device == "cpu"


@pytest.mark.parametrize("device", ["cuda", "cuda:0,1", "tensorrt", "tensorrt:2"])
def test_without_a_gpu_it_is_refused_and_never_the_cpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without_gpus(monkeypatch)
    with pytest.raises(UsageError, match=r"no driver answers.*--device cpu"):
        open_backend(micro_model(), device, 1, 1)


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_run_without_its_gpu_ends_before_it_begins(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_gpus(monkeypatch)
    (tmp_path / "film.png").write_bytes(b"never looked at")
    out = tmp_path / "out"
    done = CliRunner().invoke(cli, ["run", str(tmp_path), "--device", device, "--out", str(out)])
    assert (done.exit_code, "nvidia-smi" in done.stderr, "--device cpu" in done.stderr) == (2, True, True)
    assert not out.exists()


ONE_GPU = [gpus.Gpu(0, "A GPU", "GPU-1")]


def with_one_gpu(monkeypatch: pytest.MonkeyPatch, *providers: str) -> Any:
    ort = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(devices, "gpus", lambda: ONE_GPU)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [*providers, "CPUExecutionProvider"])
    return ort


def test_cuda_with_the_cpu_wheel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with_one_gpu(monkeypatch)
    with pytest.raises(UsageError, match=r"cxr-screen\[gpu\]"):
        open_backend(micro_model(), "cuda", 1, 1)
    with pytest.raises(UsageError, match="there is no GPU 1; here are 1"):
        open_backend(micro_model(), "cuda:0,1", 1, 1)


def test_a_session_that_fell_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What onnxruntime-gpu does without CUDA's libraries: it says so in a log and runs on the CPU."""
    ort = with_one_gpu(monkeypatch, "CUDAExecutionProvider")
    session = ort.InferenceSession

    def on_the_cpu(data: bytes, options: Any, **asked: Any) -> Any:
        return session(data, ort.SessionOptions(), providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "InferenceSession", on_the_cpu)
    with pytest.raises(BackendError, match="fell back to CPUExecutionProvider"):
        open_backend(micro_model(), "cuda", 1, 1)


def test_a_runtime_that_fails_on_the_way_does_not_go_on_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's own fallback would open a second session on the CPU and print that it did."""
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    with open_backend(micro_model(), "cpu", 1, 1) as backend:
        inner = backend._session._sess

        class Failing:
            def __getattr__(self, name: str) -> Any:
                return getattr(inner, name)

            def run(self, *arguments: Any) -> Any:
                raise state.EPFail("the device is gone")

        monkeypatch.setattr(backend._session, "_sess", Failing())
        with pytest.raises(BackendError, match="the device is gone"):
            backend.infer(images(1, SIZE))


def test_auto_takes_a_gpu_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with_one_gpu(monkeypatch, "CUDAExecutionProvider")
    assert resolved_device("auto") == Device("cuda", (0,))
    monkeypatch.setattr(devices, "gpus", list)
    assert resolved_device("auto") == Device("cpu")


def test_both_wheels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx.metadata, "version", lambda name: "1.0")
    with pytest.raises(BackendError, match="overwrite each other"):
        open_backend(micro_model(), "auto", 1, 1)


def test_a_missing_runtime_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"cxr-screen\[cpu\]"):
        open_backend(micro_model(), "auto", 1, 1)


def test_the_null_backend_has_the_shapes_of_a_real_one(tiny: Model) -> None:
    batch = images(3, 64)
    null = NullBackend(tiny.card, 3).infer(batch)
    with open_backend(tiny, "cpu", 3, 1) as backend:
        real = backend.infer(batch)
    for name in OUTPUTS:
        assert getattr(null, name).shape == getattr(real, name).shape, name
        assert getattr(null, name).dtype == getattr(real, name).dtype, name
    assert len(set(null.logits[:, 0])) == 3


def probed(change: Any) -> Model:
    def change_card(card: dict[str, Any]) -> None:
        change(card["probes"][0])

    return model_from_bytes(micro_bytes(change_card), Path("m.onnx"))


def shifted(levels: int) -> Any:
    def change(probe: dict[str, Any]) -> None:
        square = unpacked(probe["square"], (SIZE, SIZE)).copy()
        square[16, 16] = int(square[16, 16]) + levels
        probe["square"] = packed(square)

    return change


def run_probes(model: Model) -> bool:
    with open_backend(model, "cpu", 2, 1) as backend:
        return check_probes(model, backend)


def test_probes_that_are_equal_say_nothing(tiny: Model) -> None:
    assert run_probes(micro_model()) is False
    assert run_probes(tiny) is False


def test_one_grey_level_is_drift() -> None:
    assert run_probes(probed(shifted(1))) is True
    assert run_probes(probed(shifted(-1))) is True


def test_two_grey_levels_are_refused() -> None:
    with pytest.raises(ModelError, match="2 grey levels"):
        run_probes(probed(shifted(2)))


def test_other_logits_are_refused() -> None:
    def change(probe: dict[str, Any]) -> None:
        probe["logits"] = [probe["logits"][0] + 0.002]

    with pytest.raises(ModelError, match="logits"):
        run_probes(probed(change))


@pytest.mark.parametrize("text", ["not base64!", "AAAA", packed(np.zeros(SIZE * SIZE + 1, np.uint8)), "eJw="])
def test_broken_probes_are_refused(text: str) -> None:
    with pytest.raises(ModelError, match="pixels are not"):
        run_probes(probed(lambda probe: probe.update(square=text)))


def test_a_probe_cannot_unpack_to_more_than_its_shape() -> None:
    bomb = packed(np.zeros(200 << 20, np.uint8))
    with pytest.raises(ModelError, match="pixels are not"):
        unpacked(bomb, (SIZE, SIZE))
