"""Pictures of flagged films: the square the network saw, and its heat map laid over it.

The colour scale is the model's, in logits and the same for every film: a pale overlay means weak evidence,
which a scale stretched to each film's own maximum would hide.
"""

import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray

from screen.ledger import Row
from screen.preprocess import Geometry

Picture = NDArray[np.uint8]

# Amber, orange, magenta (IBM's colour-blind safe palette): hues that no grey film has, dark to light enough
# to tell apart on bright bone as on black lung. RGB from no evidence to full.
_STOPS = np.array([[255, 176, 0], [254, 97, 0], [220, 38, 127]], np.float32)
_OPAQUE = 0.62
"""Alpha at full colour: the film stays readable beneath."""
_SHOWN = 448
"""Pixels, longer side of each of the two pictures in a PNG."""
# A third smaller than OpenCV's default on these pictures, and no slower.
_QUICK = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB, cv2.IMWRITE_PNG_COMPRESSION, 1)
_INK, _FAINT = (236, 232, 228), (150, 144, 138)
_PAPER = (24, 22, 20)


def picture_name(row: Row) -> str:
    """The PNG's name in `heatmaps/`: says nothing about the film, and is the same in every run."""
    identity = f"{row.file}\0{row.pixel_digest}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(identity).hexdigest()[:24] + ".png"


def content(square: Picture, geometry: Geometry) -> Picture:
    """uint8 [S, S] -> the film without its padding, uint8 [content_height, content_width]."""
    return square[_box(geometry)]


def overlay(
    square: Picture, geometry: Geometry, grid: NDArray[np.float16], scale: tuple[float, float]
) -> Picture:
    """The heat map over the film, padding left out.

    square: uint8 [S, S]. grid: float16 [h, w], logits before the bias, over the whole square. scale: logits
    shown as nothing and as full colour. -> uint8 [content_height, content_width, 3], BGR.
    """
    strength = _strength(grid, square.shape[0], scale)[_box(geometry)]
    film = cv2.cvtColor(content(square, geometry), cv2.COLOR_GRAY2BGR).astype(np.float32)
    alpha = (_OPAQUE * strength)[..., None]
    mixed = film * (1 - alpha) + _colours(strength) * alpha
    over: Picture = np.rint(mixed).astype(np.uint8)
    return over


def thumbnail(picture: Picture, side: int) -> bytes:
    """A JPEG whose longer side is at most `side` pixels."""
    small = _resized(picture, min(side, max(picture.shape[:2])))
    return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 82])[1])


def sheet(film: Picture, over: Picture, finding: str, scale: tuple[float, float]) -> Picture:
    """Film and overlay side by side, and beneath them the colour scale in logits: uint8 [H, W, 3], BGR."""
    left = _resized(np.repeat(film[..., None], 3, axis=2), _SHOWN)
    right = _resized(over, _SHOWN)
    height, width = left.shape[:2]
    gap, foot = 8, 46
    page = np.empty((height + foot, max(2 * width + gap, 2 * _SHOWN), 3), np.uint8)
    page[:] = _PAPER
    x = (page.shape[1] - 2 * width - gap) // 2
    page[:height, x : x + width] = left
    page[:height, x + width + gap : x + 2 * width + gap] = right
    _legend(page[height:], finding, scale)
    return page


def png(picture: Picture) -> bytes:
    """Quickly made rather than small."""
    return bytes(cv2.imencode(".png", picture, _QUICK)[1])


def scale_bar(width: int, height: int) -> bytes:
    """The colour scale on mid grey from no evidence to full, a PNG for the page."""
    return bytes(cv2.imencode(".png", _bar(width, height))[1])


def _legend(foot: Picture, finding: str, scale: tuple[float, float]) -> None:
    bar = _bar(160, 10)
    top, left = 11, foot.shape[1] - 160 - 74
    foot[top : top + bar.shape[0], left : left + bar.shape[1]] = bar
    baseline = top + 10
    _write(foot, f"evidence for {_plain(finding)}, logits", (12, baseline), _INK)
    low, high = f"{scale[0]:.3g}", f"{scale[1]:.3g}"
    _write(foot, low, (left - 10 - _width(low), baseline), _INK)
    _write(foot, f"{high} +", (left + 170, baseline), _INK)
    _write(foot, "Research use only, not for clinical use. Colour shows what raised the score, no outline.",
           (12, baseline + 19), _FAINT)  # fmt: skip


def _write(image: Picture, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)


def _width(text: str) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0])


def _plain(text: str) -> str:
    """What the built-in stroke font can draw, of bearable length."""
    return text[:40].encode("ascii", "replace").decode()


def _bar(width: int, height: int) -> Picture:
    strength = np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (height, width))
    alpha = (_OPAQUE * strength)[..., None]
    bar: Picture = np.rint(110 * (1 - alpha) + _colours(strength) * alpha).astype(np.uint8)
    return bar


def _strength(grid: NDArray[np.float16], size: int, scale: tuple[float, float]) -> NDArray[np.float32]:
    """float32 [S, S], 0 … 1."""
    low, high = scale
    large = cv2.resize(grid.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    strength: NDArray[np.float32] = np.clip((large - np.float32(low)) / np.float32(high - low), 0, 1)
    return strength


def _colours(strength: NDArray[np.float32]) -> NDArray[np.float32]:
    """[h, w] in 0 … 1 -> BGR float32 [h, w, 3]."""
    at = np.linspace(0, 1, len(_STOPS))
    channels = [np.interp(strength, at, _STOPS[:, c]) for c in (2, 1, 0)]
    return np.stack(channels, axis=-1, dtype=np.float32, casting="same_kind")


def _resized(picture: Picture, longer: int) -> Picture:
    height, width = picture.shape[:2]
    factor = longer / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(picture, size, interpolation=how).astype(np.uint8, copy=False)


def _box(geometry: Geometry) -> tuple[slice, slice]:
    return (
        slice(geometry.top, geometry.top + geometry.content_height),
        slice(geometry.left, geometry.left + geometry.content_width),
    )
