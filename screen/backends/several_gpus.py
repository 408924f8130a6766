"""Several GPUs: an inference process for each, batches to whichever is free, results in the order of asking.

Batches and outputs lie in shared memory; over the sockets go only words of JSON. A process that dies, or says
that its GPU failed, ends the run.
"""

import json
import mmap
import queue
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen import errors
from screen.backends.base import Backend, DeviceInfo, Outputs, output_shapes
from screen.errors import BackendError, MemoryRefusedError, ScreenError
from screen.gpus import Gpu
from screen.model import Model, ModelCard, VerifiedEngine
from screen.processes import end, ending, shared_memory, spawn

_PROCESS = "screen.backends.gpu_process:main"
OPEN = "screen.backends.devices:open_on_gpu"
"""What the processes call to open their GPU, `module:function`."""

SLOTS = 2
"""Batches that a process has at once: one is copied while the other computes."""
_MAX_WORDS = 1 << 16


def open_gpus(
    model: Model,
    kind: str,
    gpus: Sequence[Gpu],
    batch_size: int,
    engine: VerifiedEngine | None,
    open_gpu: str = OPEN,
) -> "SeveralGpus":
    """A process for each GPU, all loading at the same time. Raises what one of them raised."""
    with ExitStack() as stack:
        greetings = [Greeting(open_gpu, model, kind, gpu, batch_size, engine) for gpu in gpus]
        processes = [stack.enter_context(GpuProcess(greeting)) for greeting in greetings]
        for process in processes:
            process.load()
        for process in processes:
            process.wait_until_open()
        stack.pop_all()
    return SeveralGpus(processes)


class SeveralGpus(Backend):
    """Opened processes as one backend."""

    def __init__(self, processes: "Sequence[GpuProcess]") -> None:
        self._processes = processes
        self._free: queue.SimpleQueue[GpuProcess] = queue.SimpleQueue()
        self.streams = SLOTS * len(processes)
        for process in [*processes] * SLOTS:
            self._free.put(process)
        super().__init__(processes[0].batch_size, processes[0].size, self._together())

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        process = self._free.get()
        try:
            return process.infer(images)
        finally:
            self._free.put(process)
            self.device = self._together()

    def _together(self) -> DeviceInfo:
        """One device to the reader: all numbers and all UUIDs, the smallest batch that was halved to."""
        infos = [process.device for process in self._processes]
        numbers = ",".join(info.device.partition(":")[2] for info in infos)
        halved = [info.batch_halved_to for info in infos if info.batch_halved_to]
        return replace(
            infos[0],
            device=f"{infos[0].device.partition(':')[0]}:{numbers}",
            uuid=",".join(info.uuid for info in infos),
            batch_halved_to=min(halved, default=0),
        )

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.close()


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a process is told first. open: `module:function`, called with all the rest."""

    open: str
    model: Model
    kind: str
    gpu: Gpu
    batch_size: int
    engine: VerifiedEngine | None


@dataclass(slots=True)
class Slot:
    """One batch's way through shared memory: images uint8 [N, 1, S, S] in, outputs float32 [N, …] back."""

    connection: Connection
    images: NDArray[np.uint8]
    outputs: Outputs


class GpuProcess(Backend):
    """One GPU in a process of its own, which starts at once; then `load`, then `wait_until_open`."""

    streams = SLOTS

    def __init__(self, greeting: "Greeting") -> None:
        card, batch_size = greeting.model.card, greeting.batch_size
        device = DeviceInfo(f"{greeting.kind}:{greeting.gpu.index}", "", "", "")
        super().__init__(batch_size, card.input_size, device)
        pairs = [socket.socketpair() for _ in range(SLOTS)]
        with ExitStack() as stack:
            theirs = [stack.enter_context(pair[1]).fileno() for pair in pairs]
            memory = stack.enter_context(shared_memory("batches", SLOTS * slot_bytes(card, batch_size)))
            connections = [Connection(ours.detach()) for ours, _ in pairs]
            self._slots = slots_in(memory, card, batch_size, connections)
            numbers = (memory, *theirs)
            self._process = spawn(_PROCESS, *numbers, descriptors=numbers)
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in self._slots:
            self._free.put(slot)
        self._greeting = greeting

    def load(self) -> None:
        """Have the model loaded there. If it is dead, waiting for it will tell."""
        with suppress(OSError):
            self._slots[0].connection.send(self._greeting)

    def wait_until_open(self) -> None:
        """Until the model is loaded there. Raises what was raised there."""
        self.device = self._answer(self._slots[0])

    def _infer(self, images: NDArray[np.uint8]) -> Outputs:
        slot = self._free.get()
        try:
            slot.images[:] = images
            with suppress(OSError):
                slot.connection.send_bytes(b"batch")
            self.device = self._answer(slot)
            return Outputs(*(getattr(slot.outputs, field.name).copy() for field in fields(Outputs)))
        finally:
            self._free.put(slot)

    def _answer(self, slot: Slot) -> DeviceInfo:
        """The process's device as it is now. Raises what was raised there, and BackendError if it is gone."""
        try:
            words = json.loads(slot.connection.recv_bytes(_MAX_WORDS))
        except (EOFError, OSError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            raise BackendError(
                f"the process of {self.device.device} died ({ending(self._process)}): "
                "the same command goes on from here"
            ) from None
        if "error" in words:
            raise _error_from_words(words)
        return DeviceInfo(**words)

    def close(self) -> None:
        """End the process at once; what it was at is dropped."""
        for slot in self._slots:
            slot.connection.close()
        end(self._process, 5.0)


def slots_in(memory: int, card: ModelCard, batch_size: int, connections: Sequence[Connection]) -> list[Slot]:
    """The slots that lie in shared memory, one for each connection. memory: a file descriptor."""
    size = slot_bytes(card, batch_size)
    whole = np.frombuffer(mmap.mmap(memory, size * len(connections)), np.uint8)
    slots = []
    for number, connection in enumerate(connections):
        rest = whole[number * size :]
        values = {}
        for name, shape in output_shapes(card).items():
            taken = 4 * batch_size * prod(shape)
            values[name] = rest[:taken].view(np.float32).reshape(batch_size, *shape)
            rest = rest[taken:]
        side = card.input_size
        images = rest[: batch_size * side * side].reshape(batch_size, 1, side, side)
        slots.append(Slot(connection, images, Outputs(**values)))
    return slots


def slot_bytes(card: ModelCard, batch_size: int) -> int:
    """A whole number of floats, so that every slot begins at one."""
    row = 4 * sum(map(prod, output_shapes(card).values())) + card.input_size**2
    return -(-batch_size * row // 4) * 4


def words_from_error(error: ScreenError) -> dict[str, Any]:
    """What a process says of an error of ours."""
    return {"error": type(error).__name__, "message": str(error)}


def words_from_device(device: DeviceInfo) -> dict[str, Any]:
    """What a process says when all is well."""
    return asdict(device)


def _error_from_words(words: dict[str, Any]) -> ScreenError:
    kind: type[ScreenError] = getattr(errors, str(words["error"]))
    if kind is MemoryRefusedError:
        kind = BackendError  # it has halved down to one film already
    made = kind.__new__(kind)  # MissingExtraError has other arguments than its message
    Exception.__init__(made, str(words["message"]))
    return made
