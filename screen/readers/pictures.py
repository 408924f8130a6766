"""PNG, JPEG, TIFF and WebP files: pixels without a word about whose they are."""

from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason, Warn
from screen.film import Film, Identity, Pixels
from screen.readers.limits import Limits, PixelDigest, Refusal
from screen.readers.lookup import full_range_lookup, grey_from_rgb
from screen.readers.picture_headers import PictureHeader, picture_header
from screen.readers.reduced import WHOLE, Aim, scaled_jpeg
from screen.readers.signature import Kind
from screen.readers.streams import is_jpeg_complete

_DECODERS = {
    Kind.JPEG: imagecodecs.jpeg8_decode,
    Kind.PNG: imagecodecs.png_decode,
    Kind.TIFF: imagecodecs.tiff_decode,
    Kind.WEBP: imagecodecs.webp_decode,
}


def film_from_picture(data: bytes, kind: Kind, limits: Limits, aim: Aim = WHOLE) -> Film:
    """A picture file's bytes -> film: first page, upright by EXIF, on black, luminance.

    Full range, no window: 0 is black and the largest value that the samples can hold is white. aim: shortcuts
    that may be taken.
    Raises Refusal.
    """
    header = picture_header(data, kind)
    limits.check_shape(header.rows, header.columns, header.samples)
    if kind is Kind.JPEG and not is_jpeg_complete(data):
        raise Refusal(Reason.CORRUPT_PIXELS, "the JPEG ends before its end marker")
    warnings = [Warn.SEVERAL_FRAMES] if header.several else []
    decoder, shortcut = f"imagecodecs {kind.name.lower()}", None
    reduced = scaled_jpeg(data, aim) if kind is Kind.JPEG else None
    if reduced is not None:
        grey, decoder, shortcut = reduced.values, reduced.decoder, reduced.shortcut
    else:
        grey, is_colour = _grey(_decode(data, kind, header), header)
        if is_colour:
            warnings.append(Warn.COLOUR)
    lies = header.orientation >= 5
    shape = (header.columns, header.rows) if lies else (header.rows, header.columns)
    digest = PixelDigest()
    digest.update(data)
    bits = header.bits if kind is Kind.JPEG else 8 * grey.dtype.itemsize
    return Film(
        identity=Identity(),
        pixels=Pixels(
            np.ascontiguousarray(_upright(grey, header.orientation)),
            full_range_lookup(bits),
            stored_shape=None if shortcut is None else shape,
        ),
        pixel_digest=digest.digest(),
        decoder=decoder,
        declared_chest=False,
        warnings=tuple(warnings),
        hash_seconds=digest.seconds,
        shortcut=shortcut,
    )


def _decode(data: bytes, kind: Kind, header: PictureHeader) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """uint8 | uint16 [H, W, samples]."""
    try:
        samples = np.asarray(_DECODERS[kind](data))
    except MemoryError:
        raise
    except Exception as error:  # the seam: whatever a native decoder throws is the file's fault
        raise Refusal(Reason.CORRUPT_PIXELS, f"{type(error).__name__}: {error}"[:200]) from error
    if header.planar and samples.ndim == 3:
        samples = np.moveaxis(samples, 0, -1)
    if samples.ndim == 2:
        samples = samples[..., np.newaxis]
    channels = (4,) if header.inks else (1, 2, 3, 4)
    if (
        samples.ndim != 3
        or samples.shape[:2] != (header.rows, header.columns)
        or samples.shape[2] not in channels
    ):
        raise Refusal(Reason.CORRUPT_PIXELS, "the decoded picture has another size than its header says")
    if samples.dtype not in (np.uint8, np.uint16):
        raise Refusal(Reason.UNSUPPORTED_PIXELS, f"samples of type {samples.dtype}")
    if (samples.dtype == np.uint8) != (header.bits <= 8):
        raise Refusal(Reason.CORRUPT_PIXELS, "the decoded picture has other samples than its header says")
    if header.palette is not None:
        if int(samples.max()) >= len(header.palette):
            raise Refusal(Reason.CORRUPT_PIXELS, "a colour that the palette has not")
        samples = header.palette[samples[..., 0]]
    return samples


def _grey(samples: NDArray[Any], header: PictureHeader) -> tuple[NDArray[Any], bool]:
    """[H, W, 1 … 4] -> [H, W] of the same type, and whether there was any colour."""
    white = np.iinfo(samples.dtype).max
    channels = samples.shape[2]
    alpha = samples[..., -1] if channels in (2, 4) and not header.inks else None
    if header.inks:
        light = samples if header.adobe_inks else white - samples
        samples = _product(light[..., :3], light[..., 3:], white)
    is_colour, grey = grey_from_rgb(samples) if channels >= 3 else (False, samples[..., 0])
    if header.inverted:
        grey = np.subtract(white, grey, dtype=grey.dtype)
    if alpha is not None and alpha.min() < white:
        grey = _product(grey, alpha, white)
    return grey, is_colour


def _product(a: NDArray[Any], b: NDArray[Any], white: int) -> NDArray[Any]:
    """The product of two fractions of white, rounded, in the type of the first."""
    product: NDArray[np.uint32] = (a.astype(np.uint32) * b + white // 2) // white
    return product.astype(a.dtype)


def _upright(grey: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation 1 … 8 (CIPA DC-008, 4.6.4 A)."""
    if orientation >= 5:
        grey = grey.T
    mirror_rows = orientation in (3, 4, 7, 8)
    mirror_columns = orientation in (2, 3, 6, 7)
    return grey[:: -1 if mirror_rows else 1, :: -1 if mirror_columns else 1]
