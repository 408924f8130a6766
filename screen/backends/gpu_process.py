"""The process that holds one of several GPUs, see `screen.backends.several_gpus`.

Batches lie in the inherited memory, one slot for each inherited socket.
"""

import contextlib
import json
import resource
import threading
from dataclasses import fields
from multiprocessing.connection import Connection

from screen.backends.base import Backend, Outputs
from screen.backends.several_gpus import Greeting, Slot, slots_in, words_from_device, words_from_error
from screen.errors import BackendError, ScreenError
from screen.processes import called


def main(memory: int, *sockets: int) -> None:
    """Serve until the other end closes."""
    # A core dump would hold patients' films.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connections = [Connection(number) for number in sockets]
    with contextlib.suppress(EOFError, OSError):
        greeting: Greeting = connections[0].recv()
        try:
            backend = _opened(greeting)
        except Exception as error:
            _send(connections[0], words_from_error(_ours(error)))
            return
        with backend:
            _send(connections[0], words_from_device(backend.device))
            slots = slots_in(memory, greeting.model.card, greeting.batch_size, connections)
            # What a runtime cannot do side by side waits here, its batch already in place.
            turn = threading.Semaphore(backend.streams)
            threads = [threading.Thread(target=_serve, args=(slot, backend, turn)) for slot in slots]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()


def _opened(greeting: Greeting) -> Backend:
    opened: Backend = called(greeting.open)(
        greeting.model, greeting.kind, greeting.gpu, greeting.batch_size, greeting.engine
    )
    return opened


def _serve(slot: Slot, backend: Backend, turn: threading.Semaphore) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            slot.connection.recv_bytes()
            try:
                with turn:
                    outputs = backend.infer(slot.images)
                for field in fields(Outputs):
                    getattr(slot.outputs, field.name)[:] = getattr(outputs, field.name)
                words = words_from_device(backend.device)
            except Exception as error:
                words = words_from_error(_ours(error))
            _send(slot.connection, words)


def _ours(error: Exception) -> ScreenError:
    return error if isinstance(error, ScreenError) else BackendError(f"{type(error).__name__}: {error}")


def _send(connection: Connection, words: dict[str, object]) -> None:
    connection.send_bytes(json.dumps(words).encode())
