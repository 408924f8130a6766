"""Other ways from files to scores, with the same squares: what `screen run` is compared with.

The plain loop is the first; the others are a torch DataLoader with spawned workers, whose batches ONNX
Runtime scores on all processors, with the reader of one library each. Imports and the start of workers are
left out, which `screen run` has to pay for.
"""

import importlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from benchmarks.speed.plain_loop import PlainLoop, Read, is_dicom, read_plainly, square_from_grey
from screen.discover import Source
from screen.gpus import gpus
from screen.model import Model
from screen.preprocess import PreprocessSpec

PLAIN_LOOP = "plain loop"
_BATCH = 16


class Peer(Protocol):
    """name: as tables call it. workers: films that it reads at once."""

    name: str
    workers: int

    def rate(self, sources: Sequence[Source]) -> tuple[float, int]:
        """Films a second over all of `sources`, and how many of them were scored."""


class PlainLoopPeer:
    """`benchmarks.speed.plain_loop` against the clock."""

    name = PLAIN_LOOP
    workers = 1

    def __init__(self, spec: PreprocessSpec) -> None:
        self._loop = PlainLoop(spec)

    def rate(self, sources: Sequence[Source]) -> tuple[float, int]:
        """Behind one film that warms up."""
        self._loop.score(sources[0])
        started = time.perf_counter()
        scored = sum(self._loop.score(source) is not None for source in sources)
        return scored / (time.perf_counter() - started), scored


class PluginLoopPeer:
    """The plain loop with NVIDIA's plugin for pydicom, which decodes on the GPU.

    Raises ImportError without it, RuntimeError without a GPU: pydicom would go on with another decoder.
    """

    name = "plain loop, pydicom with nvImageCodec"
    workers = 1

    def __init__(self, spec: PreprocessSpec) -> None:
        from nvidia.nvimgcodec.tools.dicom import pydicom_plugin

        if not gpus():
            raise RuntimeError("no GPU answers")
        self._plugin = pydicom_plugin
        self._loop = PlainLoopPeer(spec)

    def rate(self, sources: Sequence[Source]) -> tuple[float, int]:
        """Behind one film that warms up."""
        self._plugin.register()
        try:
            return self._loop.rate(sources)
        finally:
            self._plugin.unregister()


class DataLoaderPeer:
    """A DataLoader with as many workers as processors, and ONNX Runtime with as many threads."""

    def __init__(self, name: str, read: Read, model: Model, workers: int) -> None:
        self.name = name
        self.workers = workers
        self._read = read
        self._spec = model.card.preprocess
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = workers
        self._session = onnxruntime.InferenceSession(model.data, options, providers=["CPUExecutionProvider"])

    def rate(self, sources: Sequence[Source]) -> tuple[float, int]:
        """In batches so small that every worker has several, and none waits long for another's last."""
        size = max(1, min(_BATCH, len(sources) // (2 * self.workers)))
        batches = Batches([[index] for index in range(min(len(sources), self.workers))])
        loader = DataLoader(
            Squares(sources, self._read, self._spec),
            batch_sampler=batches,
            num_workers=self.workers,
            multiprocessing_context="spawn",
            persistent_workers=True,
            worker_init_fn=_one_thread,
            collate_fn=_collated,
        )
        for _ in loader:
            # Workers start and import when they are first asked, and stay.
            pass
        batches.indices = [
            list(range(first, min(first + size, len(sources)))) for first in range(0, len(sources), size)
        ]
        scored = 0
        started = time.perf_counter()
        for squares in loader:
            if len(squares):
                self._session.run(["logits"], {"image": squares})
            scored += len(squares)
        return scored / (time.perf_counter() - started), scored


@dataclass(slots=True)
class Batches:
    """A sampler of batches: first some that warm up, then those that count."""

    indices: list[list[int]]

    def __iter__(self) -> Iterator[list[int]]:
        """Indices of one batch after the other."""
        return iter(self.indices)


class Squares(Dataset[NDArray[np.uint8] | None]):
    """uint8 [S, S] of each film; None for a file that the library can't read."""

    def __init__(self, sources: Sequence[Source], read: Read, spec: PreprocessSpec) -> None:
        self._sources, self._read, self._spec = sources, read, spec

    def __len__(self) -> int:
        """Files."""
        return len(self._sources)

    def __getitem__(self, index: int) -> NDArray[np.uint8] | None:
        """Read one file."""
        try:
            return square_from_grey(self._read(self._sources[index]), self._spec)
        except Exception:  # the libraries' errors are of any type
            return None


def _collated(squares: list[NDArray[np.uint8] | None]) -> NDArray[np.uint8]:
    films = [square[None] for square in squares if square is not None]
    return np.stack(films) if films else np.zeros((0, 1, 1, 1), np.uint8)


def _one_thread(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def read_by_monai(source: Source) -> NDArray[Any]:
    """`Read` by MONAI's LoadImage, which applies no window and keeps the file's polarity."""
    from monai.transforms import LoadImage

    reader = "PydicomReader" if is_dicom(source) else "PILReader"
    # MONAI's first axis is the width.
    return np.asarray(LoadImage(reader=reader, image_only=True)(source.path)).T


def read_by_torchxrayvision(source: Source) -> NDArray[Any]:
    """`Read` by torchxrayvision, with the window."""
    from torchxrayvision import utils

    if is_dicom(source):
        return np.asarray(utils.read_xray_dcm(source.path, voi_lut=True))
    grey: NDArray[Any] = np.asarray(utils.load_image(str(source.path)))[0]
    return grey


_READERS: dict[str, tuple[Read, str]] = {
    "DataLoader + ONNX Runtime": (read_plainly, "pydicom"),
    "MONAI": (read_by_monai, "monai"),
    "torchxrayvision": (read_by_torchxrayvision, "torchxrayvision"),
}
"""Peers that read in a DataLoader, and the package that each needs."""


def peers(model: Model, workers: int) -> tuple[list[Peer], dict[str, str]]:
    """All that can run here, the plain loop first; and why each of the others cannot."""
    found: list[Peer] = [PlainLoopPeer(model.card.preprocess)]
    missing = {}
    for name, (read, package) in _READERS.items():
        try:
            importlib.import_module(package)
        except ImportError as error:
            missing[name] = str(error)
        else:
            found.append(DataLoaderPeer(name, read, model, workers))
    return found, missing


def decoders_of_pydicom() -> dict[str, tuple[str, ...]]:
    """What pydicom can choose from: the plain ways are as fast as these."""
    from pydicom.pixels.decoders.base import get_decoder

    from export.realistic import SYNTAXES

    chosen = {}
    for name, syntax in SYNTAXES.items():
        if syntax.is_encapsulated:
            chosen[name] = tuple(get_decoder(syntax).available_plugins)
    return chosen
