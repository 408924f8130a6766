"""Backends run where they were asked to, or say why not; a row depends on its film alone."""

import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from micro_model import SIZE, micro_bytes, micro_model
from numpy.typing import NDArray
from tiny_model import tiny_model_bytes

from screen.backends import Device, cuda_driver, device_from_text, onnx, open_backend
from screen.backends.null import NullBackend
from screen.errors import BackendError, MemoryRefusedError, MissingExtraError, ModelError, UsageError
from screen.modelfile import Model, model_from_bytes
from screen.probe import check_probes, packed, unpacked

ROOT = Path(__file__).resolve().parent.parent
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
        "import sys; from screen.backends import openvino; openvino._runtime();"
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
        ("cuda", Device("cuda", 0)),
        ("cuda:3", Device("cuda", 3)),
    ],
)
def test_devices(text: str, device: Device) -> None:
    assert device_from_text(text) == device


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
        ("cuda:0,1", "one GPU"),
        ("openvino:1", "only GPUs"),
        ("tensorrt:0", "not in this version"),
    ],
)
def test_devices_that_do_not_exist(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_backend(micro_model(), text, 1, 1)


def without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "_LIBRARY", "libcuda-that-is-not-there.so.1")


def test_auto_is_the_cpu_where_no_gpu_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    without_gpus(monkeypatch)
    with open_backend(micro_model(), "auto", 1, 1) as backend:
        assert backend.device.device == "cpu"


def test_cuda_without_a_gpu_is_refused_and_never_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    without_gpus(monkeypatch)
    with pytest.raises(BackendError, match=r"no driver answers.*--device cpu"):
        open_backend(micro_model(), "cuda", 1, 1)


ONE_GPU = [cuda_driver.Gpu(0, "A GPU", "GPU-1")]


def test_cuda_with_the_cpu_wheel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ort = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx, "gpus", lambda: ONE_GPU)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match=r"cxr-screen\[gpu\]"):
        open_backend(micro_model(), "cuda", 1, 1)
    with pytest.raises(BackendError, match="there are 1 GPUs"):
        open_backend(micro_model(), "cuda:1", 1, 1)


def test_a_session_that_fell_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What onnxruntime-gpu does without CUDA's libraries: it says so in a log and runs on the CPU."""
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession

    def on_the_cpu(data: bytes, options: Any, **asked: Any) -> Any:
        return session(data, ort.SessionOptions(), providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnx, "gpus", lambda: ONE_GPU)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
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
    ort = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnx, "gpus", lambda: ONE_GPU)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert onnx.cuda_usable()
    monkeypatch.setattr(onnx, "gpus", list)
    assert not onnx.cuda_usable()


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
