"""Processes of our own: started alike, told apart by what they are called with, sharing memory with us."""

import contextlib
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_COMMAND = (
    "import sys; entry, count, *rest = sys.argv[1:]; sys.path = rest[int(count):]; "
    "from screen.processes import called; called(entry)(*map(int, rest[:int(count)]))"
)


def spawn(
    entry: str, *numbers: int, descriptors: Sequence[int], environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a process that calls `entry`, `module:function`, with some numbers.

    descriptors: that it inherits, under their numbers. environment: beside ours.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _COMMAND, entry, str(len(numbers)), *map(str, numbers), *import_path()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # what libraries print is no line of our log, and may quote tags
        pass_fds=descriptors,
        start_new_session=True,  # a signal is ours to act on: what is in flight is finished
        env={**environment_without_secrets(), **(environment or {})},
    )


def import_path() -> list[str]:
    """Ours for a process of ours, started with -P: nothing that lies in the current folder gets imported.

    Where we ourselves lie is the last to be asked: it may be the current folder of who calls us from Python.
    """
    return [*filter(None, sys.path), str(Path(__file__).parent.parent)]


def environment_without_secrets() -> dict[str, str]:
    """Ours for a process that may be taken over by what it decodes or builds: keys and passwords stay here.

    All that begins with `CXR_SCREEN_` is for who was called by a person, who may keep a key there.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("CXR_SCREEN_")}


def called(name: str) -> Callable[..., Any]:
    """What `module:function` names."""
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


@contextmanager
def shared_memory(name: str, size: int) -> Iterator[int]:
    """A descriptor of so many bytes that a process may inherit and both may map; closed after the block."""
    with os.fdopen(os.memfd_create(name, os.MFD_CLOEXEC), "rb+") as memory:
        memory.truncate(size)
        yield memory.fileno()


def end(process: "subprocess.Popen[bytes]", seconds: float = 1.0) -> None:
    """Kill it, and wait so long at most: one that hangs in a dead network disk cannot be killed."""
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def ending(process: "subprocess.Popen[bytes]") -> str:
    """How it ended, for a person."""
    code = process.returncode
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
