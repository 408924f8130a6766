"""What `screen doctor` looks at: everything that a run needs, really tried on this machine."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.pixels.encoders.base import RLELosslessEncoder

from screen.api import Screener
from screen.backends import onnx, openvino, tensorrt_binding
from screen.backends.devices import no_gpu_advice
from screen.decode import Decoded, DecodePool
from screen.discover import Source
from screen.errors import ScreenError, UsageError, how_to_install, install_line
from screen.gpus import gpus
from screen.machine import library_version, library_versions, usable_cpus
from screen.model import Model, load_model
from screen.model.file import FAST, shipped_model
from screen.preprocess import PreprocessSpec
from screen.readers import Limits, Refusal
from screen.readers.codecs import decode_frame
from screen.readers.header import PixelHeader
from screen.runs.identifiers import KEY_VARIABLE, key_file

_LIBRARIES = (
    "numpy", "opencv-python-headless", "pydicom", "imagecodecs", "simplejpeg", "pillow", "blake3", "click",
    "rich",
)  # fmt: skip
_FOR_ARCHIVES = ("highdicom", "httpx")
"""Of the extra 'dicom', for whoever has an archive."""
_AGAIN = install_line("--force-reinstall", "--no-deps", "imagecodecs")
_BATCH = 2
_ROOM = 2**30
"""Bytes that a night's folder easily takes."""


class State(StrEnum):
    """How a check ended; `note` is nothing to mend."""

    OK = "ok"
    NOTE = "note"
    BAD = "BAD"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's report; `detail` says what to do where something is missing."""

    name: str
    state: State
    detail: str


def checks() -> Iterator[Check]:
    """All checks, one by one, as they are done."""
    yield Check("Python", State.OK, f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    yield from _libraries()
    yield from _decoders()
    yield _workers()
    yield from _runtime_and_model()
    yield _processors()
    yield _disk()
    yield _key()
    yield _telemetry()


def _libraries() -> Iterator[Check]:
    for name in _LIBRARIES:
        # The way that a run takes: another distribution of OpenCV is OpenCV too.
        if found := library_version(name):
            yield Check(name, State.OK, found)
        else:
            yield Check(name, State.BAD, f"not installed: {how_to_install()}")
    extra = library_versions(_FOR_ARCHIVES)
    if len(extra) == len(_FOR_ARCHIVES):
        said = ", ".join(f"{name} {version}" for name, version in extra.items())
        yield Check("fetch, dicom, send", State.OK, said)
    else:
        yield Check("fetch, dicom, send", State.NOTE, f"not installed: {how_to_install('dicom')}")
    grey = cv2.LUT(np.array([[0, 65535]], np.uint16), np.arange(65536, dtype=np.uint16)[::-1].copy())
    works = grey.tolist() == [[65535, 0]]
    yield Check("16-bit lookup", State.OK if works else State.BAD, "OpenCV" if works else "needs OpenCV 5")


def _decoders() -> Iterator[Check]:
    """Every encoding there and back: a phantom in, the same values out."""
    phantom = (np.add.outer(np.arange(48), np.arange(64)) * 32).astype(np.uint16)
    for syntax, encode in _ENCODERS.items():
        name = uid.UID(syntax).keyword
        eight_bits = syntax == uid.JPEGBaseline8Bit
        values = (phantom >> 4).astype(np.uint8) if eight_bits else phantom
        try:
            decoded, decoder, _ = decode_frame(bytes(encode(values)), syntax, _pixel_header(values))
        except Refusal as refusal:
            yield Check(name, State.BAD, f"{refusal.detail}: {_AGAIN}")
            continue
        error = int(np.abs(decoded.astype(int) - values.astype(int)).max())
        good = error <= (8 if eight_bits else 0)
        detail = decoder if good else f"{decoder} gives other values: {_AGAIN}"
        yield Check(name, State.OK if good else State.BAD, detail)


_Stored = NDArray[np.uint8] | NDArray[np.uint16]


def _rle(px: _Stored) -> bytes:
    encoded: bytes = RLELosslessEncoder.encode(
        px.tobytes(),
        rows=px.shape[0],
        columns=px.shape[1],
        samples_per_pixel=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
    )
    return encoded


_ENCODERS: dict[str, Callable[[_Stored], bytes | bytearray]] = {
    uid.JPEGBaseline8Bit: partial(imagecodecs.jpeg8_encode, level=95),
    uid.JPEGLosslessSV1: partial(imagecodecs.jpeg8_encode, lossless=True, bitspersample=16),
    uid.JPEGLSLossless: imagecodecs.jpegls_encode,
    uid.JPEG2000Lossless: partial(imagecodecs.jpeg2k_encode, codecformat="j2k", reversible=True),
    uid.HTJ2KLossless: partial(imagecodecs.htj2k_encode, reversible=True),
    uid.RLELossless: _rle,
}


def _pixel_header(px: _Stored) -> PixelHeader:
    bits = px.dtype.itemsize * 8
    rows, columns = px.shape
    return PixelHeader(rows, columns, 1, "MONOCHROME2", False, bits, bits, bits - 1, False, 1)


def _workers() -> Check:
    """A process that decodes a picture: the way every file goes."""
    picture = cv2.imencode(".png", np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1)))[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phantom.png"
        path.write_bytes(picture.tobytes())
        status = path.stat()
        with DecodePool(1, PreprocessSpec(size=32), Limits()) as pool:
            source = Source(path, "phantom.png", status.st_size, status.st_mtime_ns)
            try:
                ((_, outcome),) = chain.from_iterable(pool.map([source]))
            except ScreenError as error:
                return Check("decode process", State.BAD, str(error))
    good = isinstance(outcome.result, Decoded)
    return Check("decode process", State.OK if good else State.BAD, "PNG" if good else "cannot decode a PNG")


def _runtime_and_model() -> Iterator[Check]:
    wheels = onnx.installed_wheels()
    if len(wheels) == 1:
        yield Check("runtime", State.OK, wheels[0])
    elif wheels:
        yield Check(
            "runtime", State.BAD, f"{' and '.join(wheels)} overwrite each other: uninstall both, then one"
        )
    else:
        yield Check("runtime", State.BAD, f"none: {how_to_install('cpu')} (or [gpu])")
    try:
        model = load_model(None)
    except ScreenError as error:
        yield Check("model", State.BAD, str(error))
        return
    yield Check("model", State.OK, _named(model))
    if len(wheels) == 1:
        yield _device(model, "cpu", State.BAD)
    yield from _fast_model(runs=len(wheels) == 1)
    if len(wheels) == 1:
        if openvino.installed():
            yield _device(model, "openvino", State.NOTE)
        else:
            yield Check("--device openvino", State.NOTE, f"not installed: {how_to_install('openvino')}")
        found = gpus()
        for gpu in found:
            yield Check(f"GPU {gpu.index}", State.OK, f"{gpu.name}, {gpu.uuid}")
            yield _device(model, f"cuda:{gpu.index}", State.NOTE)
        if found:
            yield _tensorrt()
        else:
            for device in ("cuda", "tensorrt"):
                yield Check(f"--device {device}", State.NOTE, no_gpu_advice(device))


def _fast_model(*, runs: bool) -> Iterator[Check]:
    """The default model's twin, if it is here; nobody has to have it."""
    name = f"--model {FAST}"
    try:
        model = load_model(shipped_model(FAST))
    except UsageError:
        yield Check(name, State.NOTE, "not in this installation; the default model does the same work")
    except ScreenError as error:
        yield Check(name, State.BAD, str(error))
    else:
        yield Check(name, State.OK, _named(model))
        if runs:
            yield replace(_device(model, "cpu", State.BAD), name=f"{name} --device cpu")


def _named(model: Model) -> str:
    card = model.card
    return f"{card.name} {card.version}, {card.precision}, weights {card.weights_digest[:12]}"


def _device(model: Model, device: str, if_not: State) -> Check:
    """The model opened there as a run opens it; of ONNX Runtime, its own profile of what ran."""
    kind, _, index = device.partition(":")
    try:
        with Screener(model, device, batch_size=_BATCH) as screener:
            info, drift = screener.device, screener.preprocess_drift
        ran = f" ({onnx.what_runs(model, kind, int(index or 0))})" if kind in ("cpu", "cuda") else ""
    except ScreenError as error:
        return Check(f"--device {device}", if_not, str(error))
    detail = f"{info.provider}, {info.precision}{ran}, {info.runtime}, probes " + (
        "within the bound, not equal to the byte (preprocess_drift)" if drift else "equal"
    )
    return Check(f"--device {device}", State.NOTE if drift else State.OK, detail)


def _tensorrt() -> Check:
    """Beside a GPU: the libraries. What an engine computes is tried when it is loaded."""
    name, here = "--device tensorrt", tensorrt_binding.installed()
    if not here:
        return Check(name, State.NOTE, f"no TensorRT is installed: {how_to_install('trt')}")
    return Check(name, State.OK, f"{' and '.join(here)}; it runs what 'screen export trt' builds")


def _processors() -> Check:
    usable, present = usable_cpus(), os.cpu_count() or 1
    detail = f"{usable} usable of {present} (affinity and control groups)"
    return Check("processors", State.OK, detail)


def _disk() -> Check:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    detail = f"{free / 1e9:.1f} GB free in {here}"
    return Check("disk", State.OK if free >= _ROOM else State.NOTE, detail)


def _key() -> Check:
    """Never makes one."""
    if os.environ.get(KEY_VARIABLE):
        return Check("key for pseudonyms", State.OK, f"from {KEY_VARIABLE}")
    path = key_file()
    if path.exists():
        private = path.stat().st_mode & 0o077 == 0
        return Check(
            "key for pseudonyms",
            State.OK if private else State.BAD,
            str(path) if private else f"{path} can be read by others: chmod 600",
        )
    return Check("key for pseudonyms", State.NOTE, f"none yet: made on first use in {path}")


def _telemetry() -> Check:
    off = os.environ.get("ORT_DISABLE_TELEMETRY") == "1" and "openvino_telemetry" not in sys.modules
    detail = "nothing is sent or looked up; telemetry of ONNX Runtime and OpenVINO is " + (
        "off" if off else "ON"
    )
    return Check("network", State.OK if off else State.BAD, detail)
