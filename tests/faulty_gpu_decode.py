"""What a worker calls that stands for one with a GPU: the file's name says which accident its codec has."""

import os
import signal
import time
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from screen.decode import Outcome
from screen.decode import decode as decode_by_cpu
from screen.discover import Source
from screen.preprocess import PreprocessSpec
from screen.readers import Limits
from screen.readers.accelerator import Accelerator
from screen.readers.codecs import accelerated
from screen.shortcuts import DecodePolicy


class FakeCodec:
    name = "fake"

    def __init__(self) -> None:
        self.accident = ""

    def decode(self, data: bytes) -> NDArray[Any] | None:
        if "crash" in self.accident:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "hang" in self.accident:
            time.sleep(60)
        if "sticky" in self.accident:
            raise RuntimeError("cudaErrorIllegalAddress")
        if "declines" in self.accident:
            return None
        samples: NDArray[Any] = np.asarray(imagecodecs.jpeg8_decode(data))
        return samples[1:] if "size" in self.accident else samples


CODEC = FakeCodec()
# It is trusted at once: which files it gets must not hang on the clock.
ACCELERATOR = Accelerator(CODEC, trials=0)


def faulty(source: Source, spec: PreprocessSpec, limits: Limits, policy: DecodePolicy) -> Outcome:
    CODEC.accident = source.path.name
    with accelerated(ACCELERATOR):
        return decode_by_cpu(source, spec, limits, policy)


def without_a_driver(source: Source, spec: PreprocessSpec, limits: Limits, policy: DecodePolicy) -> Outcome:
    raise SystemExit("no driver")
