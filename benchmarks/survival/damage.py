"""Damaged pixels: how much of it is noticed, by encoding, and what it does to the square where it is not."""

import io
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread, uid
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.hardware import machine
from benchmarks.material.make_films import small_films
from benchmarks.material.structure import PIXEL_DATA, elements, fragments
from benchmarks.survival.fuzz import memory_disk
from export.realistic import SYNTAXES, dicom_bytes, eight_bits, file_bytes, film_from_small, uid_from_text
from screen.decode import Decoded, DecodePool
from screen.discover import Source
from screen.film import Unscreened
from screen.model import Model
from screen.readers import Limits
from screen.shortcuts import policy_from_entries

HOLE = 4096
"""Bytes: a page of memory, a block of a file system."""
WHOLE = "whole"

Values = NDArray[np.uint16]
"""A film's stored values, [H, W], 12 bits."""


# ── encodings ────────────────────────────────────────────────────────────────────────────────────────────


def _under(syntax: str, encode: Callable[[Values], bytes], values: Values) -> bytes:
    """A film's file under a syntax that `dicom_bytes` does not write."""
    twin = uid.JPEGBaseline8Bit if syntax == _PROGRESSIVE else uid.RLELossless
    ds = dcmread(io.BytesIO(_dicom(twin, values)))
    del ds.PixelData
    return file_bytes(ds, syntax, encode(values))


_PROGRESSIVE = "1.2.840.10008.1.2.4.55"


def _dicom(syntax: str, values: Values) -> bytes:
    return dicom_bytes(values, syntax, sop_instance_uid=uid_from_text(str(values.sum())))


def _picture(kind: str, values: Values, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(eight_bits(values)).save(buffer, kind, **options)
    return buffer.getvalue()


def _jpeg_12_bits(values: Values) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(values, level=90, bitspersample=12))


_PROGRESSIVE_JPEG = partial(_picture, "JPEG", quality=90, progressive=True)
_ENCODINGS: dict[str, Callable[[Values], bytes]] = {
    **{name: partial(_dicom, syntax) for name, syntax in SYNTAXES.items()},
    "jpeg progressive": partial(_under, _PROGRESSIVE, _PROGRESSIVE_JPEG),
    "jpeg 12 bits": partial(_under, uid.JPEGExtended12Bit, _jpeg_12_bits),
    "jpg": partial(_picture, "JPEG", quality=90),
    "jpg progressive": _PROGRESSIVE_JPEG,
    "png": partial(_picture, "PNG"),
    "webp": partial(_picture, "WEBP", quality=90),
    "webp lossless": partial(_picture, "WEBP", lossless=True, quality=10, method=0),
    "tiff": partial(_picture, "TIFF"),
    "tiff deflate": partial(_picture, "TIFF", compression="tiff_adobe_deflate"),
    "tiff lzw": partial(_picture, "TIFF", compression="tiff_lzw"),
    "tiff packbits": partial(_picture, "TIFF", compression="packbits"),
}


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _File:
    """A file, and where in it the encoded pixels lie; if they get shorter, a fragment's length follows."""

    data: bytes
    start: int
    end: int
    is_fragment: bool

    def with_pixels(self, pixels: bytes) -> bytes:
        """The file with other pixels."""
        length = b""
        start = self.start
        if self.is_fragment:
            pixels += bytes(len(pixels) % 2)
            start -= 4
            length = len(pixels).to_bytes(4, "little")
        return self.data[:start] + length + pixels + self.data[self.end :]


def _file(data: bytes) -> _File:
    if data[128:132] != b"DICM":
        return _File(data, len(data) // 50, len(data), False)
    parts = fragments(data)
    if len(parts) > 1:
        return _File(data, parts[1].value, parts[1].end, True)
    pixels = [e for e in elements(data) if e.tag == PIXEL_DATA]
    # A deflated data set shows no elements; its pixels are nearly all of it.
    start = pixels[0].value if pixels else 1024
    return _File(data, start, len(data), False)


def _hole(file: _File, rng: Random, fill: Callable[[Random], bytes]) -> bytes:
    first = file.start + _HEADERS
    at = rng.randrange(first, max(first + 1, file.end - HOLE - 2))
    return file.data[:at] + fill(rng)[: file.end - 2 - at] + file.data[at + HOLE :]


_HEADERS = 700
"""Bytes of a code stream that hold its tables: damage there is another question."""


def _cut(file: _File, rng: Random) -> bytes:
    return file.data[: rng.randrange(file.start + _HEADERS, file.end - 2)]


def _cut_and_closed(file: _File, rng: Random) -> bytes:
    """Everything behind a place lost, and what writes the file anew closes it as the format wants it."""
    pixels = file.data[file.start : file.end]
    return file.with_pixels(pixels[: rng.randrange(_HEADERS, len(pixels) - 2)] + b"\xff\xd9")


def _flipped_bit(file: _File, rng: Random) -> bytes:
    at = rng.randrange(file.start + _HEADERS, file.end - 2)
    return file.data[:at] + bytes([file.data[at] ^ 1 << rng.randrange(8)]) + file.data[at + 1 :]


def _rest_zero(file: _File, rng: Random) -> bytes:
    """A copy that stopped in a file that already had its size."""
    at = rng.randrange(file.start + _HEADERS, file.end - HOLE) & -HOLE
    return file.data[: max(at, file.start)] + bytes(len(file.data) - max(at, file.start))


_DAMAGES: dict[str, Callable[[_File, Random], bytes]] = {
    WHOLE: lambda file, _: file.data,
    "hole of zeros": partial(_hole, fill=lambda _: bytes(HOLE)),
    "hole of noise": partial(_hole, fill=lambda rng: rng.randbytes(HOLE)),
    "cut": _cut,
    "cut and closed": _cut_and_closed,
    "rest zero": _rest_zero,
    "flipped bit": _flipped_bit,
}
_CLOSED = ("jpeg", "jpg", "htj2k")
"""Encodings, by their names' beginnings, that end with a marker."""


# ── measuring ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Cell:
    """files: damaged so. noticed: failed, or warned of. changed: share of the square, of each of the rest."""

    files: int = 0
    noticed: int = 0
    changed: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Figures:
    """cells: by encoding, then by damage."""

    machine: dict[str, str]
    films: int
    side: int
    seed: int
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)


def measure(folder: Path, count: int, side: int, seed: int, workers: int, model: Model) -> Figures:
    """`count` films in every encoding, each damaged once in each way, through the workers of `screen run`."""
    small = small_films(folder, count)
    figures = Figures(machine(), count, side, seed)
    policy = policy_from_entries(model.card.decode_policies)
    with (
        tempfile.TemporaryDirectory(dir=memory_disk()) as scratch,
        DecodePool(workers, model.card.preprocess, Limits(), policy) as pool,
        Progress(transient=True) as progress,
    ):
        for index in progress.track(range(count), description="films"):
            values = film_from_small(small[index % len(small)], index, side)
            files = _files(values, Random(f"{seed}:{index}"), Path(scratch))
            finished = chain.from_iterable(pool.map(files))
            _compare({source.key: outcome.result for source, outcome in finished}, figures)
            for path in Path(scratch).iterdir():
                path.unlink()
    return figures


def _files(values: Values, rng: Random, folder: Path) -> Iterator[Source]:
    for encoding, encode in _ENCODINGS.items():
        file = _file(encode(values))
        for damage, apply in _DAMAGES.items():
            if damage == "cut and closed" and not encoding.startswith(_CLOSED):
                continue
            path = folder / f"{encoding}|{damage}"
            path.write_bytes(apply(file, rng))
            status = path.stat()
            yield Source(path, path.name, status.st_size, status.st_mtime_ns)


def _compare(results: dict[str, Decoded | Unscreened], figures: Figures) -> None:
    for key, result in results.items():
        encoding, damage = key.split("|")
        whole = results[f"{encoding}|{WHOLE}"]
        cell = figures.cells.setdefault(encoding, {}).setdefault(damage, Cell())
        cell.files += 1
        if isinstance(result, Unscreened) or isinstance(whole, Unscreened):
            cell.noticed += 1
            continue
        usual = _OF_FILMS if damage == WHOLE else _OF_FILMS.union(whole.warnings)
        if set(result.warnings) - usual:
            cell.noticed += 1
        else:
            cell.changed.append(float((result.square != whole.square).mean()))


_OF_FILMS = frozenset(
    {"upscaled", "colour", "no_window", "on_its_side", "upside_down", "polarity_contradicted"}
)
"""Warnings that say nothing of damage."""


def report(figures: Figures, console: Console) -> None:
    """For people: per cent noticed, and how much of the square is another where it was not."""
    title = (
        f"{figures.films} films, longer side {figures.side}: noticed, % (median share of the square changed)"
    )
    table = Table("", *_DAMAGES, title=title)
    for encoding, cells in figures.cells.items():
        table.add_row(encoding, *(_cell(cells.get(damage)) for damage in _DAMAGES))
    console.print(table)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    noticed = f"{100 * cell.noticed / cell.files:.0f}"
    return f"{noticed} ({statistics.median(cell.changed):.2f})" if cell.changed else noticed


def as_json(figures: Figures) -> dict[str, Any]:
    """The figures for `--json`."""
    return {"benchmark": "damage", **asdict(figures)}
