"""Every source comes back once, whatever happens to the process that decodes it."""

import os
import time
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from screen.codes import Reason
from screen.decode import Decoded, DecodePool, Outcome, decode
from screen.decode import pool as decode_pool
from screen.decode.pool import DECODE
from screen.discover import discover
from screen.errors import ScreenError
from screen.film import Unscreened
from screen.preprocess import PreprocessSpec
from screen.readers import Limits
from screen.shortcuts import FULL
from tests.films import png

SPEC = PreprocessSpec(size=32)


def decoded(
    folder: Path, processes: int, file_timeout: float = 60.0, decode: str = DECODE
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    sources = list(discover([folder], None))
    with DecodePool(processes, SPEC, Limits(seconds=file_timeout), decode=decode) as pool:
        for source, outcome in chain.from_iterable(pool.map(sources)):
            assert source.path.name not in outcomes
            outcomes[source.path.name] = outcome
    return outcomes


faulty = partial(decoded, decode="tests.faulty_decode:faulty")


def reasons(outcomes: dict[str, Outcome]) -> dict[str, Reason | None]:
    found = {name: outcome.result for name, outcome in outcomes.items()}
    return {name: r.reason if isinstance(r, Unscreened) else None for name, r in found.items()}


def test_all_are_decoded(tmp_path: Path) -> None:
    for seed in range(20):
        png(tmp_path / f"{seed:02}.png", seed)
    outcomes = decoded(tmp_path, 2)
    assert len(outcomes) == 20
    first = outcomes["00.png"].result
    assert isinstance(first, Decoded)
    assert first.square.shape == (32, 32)
    assert outcomes["00.png"].read_seconds > 0


def test_a_crash_costs_its_file_and_no_other(tmp_path: Path) -> None:
    names = ["0-crash", "1", "2", "3-exit", "4", "5", "8-memory", "9"]
    for seed, name in enumerate(names):
        png(tmp_path / f"{name}.png", seed)
    found = reasons(faulty(tmp_path, 2))
    expected = dict.fromkeys((f"{name}.png" for name in names), None) | {
        f"{name}.png": Reason.DECODER_CRASHED for name in names if "crash" in name or "exit" in name
    }
    assert found == expected | {"8-memory.png": Reason.TOO_LARGE}


def test_a_crash_that_does_not_repeat_costs_nothing(tmp_path: Path) -> None:
    for seed in range(5):
        png(tmp_path / f"{seed}.png", seed)
    png(tmp_path / "2-crash-once.png", 9)
    assert set(reasons(faulty(tmp_path, 1)).values()) == {None}


def test_workers_are_replaced_and_every_square_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_pool, "_LIFETIME", 5)
    for seed in range(17):
        png(tmp_path / f"{seed:02}.png", seed)
    found = decoded(tmp_path, 2)
    assert len(found) == 17
    for source in discover([tmp_path], None):
        alone = decode(source, SPEC, Limits(), FULL).result
        other = found[source.path.name].result
        assert isinstance(alone, Decoded)
        assert isinstance(other, Decoded)
        assert alone.pixel_digest == other.pixel_digest
        np.testing.assert_array_equal(alone.square, other.square)


def test_a_worker_that_talks_nonsense_is_replaced(tmp_path: Path) -> None:
    for seed, name in enumerate(("0", "1-nonsense", "2")):
        png(tmp_path / f"{name}.png", seed)
    found = reasons(faulty(tmp_path, 1))
    assert found == {"0.png": None, "1-nonsense.png": Reason.DECODER_CRASHED, "2.png": None}


def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    for name in ("0", "1-hang", "2", "3"):
        png(tmp_path / f"{name}.png", 1)
    started = time.monotonic()
    found = reasons(faulty(tmp_path, 1, file_timeout=2.0))
    assert time.monotonic() - started < 30
    assert found == {"0.png": None, "1-hang.png": Reason.TIMED_OUT, "2.png": None, "3.png": None}


def test_a_fault_of_ours_costs_its_file_alone_and_quotes_no_tags(tmp_path: Path) -> None:
    for name in ("0", "1-bug", "2"):
        png(tmp_path / f"{name}.png", 0)
    outcomes = faulty(tmp_path, 1)
    assert reasons(outcomes) == {"0.png": None, "1-bug.png": Reason.READER_ERROR, "2.png": None}
    result = outcomes["1-bug.png"].result
    assert isinstance(result, Unscreened)
    assert result.detail.startswith("KeyError in tests/faulty_decode.py:")
    assert "faulty < screen/decode/worker.py:" in result.detail
    assert "BUG" not in result.detail


def test_workers_that_cannot_start_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULTY_DECODE_START", "1")
    png(tmp_path / "0.png", 0)
    with pytest.raises(ScreenError, match="die when they start"):
        decoded(tmp_path, 1, decode="tests.faulty_decode:unstartable")


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "cwd"
    trap.mkdir()
    (trap / "cv2.py").write_text("import os; os._exit(7)")
    png(tmp_path / "in" / "0.png", 0)
    monkeypatch.chdir(trap)
    assert reasons(decoded(tmp_path / "in", 1)) == {"0.png": None}


def test_workers_are_gone_afterwards(tmp_path: Path) -> None:
    png(tmp_path / "0.png", 0)
    with DecodePool(2, SPEC, Limits()) as pool:
        pool.submit(next(discover([tmp_path], None)))
        pids = [worker.process.pid for worker in pool._workers]
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
