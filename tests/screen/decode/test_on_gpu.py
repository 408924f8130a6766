"""Decoding with a GPU costs no film and changes none, whatever becomes of the process that has the GPU."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1

from screen.decode import Decoded, DecodePool, Outcome, decode, on_gpu
from screen.decode import pool as decode_pool
from screen.discover import discover
from screen.errors import MissingExtraError, UsageError
from screen.gpus import Gpu
from screen.preprocess import PreprocessSpec
from screen.readers import Limits, Refusal
from screen.readers.accelerator import Accelerator
from screen.readers.codecs import accelerated, decode_frame
from screen.readers.header import PixelHeader
from screen.shortcuts import FULL
from tests.phantoms import dicom_file, encoded, film_values

SPEC = PreprocessSpec(size=32)
VALUES = film_values(80, 60)


def header(**fields: Any) -> PixelHeader:
    plain: dict[str, Any] = {
        "rows": 80, "columns": 60, "samples": 1, "photometric": "MONOCHROME2", "planar": False,
        "bits_allocated": 16, "bits_stored": 12, "high_bit": 11, "signed": False, "frames": 1,
    }  # fmt: skip
    return PixelHeader(**plain | fields)


class Codec:
    """Gives what it was told to, and takes its time on `clock`."""

    name = "fake"

    def __init__(self, answer: Callable[[], NDArray[Any] | None], seconds: float) -> None:
        self.answer, self.seconds, self.calls, self.now = answer, seconds, 0, 0.0

    def clock(self) -> float:
        # Whatever happens between two looks takes a second on the CPU.
        self.now += 1
        return self.now

    def decode(self, data: bytes) -> NDArray[Any] | None:
        self.calls += 1
        self.now += self.seconds - 1
        return self.answer()


def names(codec: Codec, count: int, syntax: str = JPEGLosslessSV1, **fields: Any) -> list[str]:
    """The decoders of `count` equal frames; every one of them has the right pixels."""
    frame = encoded(VALUES, syntax)
    found = []
    with accelerated(Accelerator(codec, clock=codec.clock)):
        for _ in range(count):
            samples, name, _ = decode_frame(frame, syntax, header(**fields))
            assert np.array_equal(samples, VALUES)
            found.append(name)
    return found


def test_a_codec_that_is_equal_and_faster_gets_the_frames() -> None:
    assert names(Codec(lambda: VALUES, 0.2), 5)[3:] == ["fake", "fake"]
    assert names(Codec(lambda: VALUES[..., None], 0.2), 5, JPEG2000Lossless)[3:] == ["fake", "fake"]


@pytest.mark.parametrize(
    "codec",
    [
        Codec(lambda: VALUES, 1.5),
        Codec(lambda: VALUES ^ np.uint16(1), 0.2),
        Codec(lambda: VALUES.view(np.int16), 0.2),
        Codec(lambda: VALUES[:-1], 0.2),
        Codec(lambda: None, 0.2),
    ],
    ids=["slower", "other pixels", "another type", "another size", "declines"],
)
def test_any_other_codec_is_left_alone(codec: Codec) -> None:
    assert set(names(codec, 5)) == {"libjpeg-turbo"}
    assert codec.calls == 3


def test_every_kind_of_frame_is_tried_by_itself() -> None:
    codec = Codec(lambda: VALUES, 0.2)
    accelerator = Accelerator(codec, clock=codec.clock)
    frame = encoded(VALUES, JPEGLosslessSV1)
    with accelerated(accelerator):
        for bits in (12, 12, 12, 12, 16):
            name = decode_frame(frame, JPEGLosslessSV1, header(bits_stored=bits))[1]
    assert name == "libjpeg-turbo"
    assert codec.calls == 5


def test_lossy_frames_are_never_offered() -> None:
    import imagecodecs

    codec = Codec(lambda: VALUES, 0.2)
    frame = imagecodecs.jpeg8_encode((VALUES >> 4).astype(np.uint8))
    with accelerated(Accelerator(codec, trials=0)):
        decode_frame(frame, JPEGBaseline8Bit, header(bits_allocated=8, bits_stored=8))
    assert codec.calls == 0


def test_a_device_that_declines_everything_is_lost_but_no_broken_file_says_so() -> None:
    answers: list[NDArray[Any] | None] = [VALUES] * 3
    codec = Codec(lambda: answers.pop(0) if answers else None, 0.2)
    accelerator = Accelerator(codec, clock=codec.clock)
    frame = encoded(VALUES, JPEG2000Lossless)
    broken = frame[: len(frame) // 2]
    with accelerated(accelerator):
        for _ in range(3):
            decode_frame(frame, JPEG2000Lossless, header())
        for _ in range(5):
            with pytest.raises(Refusal):
                decode_frame(broken, JPEG2000Lossless, header())
        for _ in range(2):
            decode_frame(frame, JPEG2000Lossless, header())
        with pytest.raises(SystemExit):
            decode_frame(frame, JPEG2000Lossless, header())


def films(folder: Path, *film_names: str) -> list[str]:
    for number, name in enumerate(film_names):
        (folder / f"{number}-{name}").write_bytes(dicom_file(VALUES + np.uint16(number), JPEGLosslessSV1))
    return [f"{number}-{name}" for number, name in enumerate(film_names)]


def decoded(folder: Path, pool: DecodePool) -> dict[str, Outcome]:
    """All of them, in order of their names: the second is the first that the worker with a GPU gets."""
    sources = sorted(discover([folder], None), key=lambda source: source.path.name)
    found: dict[str, Outcome] = {}
    for source, outcome in chain.from_iterable(pool.map(sources)):
        assert source.path.name not in found
        found[source.path.name] = outcome
    for source in sources:
        alone, ours = decode(source, SPEC, Limits(), FULL).result, found[source.path.name].result
        assert isinstance(alone, Decoded)
        assert isinstance(ours, Decoded), ours
        assert ours.pixel_digest == alone.pixel_digest
        assert np.array_equal(ours.square, alone.square)
    return found


def decoders(found: dict[str, Outcome]) -> set[str]:
    return {outcome.result.decoder for outcome in found.values() if isinstance(outcome.result, Decoded)}


@pytest.fixture(autouse=True)
def no_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "_GPU_FILE_TIMEOUT", 4.0)


def gpu_pool(*gpus: str, gpu_decode: str = "faulty") -> DecodePool:
    return DecodePool(1, SPEC, Limits(), gpus=gpus, gpu_decode=f"tests.faulty_gpu_decode:{gpu_decode}")


@pytest.mark.parametrize(
    ("accident", "losses"), [("crash", 1), ("sticky", 1), ("hang", 1), ("size", 0), ("declines", 0)]
)
def test_an_accident_costs_its_file_the_gpu_and_no_more(tmp_path: Path, accident: str, losses: int) -> None:
    films(tmp_path, "a", accident, *"bcdefghijkl")
    with gpu_pool("GPU-0") as pool:
        found = decoded(tmp_path, pool)
        assert pool.gpu_losses == losses
        assert sum(bool(worker.gpu) for worker in pool._workers) == 1
    assert decoders(found) == {"fake", "libjpeg-turbo"}
    bad = found[f"1-{accident}"].result
    assert isinstance(bad, Decoded)
    assert bad.decoder == "libjpeg-turbo"


def test_after_three_losses_gpus_are_left_alone(tmp_path: Path) -> None:
    films(tmp_path, *["crash"] * 20)
    with gpu_pool("GPU-0", "GPU-1") as pool:
        assert decoders(decoded(tmp_path, pool)) == {"libjpeg-turbo"}
        assert pool.gpu_losses == 3
        assert [worker.gpu for worker in pool._workers] == [""]


def test_a_gpu_that_does_not_answer_costs_nothing_either(tmp_path: Path) -> None:
    films(tmp_path, *"abcdefghij")
    with gpu_pool("GPU-0", gpu_decode="without_a_driver") as pool:
        decoded(tmp_path, pool)
        assert 1 <= pool.gpu_losses <= 3


def test_workers_with_a_gpu_are_replaced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_pool, "_LIFETIME", 3)
    films(tmp_path, *"abcdefghijkl")
    with gpu_pool("GPU-0") as pool:
        assert decoders(decoded(tmp_path, pool)) == {"fake", "libjpeg-turbo"}
        assert pool.gpu_losses == 0


def test_what_is_missing_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_gpu.gpus_for_decoding(0) == ()
    monkeypatch.setattr(on_gpu.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="gpu-decode"):
        on_gpu.gpus_for_decoding(2)
    monkeypatch.setattr(on_gpu.util, "find_spec", lambda name: name)
    monkeypatch.setattr(on_gpu, "gpus", list)
    with pytest.raises(UsageError, match="no NVIDIA GPU"):
        on_gpu.gpus_for_decoding(2)
    monkeypatch.setattr(on_gpu, "gpus", lambda: [Gpu(0, "a", "GPU-a"), Gpu(1, "b", "GPU-b")])
    assert on_gpu.gpus_for_decoding(3) == ("GPU-a", "GPU-b", "GPU-a")
