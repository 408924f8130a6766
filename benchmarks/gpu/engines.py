"""Ways to run the network on one device: the engine of `screen run`, and what one would write instead.

Peers have a network of the same shape with random weights where they are torch's, and are called from one
thread; all get squares in host memory, uint8, and give logits there.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.speed.model import Infer, durations
from screen.backends import Backend, gpus_of, open_backend
from screen.backends.devices import device_from_text
from screen.engines import engine_for_run
from screen.machine import usable_cpus
from screen.model import Model
from train.network.resnet import ResNet18

OURS = "screen run"


@dataclass(frozen=True, slots=True)
class Engine:
    """infer: one batch, from `streams` threads at once. precision: of its products."""

    infer: Infer
    streams: int
    precision: str
    provider: str


def torch_device(device: str) -> str:
    """What `--device` means to PyTorch: its GPU for TensorRT as well, the first of several."""
    kind, _, indices = device.partition(":")
    return f"cuda:{indices.partition(',')[0] or 0}" if kind in {"cuda", "tensorrt"} else "cpu"


def open_for_device(model: Model, device: str, batch_size: int) -> Backend:
    """As `screen run --device` opens it, with the engine that this machine keeps, or builds, for TensorRT."""
    wanted = device_from_text(device)
    engine = None
    if wanted.kind == "tensorrt":
        engine = engine_for_run(model, gpus_of(wanted), batch_size, None, _say)
    return open_backend(model, device, batch_size, usable_cpus(), engine)


def _say(event: str, **facts: object) -> None:
    click.echo(" ".join([event, *(f"{name} {value}" for name, value in facts.items())]), err=True)


@contextmanager
def ours(model: Model, device: str, batch_size: int) -> Iterator[Engine]:
    """As `screen run --device` opens it."""
    with open_for_device(model, device, batch_size) as backend:
        info = backend.device
        yield Engine(backend.infer, backend.streams, info.precision, info.provider)


@contextmanager
def onnx_runtime(model: Model, device: str, batch_size: int) -> Iterator[Engine]:
    """One session, every option as it comes. Raises RuntimeError for one that is not on the device."""
    del batch_size
    where = torch_device(device)
    provider = "CPUExecutionProvider" if where == "cpu" else "CUDAExecutionProvider"
    if provider == "CUDAExecutionProvider":
        onnxruntime.preload_dlls()
    options: list[dict[str, str]] = [{} if where == "cpu" else {"device_id": where.partition(":")[2]}]
    session = onnxruntime.InferenceSession(model.data, providers=[provider], provider_options=options)
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"ONNX Runtime has no {provider} here")
    yield Engine(lambda x: session.run(["logits"], {"image": x}), 1, model.card.precision, provider)


@contextmanager
def eager_torch(model: Model, device: str, batch_size: int) -> Iterator[Engine]:
    """Channels last; fp16 on a GPU, fp32 on a CPU, where fp16 is no way to go."""
    del model, batch_size
    yield _torch_engine(device, lambda network: network)


@contextmanager
def compiled_torch(model: Model, device: str, batch_size: int) -> Iterator[Engine]:
    """torch.compile, tuned to the batch size, with CUDA graphs on a GPU."""
    engine = _torch_engine(device, lambda network: torch.compile(network, mode="max-autotune", dynamic=False))
    side = model.card.input_size
    # It compiles, then records, then replays.
    for _ in range(3):
        engine.infer(np.zeros((batch_size, 1, side, side), np.uint8))
    yield engine


def _torch_engine(device: str, wrap: Callable[[ResNet18], Any]) -> Engine:
    where = torch.device(torch_device(device))
    kind = torch.float16 if where.type == "cuda" else torch.float32
    plain = ResNet18(in_channels=1, num_classes=1).eval()
    network = wrap(plain.to(where, kind, memory_format=torch.channels_last))  # type: ignore[call-overload]

    def infer(images: NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            x = torch.from_numpy(images).to(where).to(kind) / 255
            # The copy back waits for the device.
            return network(x.contiguous(memory_format=torch.channels_last)).float().cpu()

    return Engine(infer, 1, "fp16" if kind is torch.float16 else "fp32", "torch")


Opener = Callable[[Model, str, int], AbstractContextManager[Engine]]
PEERS: dict[str, Opener] = {
    "ONNX Runtime as it comes": onnx_runtime,
    "eager torch": eager_torch,
    "torch.compile": compiled_torch,
}


@dataclass(frozen=True, slots=True)
class Timed:
    """seconds: of each call, by stream."""

    name: str
    engine: Engine
    seconds: list[list[float]]

    def images_per_second(self, batch_size: int) -> float:
        """Of all streams together."""
        return sum(batch_size / float(np.mean(times)) for times in self.seconds)


def timed(
    model: Model, device: str, batch_size: int, seconds: float, missing: dict[str, str], *, alone: bool
) -> Iterator[Timed]:
    """Every engine for `seconds`, ours first; alone: that one only.

    missing: peers that failed are put there, and why, and are not tried again. Raises what ours raises.
    """
    side = model.card.input_size
    images = np.random.default_rng(0).integers(0, 256, (batch_size, 1, side, side), np.uint8)
    for name, opened in {OURS: ours, **({} if alone else PEERS)}.items():
        if name in missing:
            continue
        try:
            with opened(model, device, batch_size) as engine:
                calls = durations(engine.infer, images, engine.streams, seconds)
        except Exception as error:
            if name == OURS:
                raise
            # A peer's failure is a finding, of whatever type.
            missing[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        else:
            yield Timed(name, engine, calls)
