"""The network of a run: the device that was asked for, the runtime opened there, and all that lets it run."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from screen.backends import Backend, Device, check_probes, gpus_of, open_backend, resolved_device
from screen.backends.batching import SIZES, fastest_batch_size
from screen.engines import engine_for_run
from screen.errors import UsageError
from screen.machine import batch_size_for, network_streams, usable_cpus
from screen.model import Model
from screen.model.certificates import CPU_KINDS, ON_CPUS, check_certified

NamedEngine = tuple[Path, Path | None]
"""`--engine` and `--engine-key`."""


def device_for(text: str, engine: Path | None = None, engine_key: Path | None = None) -> Device:
    """What runs the network; a named engine says it too. Raises UsageError if it is not here."""
    if engine is None:
        if engine_key is not None:
            raise UsageError("--engine-key is for --engine FILE: give both")
        return resolved_device(text)
    device = resolved_device("tensorrt" if text == "auto" else text)
    if device.kind != "tensorrt":
        raise UsageError(f"--engine is for --device tensorrt, not for {device}")
    return device


def open_network(
    model: Model,
    device: Device,
    batch_size: int,
    memory: int,
    event: Callable[..., Any],
    engine: NamedEngine | None = None,
    open_backend: Callable[..., Backend] = open_backend,
) -> tuple[Backend, bool]:
    """The opened runtime, certified and probed, and whether preprocessing drifts here (`check_probes`).

    batch_size: 0 if nobody has said one: the best one then. memory: bytes, before decoders took theirs.
    event: told what takes long. engine: for TensorRT, instead of one that is built here.
    Raises ScreenError for whatever may not run here.
    """
    if model.card.precision in ON_CPUS and device.kind not in CPU_KINDS:
        raise UsageError(
            f"{model.path} computes in {model.card.precision}, for CPUs: --device cpu or openvino; on a GPU "
            "take the default model"
        )
    backend = _opened(model, device, batch_size, memory, event, engine, open_backend)
    try:
        check_certified(model.card.precision, backend.device.device, model.card.certificates, str(model.path))
        return backend, check_probes(model, backend)
    except BaseException:
        backend.close()
        raise


def _opened(
    model: Model,
    device: Device,
    batch_size: int,
    memory: int,
    event: Callable[..., Any],
    named: NamedEngine | None,
    open_backend: Callable[..., Backend],
) -> Backend:
    """With an engine where the runtime takes one, at the batch size that was asked for or is best."""
    cpus, largest = usable_cpus(), SIZES[-1]
    if device.kind == "tensorrt":
        engine = engine_for_run(model, gpus_of(device), batch_size, named, event)
        largest = engine.manifest.profile[2]
        open_backend = partial(open_backend, engine=engine)
    if not batch_size and device.indices:
        one = str(Device(device.kind, device.indices[:1]))
        event("batch_size", device=one)
        batch_size = fastest_batch_size(lambda size: open_backend(model, one, size, cpus), largest)
    elif not batch_size:
        batch_size = batch_size_for(memory, network_streams(cpus)[0], model.card.input_size)
    return open_backend(model, str(device), batch_size, cpus)
