"""What a decode worker with a GPU calls: `screen.decode`, lossless frames by nvImageCodec where that wins.

The worker's process has a CUDA context of its own; see `screen.decode.pool` for what becomes of it and its
files if that fails.
"""

from functools import cache
from importlib import util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from screen.decode.one_file import Outcome
from screen.decode.one_file import decode as decode_by_cpu
from screen.discover import Source
from screen.errors import MissingExtraError, UsageError
from screen.gpus import gpus
from screen.preprocess import PreprocessSpec
from screen.readers import Limits
from screen.readers.accelerator import Accelerator
from screen.readers.codecs import accelerated
from screen.shortcuts import DecodePolicy


class NvImageCodec:
    """NVIDIA's library on the process's first GPU. Raises ImportError, RuntimeError without a driver."""

    name = "nvimgcodec"

    def __init__(self) -> None:
        from nvidia import nvimgcodec

        # Its decoders on the CPU are no faster than ours, and it would use every processor for them.
        kinds = nvimgcodec.BackendKind
        backends = [
            nvimgcodec.Backend(kind) for kind in (kinds.HW_GPU_ONLY, kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU)
        ]
        self._decoder = nvimgcodec.Decoder(device_id=0, max_num_cpu_threads=1, backends=backends)
        self._params = nvimgcodec.DecodeParams(
            apply_exif_orientation=False, color_spec=nvimgcodec.ColorSpec.UNCHANGED, allow_any_depth=True
        )
        self._stream_from = nvimgcodec.CodeStream

    def decode(self, data: bytes) -> NDArray[Any] | None:
        """As `screen.readers.accelerator.FrameCodec` has it. Raises RuntimeError if CUDA fails."""
        image = self._decoder.decode(self._stream_from(data), params=self._params)
        return None if image is None else np.asarray(image.cpu())


def decode(source: Source, spec: PreprocessSpec, limits: Limits, policy: DecodePolicy) -> Outcome:
    """`screen.decode.one_file.decode`; the decoder is opened with the first file."""
    with accelerated(_accelerator()):
        return decode_by_cpu(source, spec, limits, policy)


@cache
def _accelerator() -> Accelerator:
    try:
        return Accelerator(NvImageCodec())
    except (ImportError, RuntimeError) as error:
        # Not a bug that ends the run: the files go to the other workers.
        raise SystemExit(f"nvImageCodec: {type(error).__name__}") from error


def gpus_for_decoding(count: int) -> tuple[str, ...]:
    """UUIDs of the GPUs for `count` workers, in turns.

    Raises MissingExtraError without nvImageCodec, UsageError without a GPU.
    """
    if not count:
        return ()
    if util.find_spec("nvidia") is None or util.find_spec("nvidia.nvimgcodec") is None:
        raise MissingExtraError("--gpu-decoders", "gpu-decode")
    found = [gpu.uuid for gpu in gpus()]
    if not found:
        raise UsageError("--gpu-decoders: no NVIDIA GPU or no driver answers here; leave it out")
    return tuple(found[index % len(found)] for index in range(count))
