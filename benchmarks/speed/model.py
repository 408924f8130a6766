"""Images a second of the network alone, on the CPU: runtimes × threads × streams × batch sizes.

A stream is a thread of ours that calls the runtime; each has its own `threads` of the runtime's. Next to the
runtimes as such stand the backends as `screen run` opens them.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.hardware import machine
from benchmarks.rates import Turns
from screen.backends import open_backend
from screen.backends.openvino import quiet_openvino
from screen.errors import MissingExtraError
from screen.machine import usable_cpus
from screen.model import Model, load_model
from train.network.resnet import ResNet18

Infer = Callable[[NDArray[np.uint8]], object]
"""Takes uint8 [N, 1, S, S]; may be called by several threads at once."""


@dataclass(slots=True)
class Row:
    """One configuration. rate: images a second, one value for each turn."""

    runtime: str
    model: str
    threads: int
    streams: int
    batch_size: int
    rate: Turns = field(default_factory=Turns)


@contextmanager
def onnx_runtime(model: Model, threads: int, streams: int) -> Iterator[Infer]:
    """One session, shared by the streams."""
    del streams
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.data, options, providers=["CPUExecutionProvider"])
    yield lambda images: session.run(["logits"], {"image": images})


@contextmanager
def openvino(model: Model, threads: int, streams: int) -> Iterator[Infer]:
    """One compiled model with as many streams; a request for each thread. Raises MissingExtraError."""
    ov = quiet_openvino()
    core = ov.Core()
    options = {
        # As `screen run` has it: else it computes in bf16 where the processor can.
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads * streams,
    }
    compiled = core.compile_model(core.read_model(model.data), "CPU", options)
    requests = threading.local()

    def infer(images: NDArray[np.uint8]) -> object:
        if not hasattr(requests, "mine"):
            requests.mine = compiled.create_infer_request()
        return requests.mine.infer({"image": images})

    yield infer


@contextmanager
def eager_torch(model: Model, threads: int, streams: int) -> Iterator[Infer]:
    """A network of the same shape with random weights, fp32."""
    del model, streams
    network = ResNet18(in_channels=1, num_classes=1).eval()

    def infer(images: NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(images).float() / 255)

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    yield infer
    torch.set_num_threads(before)


RUNTIMES = {"ONNX Runtime": onnx_runtime, "OpenVINO": openvino, "eager torch": eager_torch}


def measure(
    models: Sequence[Path | None], batch_sizes: Sequence[int], turns: int, seconds: float
) -> tuple[list[Row], dict[str, str], dict[str, str]]:
    """All rows; runtimes that are left out, and why; the machine. Every row lasts `seconds` in each turn."""
    loaded = {str(path or "shipped"): load_model(path) for path in models}
    missing: dict[str, str] = {}
    rows: dict[tuple[str, str, int, int, int], Row] = {}

    def add(key: tuple[str, str, int, int, int], rate: float) -> None:
        rows.setdefault(key, Row(*key)).rate.turns.append(rate)

    for _ in range(turns):
        for name, model in loaded.items():
            for runtime, opened in RUNTIMES.items():
                # Torch has one network, and threads of its own for all who call it.
                alone = runtime == "eager torch"
                if runtime in missing or (alone and name != next(iter(loaded))):
                    continue
                for threads, streams in _splits(usable_cpus()):
                    if alone and streams > 1:
                        continue
                    try:
                        with opened(model, threads, streams) as infer:
                            for size in batch_sizes:
                                key = (runtime, name, threads, streams, size)
                                add(key, rate(infer, _images(size, model), streams, seconds))
                    except MissingExtraError as error:
                        missing[runtime] = str(error)
                        break
            for size in batch_sizes:
                with open_backend(model, "cpu", size, usable_cpus()) as backend:
                    streams = backend.streams
                    key = ("screen run, cpu", name, usable_cpus() // streams, streams, size)
                    add(key, rate(backend.infer, _images(size, model), streams, seconds))
    return list(rows.values()), missing, machine()


def _splits(processors: int) -> list[tuple[int, int]]:
    """(threads, streams) that fill the processors, and one thread alone."""
    powers = [1 << bit for bit in range(processors.bit_length())]
    whole = [(processors // streams, streams) for streams in powers if processors % streams == 0]
    return list(dict.fromkeys([(1, 1), *whole]))


def _images(size: int, model: Model) -> NDArray[np.uint8]:
    side = model.card.input_size
    return np.random.default_rng(0).integers(0, 256, (size, 1, side, side), np.uint8)


def rate(infer: Infer, images: NDArray[np.uint8], streams: int, seconds: float) -> float:
    """Images a second of `streams` threads at once, behind one call each that warms up."""
    return sum(len(images) / mean(times) for times in durations(infer, images, streams, seconds))


def durations(infer: Infer, images: NDArray[np.uint8], streams: int, seconds: float) -> list[list[float]]:
    """Seconds of each call, by stream, while all streams are busy; without one call each that warms up."""
    found: list[list[float]] = [[] for _ in range(streams)]
    errors: list[Exception] = []

    def work(times: list[float]) -> None:
        try:
            infer(images)
            barrier.wait()
            deadline = time.perf_counter() + seconds
            while not times or time.perf_counter() < deadline:
                started = time.perf_counter()
                infer(images)
                times.append(time.perf_counter() - started)
        except Exception as error:
            errors.append(error)
            barrier.abort()

    barrier = threading.Barrier(streams)
    # The first stream's thread is this one: what torch has compiled with CUDA graphs runs in no other.
    threads = [threading.Thread(target=work, args=(times,)) for times in found[1:]]
    for thread in threads:
        thread.start()
    work(found[0])
    for thread in threads:
        thread.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    return found


def report(rows: Sequence[Row], missing: dict[str, str], about: dict[str, str], console: Console) -> None:
    """Print the table."""
    table = Table(title="The network alone: images a second: median and, in brackets, extremes")
    for heading in ("runtime", "model", "threads a stream", "streams", "batch", "images/s"):
        table.add_column(heading, justify="left" if heading in ("runtime", "model") else "right")
    for row in rows:
        table.add_row(
            row.runtime,
            Path(row.model).name,
            str(row.threads),
            str(row.streams),
            str(row.batch_size),
            row.rate.shown,
        )
    console.print(table)
    for name, why in missing.items():
        console.print(f"{name}: left out ({why})")
    console.print(", ".join(f"{name} {value}" for name, value in about.items()))


def as_json(rows: Sequence[Row], missing: dict[str, str], about: dict[str, str]) -> dict[str, Any]:
    """The figures for `--json`."""
    return {"benchmark": "model", "rows": [asdict(row) for row in rows], "missing": missing, "machine": about}
