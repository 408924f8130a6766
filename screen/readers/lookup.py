"""From stored values to grey: the one table for grey films, bone bright, and colours to grey.

Every step of the table works on `t`, the distance from mid-grey as a fraction of the range from black to
white: black is -1/2, white +1/2, and inverting is a change of sign, exact in binary arithmetic. So a film and
its mirror image (MONOCHROME1, values 2^bits - 1 - v, centre 2^bits - c) get tables that agree to the bit.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from screen.codes import Reason, Warn
from screen.film import Pixels
from screen.preprocess import memory_errors_from_opencv
from screen.readers.header import SMALLEST, LookupHeader, PixelHeader, Table, Window
from screen.readers.limits import Refusal

WHITE = 65535
_STEPS = 1 << 30
"""Resolution to which t is rounded before it becomes grey: far finer than grey, far coarser than float64."""
_CONTRAST = 1 / 255
"""One step of 8 bits, on the scale of t."""
_SAMPLE = 4
"""Every fourth pixel of every fourth row says enough about what a window shows."""
_MOST_PADDING = 0.25
"""Share of a film that can be padding of several values; beside it, any share can be padding of one value."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """table: uint16 [256] or [65536], 0 black … 65535 white, indexed by `screen.film.Pixels.values`.

    opposite: the table if the header named the other polarity. Padding is black in both.
    other: the VOI table or window that was used because the first one shows nothing.
    """

    table: NDArray[np.uint16]
    opposite: NDArray[np.uint16]
    warnings: tuple[Warn, ...]
    other: Table | Window | None = None


def full_range_lookup(bits: int) -> NDArray[np.uint16]:
    """uint16 [256] or [65536]: 0 black, 2^bits - 1 white, above it white too. For 8 and 16 bits exact."""
    top = (1 << bits) - 1
    values = np.minimum(np.arange(256 if bits <= 8 else 65536, dtype=np.int64), top)
    return ((values * WHITE * 2 + top) // (2 * top)).astype(np.uint16)


def used_bits(values: NDArray[Any]) -> int:
    """Bits that the largest of unsigned values needs, at least 8; headers often say more."""
    return 8 if values.dtype == np.uint8 else max(8, int(values.max()).bit_length())


def full_range_pixels(grey: NDArray[Any]) -> Pixels:
    """Grey without a window, uint8 | uint16 [H, W]: 0 is black, the largest value of its used bits white."""
    bits = used_bits(grey)
    dtype = np.uint8 if bits == 8 else np.uint16
    return Pixels(np.ascontiguousarray(grey.astype(dtype, copy=False)), full_range_lookup(bits))


def lookup_from_header(
    values: NDArray[np.uint8] | NDArray[np.uint16],
    px: PixelHeader,
    header: LookupHeader,
    reach: int = WHITE,
) -> Lookup:
    """The table for one film.

    values: [H, W], smallest stored value 0 (signed ones shifted by 2^(bits stored - 1)). reach: the largest
    that they could have, where a code stream has fewer bits than the header says: a table or window with its
    middle beyond it is for others.
    Modality table or rescale, then the first VOI table or window that leaves something to see (PS3.3 C.11.2;
    LINEAR, LINEAR_EXACT, SIGMOID), then polarity; padding is black, unless it covers the picture. Without a
    window: up to 8 bits the full range of the stored bits, above it the range from the smallest to the
    largest value on the film.
    """
    shift = 1 << (px.bits_stored - 1) if px.signed else 0
    stored = np.arange(1 << px.bits_stored, dtype=np.float64) - shift
    padded = np.zeros(stored.shape, bool)
    if header.padding is not None:
        padded = (stored >= header.padding[0]) & (stored <= header.padding[1])
    x = _modality(stored, header)
    warnings = [Warn.SEVERAL_WINDOWS] if header.several else []
    if padded.any() and _covers_picture(padded, values):
        padded[:] = False
        warnings.append(Warn.BAD_PADDING)
    place, t = _first_that_shows(x, header, values, padded, reach)
    if header.bad or place > 0:
        warnings.append(Warn.BAD_WINDOW)
    elif t is None and px.bits_stored > 8:
        warnings.append(Warn.NO_WINDOW)
    other = None if t is None or place == 0 else header.vois[place]
    if t is None:
        t = _without_voi(x, values, padded, px.bits_stored)
    grey = _grey(-t if header.inverted else t)
    opposite = WHITE - grey
    # Between the two greys in the middle, both polarities round up.
    opposite[t == 0] = grey[t == 0]
    size = 256 if values.dtype == np.uint8 else 65536
    return Lookup(_table(grey, padded, size), _table(opposite, padded, size), tuple(warnings), other)


def _middle(voi: Table | Window) -> float:
    return voi.first + len(voi.entries) / 2 if isinstance(voi, Table) else voi[0]


def _first_that_shows(
    x: NDArray[np.float64],
    header: LookupHeader,
    values: NDArray[np.uint8] | NDArray[np.uint16],
    padded: NDArray[np.bool_],
    reach: int,
) -> tuple[int, NDArray[np.float64] | None]:
    """Which of the header's VOI tables and windows leaves something to see, and its t; how many, if none."""
    low, high = float(x[: reach + 1].min()), float(x[: reach + 1].max())
    for place, voi in enumerate(header.vois):
        if reach + 1 < len(x) and not low <= _middle(voi) <= high:
            continue
        t = _voi(x, voi, header.function)
        if t is not None and not _hides_all(t, values, padded):
            return place, t
    return len(header.vois), None


def _table(grey: NDArray[np.uint16], padded: NDArray[np.bool_], size: int) -> NDArray[np.uint16]:
    """Padding black; beyond the stored values, the last one."""
    grey[padded] = 0
    table = np.full(size, grey[-1], np.uint16)
    table[: len(grey)] = grey
    return table


def _grey(t: NDArray[np.float64]) -> NDArray[np.uint16]:
    steps = np.rint(np.clip(t, -0.5, 0.5) * _STEPS).astype(np.int64) + _STEPS // 2
    return ((steps * WHITE + _STEPS // 2) // _STEPS).astype(np.uint16)


def _modality(stored: NDArray[np.float64], header: LookupHeader) -> NDArray[np.float64]:
    if header.modality_table is not None:
        return _mapped(stored, header.modality_table)
    slope, intercept = header.rescale
    return np.asarray(stored * slope + intercept)


def _mapped(x: NDArray[np.float64], table: Table) -> NDArray[np.float64]:
    """Inputs below the table get its first entry, above it its last one (C.11.1.1.1)."""
    at = np.clip(np.rint(x) - table.first, 0, len(table.entries) - 1).astype(np.int64)
    return np.asarray(table.entries[at], np.float64)


def _voi(x: NDArray[np.float64], voi: Table | Window, function: str) -> NDArray[np.float64] | None:
    """The t of each input; None for an impossible window. A table's white is what its entries can reach."""
    if isinstance(voi, Table):
        top = (1 << used_bits(voi.entries)) - 1
        return (2 * _mapped(x, voi) - top) / (2 * top)
    centre, width = voi
    if function == "LINEAR":
        if width < 1:
            return None
        offset = x - (centre - 0.5)
        return np.asarray(np.sign(offset) / 2 if width == 1 else offset / (width - 1))
    if width < SMALLEST:
        return None
    offset = (x - centre) / width
    return np.asarray(np.tanh(2 * offset) / 2 if function == "SIGMOID" else offset)


def _without_voi(
    x: NDArray[np.float64],
    values: NDArray[np.uint8] | NDArray[np.uint16],
    padded: NDArray[np.bool_],
    bits_stored: int,
) -> NDArray[np.float64]:
    shown = x
    if bits_stored > 8:
        used = values[~padded[values]] if padded.any() else values
        shown = x[int(used.min()) : int(used.max()) + 1] if used.size else x
    low, high = float(shown.min()), float(shown.max())
    return np.asarray((2 * x - (low + high)) / (2 * (high - low))) if high > low else np.zeros_like(x)


def _covers_picture(padded: NDArray[np.bool_], values: NDArray[np.uint8] | NDArray[np.uint16]) -> bool:
    """Whether "no pixel" is said of a picture: values that differ, and many, or more than remain."""
    sample = values[::_SAMPLE, ::_SAMPLE].ravel()
    hidden = sample[padded[sample]]
    if not hidden.size:
        return False
    varied = hidden.size - int(np.bincount(hidden).max())
    return varied > min(sample.size * _MOST_PADDING, sample.size - hidden.size)


def _hides_all(
    t: NDArray[np.float64], values: NDArray[np.uint8] | NDArray[np.uint16], padded: NDArray[np.bool_]
) -> bool:
    """Whether the film has contrast, and the window leaves none of it."""
    sample = values[::_SAMPLE, ::_SAMPLE].ravel()
    if padded.any():
        sample = sample[~padded[sample]]
    if not sample.size:
        return False
    shown = np.clip(t, -0.5, 0.5)
    if _spans_contrast(shown, sample):
        return False
    ranks = (sample.size // 100, sample.size - 1 - sample.size // 100)
    low, high = (int(value) for value in np.partition(sample, ranks)[list(ranks)])
    return high > low and abs(float(shown[high] - shown[low])) < _CONTRAST


def _spans_contrast(shown: NDArray[np.float64], sample: NDArray[np.uint8] | NDArray[np.uint16]) -> bool:
    """Whether two values that lie between the sample's extreme hundredths are already told apart.

    Then so are the extremes, if `shown` never turns; and that costs a tenth of finding them.
    """
    steps = np.diff(shown)
    if (steps < 0).any() and (steps > 0).any():
        return False
    few = np.sort(sample[:: 1 + sample.size // 4096])
    low, high = few[len(few) // 20], few[-1 - len(few) // 20]
    if abs(float(shown[int(high)] - shown[int(low)])) < _CONTRAST:
        return False
    tail = sample.size // 100
    return bool(np.count_nonzero(sample <= low) > tail and np.count_nonzero(sample >= high) > tail)


def grey_from_rgb(samples: NDArray[Any]) -> tuple[bool, NDArray[Any]]:
    """uint8 | uint16 [H, W, >= 3], red first -> whether there is any colour, and luminance (BT.601) [H, W].

    Grey that is stored as three equal samples comes back to the bit. Raises Refusal for other types: a code
    stream may be signed, or deeper than 16 bits, whatever the header says.
    """
    if samples.dtype not in (np.uint8, np.uint16):
        raise Refusal(Reason.UNSUPPORTED_PIXELS, f"colours of type {samples.dtype}")
    red, green, blue = samples[..., 0], samples[..., 1], samples[..., 2]
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return False, red
    with memory_errors_from_opencv():
        return True, cv2.cvtColor(np.ascontiguousarray(samples[..., :3]), cv2.COLOR_RGB2GRAY)


def grey_from_ycbcr(samples: NDArray[Any]) -> tuple[bool, NDArray[Any]]:
    """uint8 | uint16 [H, W, 3], the luminance first -> whether there is any colour, and the luminance.

    Raises Refusal for other types.
    """
    if samples.dtype not in (np.uint8, np.uint16):
        raise Refusal(Reason.UNSUPPORTED_PIXELS, f"colours of type {samples.dtype}")
    neutral = (int(np.iinfo(samples.dtype).max) + 1) // 2
    return bool((samples[..., 1:] != neutral).any()), samples[..., 0]


def grey_from_palette(values: NDArray[Any], palette: tuple[Table, Table, Table]) -> tuple[bool, NDArray[Any]]:
    """Indices [H, W] (PS3.3 C.7.9) -> whether there is any colour, and luminance [H, W]."""
    at = values.astype(np.int32)
    inks = [ink.entries[np.clip(at - ink.first, 0, len(ink.entries) - 1)] for ink in palette]
    return grey_from_rgb(np.dstack(inks))
