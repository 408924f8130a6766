"""Several GPUs: one process each, one result for each film, and no run that goes on without one of them."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from screen.backends import Batcher
from screen.backends.base import NullBackend
from screen.backends.several_gpus import SeveralGpus
from screen.errors import BackendError, MemoryRefusedError, UsageError
from screen.model import Model
from screen.runs import RunSettings, Wiring, run
from screen.runs.progress import JsonLines
from tests.films import png
from tests.micro_model import SIZE, micro_model
from tests.null_gpu import BUG, DEADLY, LOST, opened
from tests.places import ROOT

OUTPUTS = ("logits", "heatmap", "embedding", "gate")


def films(n: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 200, (n, SIZE, SIZE), np.uint8)


def test_films_come_back_in_order_and_all_gpus_work() -> None:
    squares = films(102)
    with opened(4, 4, batch_size=4) as backend, Batcher[int](backend) as batcher:
        info, results = backend.device, []
        for number, square in enumerate(squares):
            results += batcher.add(square, number)
        results += batcher.flush()
    assert (info.device, info.uuid, info.batch_halved_to) == ("cuda:0,1", "GPU-0,GPU-1", 0)
    assert [number for number, _, _ in results] == list(range(102))
    expected = NullBackend(micro_model().card, 102).infer(squares[:, None])
    for number, outputs, row in results:
        for name in OUTPUTS:
            assert (getattr(outputs, name)[row] == getattr(expected, name)[number]).all(), name
    assert {float(outputs.distance[row]) for _, outputs, row in results} == {0.0, 1.0}


def test_a_gpu_halves_by_itself_and_says_so() -> None:
    batch = films(8)[:, None]
    with opened(8, 2, batch_size=8) as backend:
        assert backend.device.batch_halved_to == 2
        for _ in range(4):
            found = backend.infer(batch)
            assert (found.logits == NullBackend(micro_model().card, 8).infer(batch).logits).all()


def grey(value: int) -> NDArray[np.uint8]:
    return np.full((4, 1, SIZE, SIZE), value, np.uint8)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (DEADLY, r"cuda:0 died \(signal 9\): the same command goes on"),
        (LOST, "cuda:0: an illegal memory access"),
        (BUG, "ZeroDivisionError: a bug"),
    ],
)
def test_a_gpu_that_fails_is_an_error(value: int, said: str) -> None:
    with opened(4, 4) as backend, pytest.raises(BackendError, match=said):
        backend.infer(grey(value))


@pytest.mark.parametrize(("name", "kind"), [("not there", UsageError), (0, BackendError)])
def test_what_one_raises_at_the_start_is_raised_here(name: object, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised:
        opened(4, name)
    assert type(raised.value) is kind
    assert not isinstance(raised.value, MemoryRefusedError)


def test_processes_end_with_the_backend() -> None:
    with opened(4, 4) as backend:
        processes = [process._process for process in backend._processes]
        assert [process.poll() for process in processes] == [None, None]
    assert [process.poll() for process in processes] == [-9, -9]
    before = len(list(Path("/proc/self/fd").iterdir()))
    opened(4).close()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_processes_end_with_a_parent_that_is_killed() -> None:
    code = (
        "import time; from tests.null_gpu import opened; backend = opened(4, 4);"
        "print(*[process._process.pid for process in backend._processes], flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    with parent, parent.stdout:
        pids = parent.stdout.readline().split()
        parent.kill()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(pids) == 2


def test_a_run_that_lost_a_gpu_goes_on_where_it_left_off(tmp_path: Path) -> None:
    folder, out = tmp_path / "films", tmp_path / "out"
    folder.mkdir()
    for seed in range(6):
        png(folder / f"{seed}.png", seed)
    (tmp_path / "m.onnx").write_bytes(micro_model().data)

    class Failing(SeveralGpus):
        """The second batch kills the process that gets it."""

        batches = 0

        def infer(self, images: NDArray[np.uint8]) -> Any:
            Failing.batches += 1
            return super().infer(images if Failing.batches != 3 else grey(DEADLY)[: len(images)])

    def with_gpus(make: Callable[[Any], SeveralGpus]) -> int:
        def backend(model: Model, device: str, batch_size: int, threads: int) -> SeveralGpus:
            return make(opened(2, 2, batch_size=batch_size)._processes)

        settings = RunSettings(inputs=(folder,), out=out, model=tmp_path / "m.onnx", batch_size=2)
        return run(settings, JsonLines(), Wiring(open_backend=backend))

    with pytest.raises(BackendError, match=r"died \(signal 9\)"):
        with_gpus(Failing)
    assert not (out / "results.csv").exists()
    assert with_gpus(SeveralGpus) == 0
    assert len((out / "results.csv").read_text().splitlines()) == 7
