"""PNG, JPEG, TIFF and WebP files: pixels without a word about whose they are."""

from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason, Warn
from screen.film import Film, Identity
from screen.readers.half_copied import check_copied, ends_block
from screen.readers.header import alike
from screen.readers.jpeg import samples_from_jpeg
from screen.readers.limits import Limits, PixelDigest, Refusal
from screen.readers.lookup import full_range_pixels, grey_from_rgb, used_bits
from screen.readers.picture_headers import Extra, PictureHeader, picture_header
from screen.readers.reduced import WHOLE, Aim, scaled_jpeg
from screen.readers.signature import Kind
from screen.readers.tiff import check_segments, tiff_directories

_DECODERS = {
    Kind.PNG: imagecodecs.png_decode,
    Kind.WEBP: imagecodecs.webp_decode,
}


def film_from_picture(data: bytes, kind: Kind, limits: Limits, aim: Aim = WHOLE) -> Film:
    """A picture file's bytes -> film: first page, upright by EXIF, on black, luminance.

    Full range, no window: 0 is black and the largest value of the bits that the film uses is white. aim:
    shortcuts that may be taken.
    Raises Refusal.
    """
    header = picture_header(data, kind)
    limits.check_shape(header.rows, header.columns, header.samples)
    warnings = [Warn.SEVERAL_FRAMES] if header.several else []
    # Viewers show pictures pixel by pixel, whatever their density: so do those who made them see them.
    if all(header.density) and not alike(*header.density):
        warnings.append(Warn.PERHAPS_SQUEEZED)
    if header.has_hole:
        warnings.append(Warn.PERHAPS_DAMAGED)
    decoder, shortcut = "libjpeg-turbo" if kind is Kind.JPEG else f"imagecodecs {kind.name.lower()}", None
    reduced = scaled_jpeg(data, aim) if kind is Kind.JPEG else None
    if reduced is not None:
        grey, decoder, shortcut = reduced.values, reduced.decoder, reduced.shortcut
    else:
        grey, found = _grey(_decode(data, kind, header, warnings), header)
        warnings += found
    lies = header.orientation >= 5
    shape = (header.columns, header.rows) if lies else (header.rows, header.columns)
    digest = PixelDigest()
    digest.update(data)
    pixels = full_range_pixels(_upright(grey, header.orientation))
    return Film(
        identity=Identity(),
        pixels=pixels if shortcut is None else replace(pixels, stored_shape=shape),
        pixel_digest=digest.digest(),
        decoder=decoder,
        declared_chest=False,
        warnings=tuple(warnings),
        hash_seconds=digest.seconds,
        shortcut=shortcut,
    )


def film_from_array(values: NDArray[np.uint8] | NDArray[np.uint16], limits: Limits) -> Film:
    """Pixels that somebody else has read, [H, W] -> film: full range, as a grey picture of them would be.

    Raises Refusal.
    """
    limits.check_shape(*values.shape)
    whole: NDArray[Any] = np.ascontiguousarray(values)
    digest = PixelDigest()
    digest.update(f"{whole.dtype} {whole.shape}".encode())
    digest.update(whole.data.cast("B"))
    return Film(
        identity=Identity(),
        pixels=full_range_pixels(whole),
        pixel_digest=digest.digest(),
        decoder="array",
        declared_chest=False,
        hash_seconds=digest.seconds,
    )


def _decode(
    data: bytes, kind: Kind, header: PictureHeader, warnings: list[Warn]
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """uint8 | uint16 [H, W, samples]; `warnings` gets what a decoder repaired without loss."""
    try:
        if kind is Kind.JPEG:
            samples, found = samples_from_jpeg(data)
            warnings += found
        elif kind is Kind.TIFF:
            if not check_segments(data, header.page):
                warnings.append(Warn.PERHAPS_DAMAGED)
            samples = np.asarray(imagecodecs.tiff_decode(data, index=header.page))
        else:
            samples = np.asarray(_DECODERS[kind](data))
    except (MemoryError, Refusal):
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
    if kind is Kind.TIFF:
        warnings += _copied(data, header.page, samples)
    if header.palette is not None:
        if int(samples.max()) >= len(header.palette):
            raise Refusal(Reason.CORRUPT_PIXELS, "a colour that the palette has not")
        samples = header.palette[samples[..., 0]]
    return samples


_COMPRESSION, _STRIPS, _COUNTS = 259, 273, 279


def _copied(data: bytes, page: int, samples: NDArray[Any]) -> list[Warn]:
    """What is to be said of an uncompressed TIFF page [H, W, samples] that ends in zeros. Raises Refusal."""
    tags = tiff_directories(data, page + 1)[page]
    if tags.get(_COMPRESSION, (1,)) != (1,):
        return []
    places, counts = (tags.get(tag, ()) for tag in (_STRIPS, _COUNTS))
    size = samples.shape[2] * samples.itemsize
    ends = [place + count for place, count in zip(places, counts, strict=False)]
    # Strips in one piece, so that it is known where each pixel lies.
    is_plain = bool(ends) and tuple(ends[:-1]) == places[1:] and ends[-1] - places[0] == samples.nbytes
    return check_copied(
        samples[..., -1], lambda pixel: is_plain and ends_block(places[0] + pixel * size, size)
    )


def _grey(samples: NDArray[Any], header: PictureHeader) -> tuple[NDArray[Any], list[Warn]]:
    """[H, W, 1 … 4] -> [H, W] of the same type, and what there is to know about it."""
    if header.inks:
        white = np.iinfo(samples.dtype).max
        light = samples if header.adobe_inks else white - samples
        samples = _product(light[..., :3], light[..., 3:], white)
    has_colours = samples.shape[2] >= 3 and not header.is_grey
    is_colour, grey = grey_from_rgb(samples) if has_colours else (False, samples[..., 0])
    warnings = [Warn.COLOUR] if is_colour else []
    if header.inverted:
        grey = np.subtract((1 << used_bits(grey)) - 1, grey, dtype=grey.dtype)
    for extra in np.moveaxis(samples[..., 3 if has_colours else 1 :], -1, 0):
        opaque = (1 << used_bits(extra)) - 1
        if header.extra is Extra.ALPHA and extra.min() < opaque:
            if _is_mask(extra, opaque, grey):
                grey = _product(grey, extra, opaque)
            else:
                warnings.append(Warn.CHANNEL_IGNORED)
        elif header.extra is Extra.UNKNOWN and extra.min() < extra.max() and (extra != grey).any():
            warnings.append(Warn.CHANNEL_IGNORED)
    return grey, warnings


_MOST_VEILED = 0.25
"""Share of a picture's pixels that a mask leaves half transparent."""


def _is_mask(alpha: NDArray[Any], opaque: int, grey: NDArray[Any]) -> bool:
    """Whether what is called alpha cuts a picture out, and is no picture itself and hides none."""
    hidden = alpha == 0
    veiled = alpha.size - np.count_nonzero(hidden) - np.count_nonzero(alpha == opaque)
    if veiled > alpha.size * _MOST_VEILED:
        return False
    beneath = grey[hidden]
    return beneath.size <= grey.size / 2 or int(beneath.max()) - int(beneath.min()) <= _FLAT * int(grey.max())


_FLAT = 0.1
"""Of the largest value: where greys differ by less, there is no picture."""


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
