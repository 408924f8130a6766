"""A second decoder for lossless frames, used where it has proved equal and faster; the CPU's is never gone.

The first frames of each kind are decoded both ways. The accelerator gets later ones if every value was the
same and its best time the better one; a frame that it declines, or gives another shape, goes the CPU's way.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from screen.readers.header import PixelHeader

# Lossy ones are not here: decoders differ in their last bits, and a score must not hang on who was free.
_LOSSLESS = frozenset(
    {
        uid.JPEGLossless,
        uid.JPEGLosslessSV1,
        uid.JPEG2000Lossless,
        uid.HTJ2KLossless,
        uid.HTJ2KLosslessRPCL,
    }
)
_DECLINED = 3
"""Frames in a row that the CPU could decode and a proven accelerator could not: its device is lost."""

Decoded = tuple[NDArray[Any], str]
"""Samples [H, W], integers, and the decoder's name."""


class FrameCodec(Protocol):
    """name: as the column `decoder` has it."""

    name: str

    def decode(self, data: bytes) -> NDArray[Any] | None:
        """A grey frame's integers [H, W], or [H, W, 1], as stored; None for one that it does not take."""


@dataclass(slots=True)
class _Trial:
    """Both ways over the first frames of one kind. cpu, codec: best seconds."""

    frames: int = 0
    equal: bool = True
    cpu: float = float("inf")
    codec: float = float("inf")

    @property
    def won(self) -> bool:
        return self.equal and self.codec < self.cpu


class Accelerator:
    """One codec, and what is known of it by kind of frame: transfer syntax, bits and sign.

    trials: frames of each kind that are decoded both ways, at least 1 where pixels count.
    """

    def __init__(
        self, codec: FrameCodec, trials: int = 3, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._codec = codec
        self._frames = trials
        self._clock = clock
        self._trials: dict[tuple[str, int, bool], _Trial] = {}
        self._declined = 0

    @staticmethod
    def takes(syntax: str, px: PixelHeader) -> bool:
        """Whether frames of this kind are its business: lossless, one sample a pixel."""
        return syntax in _LOSSLESS and px.samples == 1

    def decode(self, data: bytes, syntax: str, px: PixelHeader, by_cpu: Callable[[], Decoded]) -> Decoded:
        """A frame by whichever way it is to go. Raises what `by_cpu` raises; SystemExit for a lost device."""
        if not self.takes(syntax, px):
            return by_cpu()
        trial = self._trials.setdefault((syntax, px.bits_stored, px.signed), _Trial())
        if trial.frames < self._frames:
            return self._try(trial, data, by_cpu)
        if trial.frames and not trial.won:
            return by_cpu()
        samples = self._by_codec(data)
        if samples is not None and samples.shape == (px.rows, px.columns):
            self._declined = 0
            return samples, self._codec.name
        decoded = by_cpu()
        # After it: what no decoder takes is the file's fault.
        self._declined += 1
        if self._declined >= _DECLINED:
            raise SystemExit(f"{self._codec.name} declines everything")
        return decoded

    def _try(self, trial: _Trial, data: bytes, by_cpu: Callable[[], Decoded]) -> Decoded:
        started = self._clock()
        expected, name = by_cpu()
        between = self._clock()
        samples = self._by_codec(data)
        trial.codec = min(trial.codec, self._clock() - between)
        trial.cpu = min(trial.cpu, between - started)
        trial.frames += 1
        trial.equal &= (
            samples is not None and samples.dtype == expected.dtype and np.array_equal(samples, expected)
        )
        return expected, name

    def _by_codec(self, data: bytes) -> NDArray[Any] | None:
        try:
            samples = self._codec.decode(data)
        except Exception as error:
            # A CUDA context that has failed once fails for ever: only another process gets a new one.
            raise SystemExit(f"{self._codec.name}: {type(error).__name__}") from error
        return samples[..., 0] if samples is not None and samples.ndim == 3 else samples
