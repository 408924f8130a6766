"""One frame's encoded bytes -> samples: imagecodecs first, pydicom's plugins behind it."""

import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from screen.codes import Reason, Warn
from screen.readers.accelerator import Accelerator
from screen.readers.header import PixelHeader
from screen.readers.jpeg import samples_from_jpeg
from screen.readers.jpeg_markers import jpeg_from_stream
from screen.readers.limits import Refusal
from screen.readers.streams import check_packets, codestream_size, has_end, jpeg_frame, tile_parts
from screen.readers.tags import GE_PRIVATE, quietly, standard_name

UNCOMPRESSED = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        GE_PRIVATE,
    }
)

JPEG_DECODER = "libjpeg-turbo"
"""The one that turns YCbCr into RGB on its own."""

_Decode = Callable[[bytes, PixelHeader, list[Warn]], Any]
"""Gets the frame, its header, and a list for warnings."""


def _jpeg(data: bytes, px: PixelHeader, warnings: list[Warn]) -> Any:
    colourspace = "RGB" if px.photometric == "RGB" and _may_be_rgb(data) else None
    samples, found = samples_from_jpeg(data, colourspace)
    warnings += found
    return samples


_LOSSLESS = 0xC3


def _may_be_rgb(data: bytes) -> bool:
    """Whether three components can be RGB: libjpeg takes them for YCbCr where no segment tells.

    JFIF has YCbCr alone, and nothing but chroma is subsampled; Adobe's segment says itself what they are.
    """
    jpeg = jpeg_from_stream(data)
    heads = [(marker, data[at + 4 : end]) for marker, at, end in jpeg.segments]
    if any(marker == 0xEE and head.startswith(b"Adobe") for marker, head in heads):
        return False
    if jpeg.frame.process == _LOSSLESS:
        return True
    is_jfif = any(marker == 0xE0 and head.startswith(b"JFIF\0") for marker, head in heads)
    frame = next(head for marker, head in heads if marker == jpeg.frame.process)
    return not is_jfif and len(set(frame[7::3])) == 1


def _jpeg_ls(data: bytes, _: PixelHeader, __: list[Warn]) -> Any:
    return imagecodecs.jpegls_decode(data)


def _jpeg_2000(data: bytes, _: PixelHeader, __: list[Warn]) -> Any:
    return imagecodecs.jpeg2k_decode(data)


def _htj2k(data: bytes, _: PixelHeader, __: list[Warn]) -> Any:
    # A broken code block is only printed, and what it should have filled is whatever memory held.
    with printed_errors_raised():
        return imagecodecs.htj2k_decode(data)


def _rle(data: bytes, px: PixelHeader, warnings: list[Warn]) -> Any:
    sample = np.dtype(f"<u{px.bits_allocated // 8}")
    # The bound: 128 bytes of runs become 64 times as many.
    size = px.rows * px.columns * px.samples * sample.itemsize
    try:
        decoded = imagecodecs.dicomrle_decode(data, sample.str, out=size)
    except (ValueError, imagecodecs.DicomrleError):
        tidied = _without_padding(data, px.samples * sample.itemsize, px.rows * px.columns)
        decoded = imagecodecs.dicomrle_decode(tidied, sample.str, out=size)
        warnings.append(Warn.STREAM_REPAIRED)
    planes = np.frombuffer(decoded, sample)
    # One plane after the other, whatever PlanarConfiguration says (PS3.5 G.2).
    return np.moveaxis(planes.reshape(px.samples, px.rows, px.columns), 0, -1)


def _without_padding(data: bytes, count: int, size: int) -> bytes:
    """An RLE frame (PS3.5 G.5) of `count` segments without the zeros behind them, in their order.

    size: bytes that a segment becomes. Raises ValueError, IndexError or struct.error: it is no such frame.
    """
    told, *places = struct.unpack_from("<16I", data)
    if told != count:
        raise ValueError(f"{told} RLE segments, not {count}")
    ends = dict(pairwise(sorted([*places[:count], len(data)])))
    segments = [_segment(data[place : ends[place]], size) for place in places[:count]]
    starts = list(accumulate(map(len, segments), initial=_RLE_HEADER))[:-1]
    return struct.pack("<16I", count, *starts, *[0] * (15 - count)) + b"".join(segments)


_RLE_HEADER = 64


def _segment(data: bytes, size: int) -> bytes:
    """The runs that become `size` bytes (PS3.5 G.3.2). Raises ValueError, IndexError."""
    at = made = 0
    while made < size:
        run = data[at]
        if run < 128:
            at, made = at + run + 2, made + run + 1
        elif run > 128:
            at, made = at + 2, made + 257 - run
        else:
            at += 1
    if data[at:].strip(b"\0"):
        raise ValueError("an RLE segment goes on behind its pixels")
    return data[:at]


_DECODERS: dict[str, tuple[str, _Decode]] = {
    **dict.fromkeys(
        (
            uid.JPEGBaseline8Bit,
            uid.JPEGExtended12Bit,
            # Spectral selection and full progression: retired, and found in archives.
            "1.2.840.10008.1.2.4.53",
            "1.2.840.10008.1.2.4.55",
            uid.JPEGLossless,
            uid.JPEGLosslessSV1,
        ),
        (JPEG_DECODER, _jpeg),
    ),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), ("imagecodecs jpegls", _jpeg_ls)),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), ("imagecodecs jpeg2k", _jpeg_2000)),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), ("imagecodecs htj2k", _htj2k)),
    uid.RLELossless: ("imagecodecs dicomrle", _rle),
}


_ACCELERATOR: ContextVar[Accelerator | None] = ContextVar("accelerator", default=None)


@contextmanager
def accelerated(accelerator: Accelerator) -> Iterator[None]:
    """Within it, `decode_frame` offers frames to `accelerator` first."""
    token = _ACCELERATOR.set(accelerator)
    try:
        yield
    finally:
        _ACCELERATOR.reset(token)


def decode_frame(data: bytes, syntax: str, px: PixelHeader) -> tuple[NDArray[Any], str, list[Warn]]:
    """One encoded frame -> integers [H, W] or [H, W, 3] as the codec stores them, and the decoder's name.

    With them warnings of what a decoder repaired without loss.
    Raises Refusal: `unsupported_syntax`, or `corrupt_pixels` if no decoder gets through or the size is wrong.
    """
    check_frame(data, syntax, px)
    warnings: list[Warn] = []
    by_cpu = partial(_decoded, data, syntax, px, warnings)
    accelerator = _ACCELERATOR.get()
    if accelerator is None:
        return *by_cpu(), warnings
    if _DECODERS[syntax][1] is _jpeg:
        jpeg_from_stream(data)  # the CPU's decoder does this itself
    return *accelerator.decode(data, syntax, px, by_cpu), warnings


def _decoded(data: bytes, syntax: str, px: PixelHeader, warnings: list[Warn]) -> tuple[NDArray[Any], str]:
    name, decode = _DECODERS[syntax]
    try:
        samples = np.asarray(decode(data, px, warnings))
    except (MemoryError, Refusal):
        raise
    except Exception as error:  # the seam: whatever a native decoder throws is the file's fault
        complaint = f"{type(error).__name__}: {error}"[:200]
        if decode is _rle:
            # pydicom's own decoder takes a frame of another size and shears the film.
            raise Refusal(Reason.CORRUPT_PIXELS, complaint) from error
        samples, name = _decoded_by_plugin(data, syntax, px, complaint)
    if samples.ndim == 3 and samples.shape[2] == 1:
        samples = samples[..., 0]
    expected = (px.rows, px.columns) if px.samples == 1 else (px.rows, px.columns, px.samples)
    if samples.shape != expected:
        raise Refusal(Reason.CORRUPT_PIXELS, "the decoded frame has another shape than the header says")
    return samples, name


def check_syntax(syntax: str) -> None:
    """Refuse a compressed syntax that no decoder is there for. Raises Refusal: `unsupported_syntax`."""
    if syntax not in _DECODERS:
        raise Refusal(Reason.UNSUPPORTED_SYNTAX, standard_name(syntax) or "unknown transfer syntax")


def check_frame(data: bytes, syntax: str, px: PixelHeader) -> None:
    """Everything that a frame can be refused for without decoding it, in full or by a shortcut.

    Raises Refusal: `unsupported_syntax`, or `corrupt_pixels` for another size or a missing end.
    """
    check_syntax(syntax)
    _, decode = _DECODERS[syntax]
    if decode is not _rle:
        _check_size(data, px)
    _check_end(data, decode)


def is_whole(data: bytes, syntax: str, px: PixelHeader) -> bool:
    """Whether a frame begins and ends as a code stream of the header's size does. RLE has no end."""
    try:
        check_frame(data, syntax, px)
        _, decode = _DECODERS[syntax]
        if decode is _jpeg:
            jpeg_from_stream(data)
    except Refusal:
        return False
    return decode is not _jpeg_ls or has_end(data)


_START_OF_IMAGE = b"\xff\xd8"


def _check_size(data: bytes, px: PixelHeader) -> None:
    """Ask the code stream for its own size before a decoder allocates it: the DICOM header may lie."""
    try:
        if data[:2] == _START_OF_IMAGE:
            frame = jpeg_frame(data)
            size = frame.rows, frame.columns
        else:
            size = codestream_size(data)
    except (struct.error, IndexError) as error:
        raise Refusal(Reason.CORRUPT_PIXELS, "the code stream's header is broken") from error
    if size != (px.rows, px.columns):
        raise Refusal(Reason.CORRUPT_PIXELS, "the code stream has another size than the DICOM header says")


def _check_end(data: bytes, decode: _Decode) -> None:
    """Ask whether all parts are there: decoders fill up what a broken transfer left out, silently."""
    if decode in (_htj2k, _jpeg_2000):
        try:
            parts = tile_parts(data)
        except (struct.error, IndexError, ValueError) as error:
            raise Refusal(Reason.CORRUPT_PIXELS, "the code stream ends within its headers") from error
        if decode is _jpeg_2000:
            check_packets(data, parts)  # OpenJPH complains by itself


def _decoded_by_plugin(data: bytes, syntax: str, px: PixelHeader, complaint: str) -> tuple[NDArray[Any], str]:
    """The second opinion of whatever plugins this machine has for pydicom."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:  # retired syntaxes
        raise Refusal(Reason.CORRUPT_PIXELS, complaint) from error
    if not decoder.is_available:
        raise Refusal(Reason.CORRUPT_PIXELS, complaint)
    options: Any = {
        "rows": px.rows,
        "columns": px.columns,
        "samples_per_pixel": px.samples,
        "photometric_interpretation": px.photometric,
        "planar_configuration": int(px.planar),
        "bits_allocated": px.bits_allocated,
        "bits_stored": px.bits_stored,
        "pixel_representation": int(px.signed),
        "pixel_keyword": "PixelData",
        "number_of_frames": 1,
    }
    try:
        with quietly():
            samples, _ = decoder.as_array(encapsulate([data], has_bot=False), index=0, raw=True, **options)
    except MemoryError:
        raise
    except Exception as error:  # the seam, as above; the first decoder's complaint is the telling one
        raise Refusal(Reason.CORRUPT_PIXELS, complaint) from error
    return np.asarray(samples), "pydicom"


_state = threading.local()


@contextmanager
def printed_errors_raised() -> Iterator[None]:
    """Raise the first error that a C callback in this thread could only print ("Exception ignored in …").

    Python's hook for them belongs to the whole process, so it is set once and asks which thread it is in.
    """
    _install()
    caught: list[BaseException] = []
    _state.caught = caught
    try:
        yield
    finally:
        _state.caught = None
    if caught:
        raise caught[0]


def _install() -> None:
    previous = sys.unraisablehook
    if getattr(previous, "of_cxr_screen", False):
        return

    def hook(unraisable: Any) -> None:
        caught: list[BaseException] | None = getattr(_state, "caught", None)
        if caught is None:
            previous(unraisable)
            return
        # Another with its text: itself would keep the frame with its buffers alive.
        kind = MemoryError if isinstance(unraisable.exc_value, MemoryError) else RuntimeError
        caught.append(kind(str(unraisable.exc_value)))

    hook.of_cxr_screen = True  # type: ignore[attr-defined]
    sys.unraisablehook = hook
