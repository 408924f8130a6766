"""What decode workers call in tests of accidents: the file's name says which accident."""

import contextlib
import os
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any
from unittest import mock

from screen.decode import Outcome, decode, one_file
from screen.discover import Source
from screen.preprocess import PreprocessSpec
from screen.readers import Limits
from screen.shortcuts import DecodePolicy


def faulty(source: Source, spec: PreprocessSpec, limits: Limits, policy: DecodePolicy) -> Outcome:
    name = source.path.name
    if "crash-once" in name:
        marker = Path(f"{source.path}.crashed")
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    elif "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    elif "exit" in name:
        os._exit(0)
    elif "nonsense" in name:
        # What a worker could do that a crafted file has taken over.
        words = b'{"reason": "fine"}'
        for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
            with contextlib.suppress(OSError):
                socket.socket(fileno=os.dup(descriptor)).sendall(struct.pack("!i", len(words)) + words)
    elif "hang" in name:
        time.sleep(60)
    elif "slow" in name:
        time.sleep(0.3)
    elif "memory" in name:
        with mock.patch.object(one_file, "read", side_effect=MemoryError):
            return decode(source, spec, limits, policy)
    elif "gigabytes" in name:
        with mock.patch.object(one_file, "read", side_effect=lambda *_: bytearray(40 * 2**30)):
            return decode(source, spec, limits, policy)
    elif "bug" in name:
        time.sleep("late" in name)
        raise KeyError(name.upper())  # stands for a tag
    return decode(source, spec, limits, policy)


def unstartable(source: Source, spec: PreprocessSpec, limits: Limits, policy: DecodePolicy) -> Outcome:
    raise AssertionError("never called")


if os.environ.get("FAULTY_DECODE_START"):
    os._exit(1)


def bug_in_every_tenth(source: Source, *greeting: Any) -> Outcome:
    """For the fuzzer, whose files are numbered."""
    if source.path.name.endswith("0"):
        raise KeyError(source.path.name)
    return decode(source, *greeting)
