"""The runner of TensorRT's engines, on a GPU and an engine that can be watched."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from screen.backends import Batcher, Outputs
from screen.backends.base import NullBackend, output_shapes
from screen.backends.batching import SIZES, fastest_batch_size
from screen.backends.gpu_memory import CudaMemory
from screen.backends.tensorrt import TensorRtBackend, open_tensorrt
from screen.backends.tensorrt_binding import TensorRtEngine
from screen.errors import BackendError, MemoryRefusedError, MissingExtraError, UsageError
from screen.gpus import Gpu
from screen.model import Manifest, VerifiedEngine
from tests.fake_gpu import FakeEngine, FakeGpu
from tests.micro_model import SIZE, micro_model

OUTPUTS = ("logits", "heatmap", "embedding", "distance", "gate")
GPU = Gpu(1, "A GPU", "GPU-1")
MODEL = micro_model()
MANIFEST = Manifest(MODEL.card.weights_digest, "tensorrt_rtx", "1.7", "fp16", (1, 4, 8), ("sm89",), "e" * 64)


def opened(device: FakeGpu, batch_size: int = 4, *, capturable: bool = True) -> TensorRtBackend:
    engine = FakeEngine(device, MODEL.card, capturable=capturable)
    device.use()
    return TensorRtBackend(MODEL, MANIFEST, engine, device, GPU, batch_size)


def squares(n: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (n, SIZE, SIZE), np.uint8)


def same(found: Outputs, images: NDArray[np.uint8]) -> None:
    expected = NullBackend(MODEL.card, len(images)).infer(images)
    for name in OUTPUTS:
        assert (getattr(found, name) == getattr(expected, name)).all(), name


@pytest.mark.parametrize("capturable", [True, False])
def test_films_come_back_in_order_from_two_lanes_at_once(capturable: bool) -> None:
    device, films = FakeGpu(), squares(50)
    with opened(device, capturable=capturable) as backend, Batcher[int](backend) as batcher:
        results = []
        for number, film in enumerate(films):
            results += batcher.add(film, number)
        results += batcher.flush()
    expected = NullBackend(MODEL.card, 50).infer(films[:, None])
    assert [number for number, _, _ in results] == list(range(50))
    for number, outputs, row in results:
        for name in OUTPUTS:
            assert (getattr(outputs, name)[row] == getattr(expected, name)[number]).all(), name


def test_a_batch_is_one_graph_and_nothing_is_left_behind() -> None:
    device = FakeGpu()
    backend = opened(device)
    engine: Any = backend._engine
    assert (engine.enqueued, device.calls["capture"]) == (4, 2)  # in each lane once run and once captured
    before = dict(device.calls)
    for _ in range(5):
        same(backend.infer(squares(4)[:, None]), squares(4)[:, None])
    changed = {name: count - before[name] for name, count in device.calls.items() if count != before[name]}
    assert changed == {"use": 5, "launch": 5, "wait": 5}
    assert engine.enqueued == 4
    backend.close()
    assert (device.left, engine.open) == ({}, False)


def test_it_says_what_runs() -> None:
    with opened(FakeGpu()) as backend:
        info = backend.device
    assert (info.device, info.provider, info.precision) == ("tensorrt:1", "TensorRT-RTX", "fp16")
    assert (info.uuid, info.engine, info.runtime) == ("GPU-1", "e" * 64, "fake 1.0")


@pytest.mark.parametrize(("rows", "halved_to"), [(16, 0), (10, 4), (5, 2), (2, 1)])
def test_what_does_not_fit_is_halved(rows: int, halved_to: int) -> None:
    """Memory for so many rows in both lanes together: 8 each are wanted."""
    # Input, scratch, and outputs, each of which begins at a multiple of 256 bytes.
    device = FakeGpu(capacity=rows * (SIZE * SIZE + 1000) + 2 * 5 * 256)
    with opened(device, 8) as backend:
        assert backend.device.batch_halved_to == halved_to
        for n in (8, 8):
            same(backend.infer(squares(n)[:, None]), squares(n)[:, None])
        lanes = device.calls["stream"]
        backend.infer(squares(8)[:, None])
        assert device.calls["stream"] == lanes, "lanes are kept"
    assert device.left == {}


def test_no_memory_for_one_film_is_an_error() -> None:
    device = FakeGpu(capacity=1000)
    with pytest.raises(MemoryRefusedError, match="out of memory"):
        opened(device)
    assert device.left == {}


def test_a_device_that_is_lost_is_an_error_at_every_call_and_leaves_nothing() -> None:
    def run(device: FakeGpu) -> int:
        with opened(device) as backend:
            backend.infer(squares(4)[:, None])
            return sum(device.calls.values())

    for fail_at in range(1, run(FakeGpu())):
        device = FakeGpu(fail_at=fail_at)
        with pytest.raises(BackendError, match="illegal memory access"):
            run(device)
        assert device.left == {}, fail_at


def test_an_engine_of_another_model_or_batch_is_refused() -> None:
    engine = VerifiedEngine(b"", replace(MANIFEST, weights_digest="0" * 64))
    with pytest.raises(UsageError, match="was not built from"):
        open_tensorrt(MODEL, engine, GPU, 4)
    with pytest.raises(UsageError, match="takes 1 to 8 films"):
        open_tensorrt(MODEL, VerifiedEngine(b"", MANIFEST), GPU, 9)


def test_missing_bindings_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(MissingExtraError, match=r"cxr-screen\[trt\]"):
        open_tensorrt(MODEL, VerifiedEngine(b"", MANIFEST), GPU, 4)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtraError, match=r"cxr-screen\[tensorrt\]"):
        TensorRtEngine(b"", "tensorrt", {}, SIZE)
    with pytest.raises(BackendError, match="no TensorRT library"):
        TensorRtEngine(b"", "os", {}, SIZE)


class FakeError:
    def __init__(self, code: int, name: str) -> None:
        self.code, self.name = code, name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FakeError) and other.code == self.code

    def __hash__(self) -> int:
        return self.code


@pytest.mark.parametrize(
    ("code", "name", "kind"),
    [(2, "cudaErrorMemoryAllocation", MemoryRefusedError), (700, "cudaErrorIllegalAddress", BackendError)],
)
def test_errors_of_cuda_are_ours(
    code: int, name: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    error, fine = FakeError(code, name), FakeError(0, "cudaSuccess")
    runtime = SimpleNamespace(
        cudaError_t=SimpleNamespace(
            cudaSuccess=fine, cudaErrorMemoryAllocation=FakeError(2, "cudaErrorMemoryAllocation")
        ),
        cudaMalloc=lambda size: (error, None),
        cudaSetDevice=lambda index: (fine,),
        cudaGetErrorString=lambda code: (fine, b"said so"),
    )
    package = ModuleType("cuda.bindings")
    package.runtime = runtime  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", package)
    device = CudaMemory(3)
    device.use()
    with pytest.raises(BackendError, match=rf"cuda:3: cudaMalloc: said so \({name}\)") as raised:
        device.allocate(1)
    assert type(raised.value) is kind


def fake_tensorrt(
    monkeypatch: pytest.MonkeyPatch, *, said: str = "", shape: tuple[int, ...] = (-1, 1)
) -> Any:
    """A module with the calls of TensorRT-RTX: an engine whose `logits` have that shape; contexts fail if
    something is `said`.
    """
    shapes = {"image": (-1, 1, SIZE, SIZE), **{n: (-1, *s) for n, s in output_shapes(MODEL.card).items()}}
    shapes["logits"] = shape
    trt = ModuleType("tensorrt_rtx")

    class Logger:
        Severity = SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal", WARNING="warning")

        def __init__(self) -> None:
            pass

    class Runtime:
        def __init__(self, log: Any) -> None:
            self.log = log

        def deserialize_cuda_engine(self, data: bytes) -> Any:
            self.log.log("warning", "of no interest")
            if data == b"broken":
                self.log.log("error", "magic\ntag")
                return None
            return SimpleNamespace(
                num_io_tensors=len(shapes),
                get_tensor_name=list(shapes).__getitem__,
                get_tensor_shape=shapes.__getitem__,
                get_tensor_dtype=lambda name: "uint8" if name == "image" else "float",
                create_runtime_config=lambda: SimpleNamespace(
                    set_execution_context_allocation_strategy=lambda strategy: None
                ),
                create_execution_context=self.context,
            )

        def context(self, config: Any) -> Any:
            assert config.dynamic_shapes_kernel_specialization_strategy == "eager"
            if said:
                self.log.log("error", said)
                return None
            return SimpleNamespace(set_input_shape=lambda name, shape: False)

    vars(trt).update(
        __version__="9",
        ILogger=Logger,
        Runtime=Runtime,
        DataType=SimpleNamespace(UINT8="uint8", FLOAT="float"),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED="ours"),
        DynamicShapesKernelSpecializationStrategy=SimpleNamespace(EAGER="eager"),
    )
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", trt)

    def engine(data: bytes = b"fine") -> TensorRtEngine:
        return TensorRtEngine(data, "tensorrt_rtx", output_shapes(MODEL.card), SIZE)

    return engine


def test_what_the_library_says_is_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match=r"tensorrt_rtx 9 does not load this engine: magic tag$"):
        fake_tensorrt(monkeypatch)(b"broken")
    with pytest.raises(BackendError, match="refuses the batch size"):
        fake_tensorrt(monkeypatch)().context().scratch_size(3)


@pytest.mark.parametrize(
    ("said", "kind"),
    [("Cuda Runtime (out of memory)", MemoryRefusedError), ("no kernel image is available", BackendError)],
)
def test_a_context_without_memory_is_known_as_such(
    said: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match="gives no execution context") as raised:
        fake_tensorrt(monkeypatch, said=said)().context()
    assert type(raised.value) is kind


def test_inputs_and_outputs_must_be_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="are not its model's"):
        fake_tensorrt(monkeypatch, shape=(-1, 2))()


class Timed(NullBackend):
    """Takes a fixed time for a batch and another for each film of it, on a clock of its own."""

    now = 0.0

    def __init__(self, size: int, film: float) -> None:
        self._film = film
        super().__init__(MODEL.card, size)

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        Timed.now += 0.001 + self._film * len(images)
        return super()._infer(images)


@pytest.mark.parametrize(
    ("film", "fits", "chosen"),
    [(1e-3, 256, 32), (1e-6, 256, 256), (1e-6, 64, 64), (1e-6, 8, 16), (1.0, 256, 16)],
)
def test_the_batch_size_is_the_smallest_that_is_nearly_the_fastest(
    film: float, fits: int, chosen: int
) -> None:
    asked = []

    def open_at(size: int) -> Timed:
        asked.append(size)
        if size > fits:
            raise MemoryRefusedError("no memory")
        return Timed(size, film)

    assert fastest_batch_size(open_at, clock=lambda: Timed.now) == chosen
    assert asked == [size for size in SIZES if size <= 2 * fits or size == SIZES[0]]


def test_a_batch_size_that_was_halved_is_not_taken() -> None:
    class Small(Timed):
        def _infer(self, images: NDArray[np.uint8]) -> Outputs:
            if len(images) > 32:
                raise MemoryRefusedError("no memory")
            return super()._infer(images)

    assert fastest_batch_size(lambda size: Small(size, 1e-6), clock=lambda: Timed.now) == 32


@pytest.mark.parametrize(("largest", "chosen"), [(100, 64), (8, 8)])
def test_no_batch_is_tried_that_an_engine_does_not_take(largest: int, chosen: int) -> None:
    def open_at(size: int) -> Timed:
        assert size <= largest
        return Timed(size, 1e-6)

    assert fastest_batch_size(open_at, largest, lambda: Timed.now) == chosen
