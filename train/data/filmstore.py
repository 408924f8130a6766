"""Squares for training: on the accelerator if they fit there, else fetched one batch ahead."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Asked = TypeVar("Asked")
Fetched = TypeVar("Fetched")


class FilmStore:
    """values: uint8 [N, S, S], in memory or memory-mapped. A quarter of the bytes of float32 travel."""

    def __init__(self, values: NDArray[np.uint8], device: torch.device) -> None:
        self._values = values
        self._device = device
        # The other half of what is free is the network's.
        fits = device.type == "cuda" and values.nbytes < torch.cuda.mem_get_info(device)[0] / 2
        self._resident = torch.tensor(values, device=device) if fits else None

    def __call__(self, indices: NDArray[np.intp]) -> Tensor:
        """Those films, uint8 [n, S, S], on the device."""
        if self._resident is not None:
            return self._resident[torch.from_numpy(indices).to(self._device)]
        films = torch.from_numpy(self._values[indices])
        if self._device.type == "cuda":
            films = films.pin_memory()
        return films.to(self._device, non_blocking=True)


def read_ahead(fetch: Callable[[Asked], Fetched], asked: Sequence[Asked]) -> Iterator[Fetched]:
    """fetch(…) of each, in order, the next one under way while one is worked on. Its errors come out."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(fetch, asked[0])
        for following in asked[1:]:
            fetched = coming.result()
            coming = pool.submit(fetch, following)
            yield fetched
        yield coming.result()
