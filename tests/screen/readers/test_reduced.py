"""Shortcuts from bytes to square: taken where they are permitted and safe, and close to the full way."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import JPEG2000, HTJ2KLossless, JPEG2000Lossless, JPEGBaseline8Bit

from screen.codes import Warn
from screen.decode import Decoded, Outcome, decode
from screen.discover import Source
from screen.film import Unscreened
from screen.preprocess import Geometry, PreprocessSpec
from screen.readers import Aim, Limits, read
from screen.shortcuts import FULL, MARGIN, DecodePolicy, Shortcut
from tests.phantoms import LOSSLESS_SYNTAXES, dicom_file, encoded, film, film_values, jpeg_with_exif
from tests.places import SHARED

SPEC = PreprocessSpec(size=64)
ALL = DecodePolicy(frozenset(Shortcut))
REDUCED, SCALED, STEPWISE = Shortcut.REDUCED_RESOLUTION, Shortcut.SCALED_JPEG, Shortcut.STEPWISE_RESIZE
WINDOW = {"WindowCenter": 2100.5, "WindowWidth": 2900}


def textured(rows: int, columns: int) -> NDArray[np.uint16]:
    """uint16 [rows, columns], 12 bits: details that half a pixel of the square moves visibly, and grain."""
    rng = np.random.default_rng(4)
    spots = rng.uniform(0.1, 0.9, (rows // 25 + 1, columns // 25 + 1)).astype(np.float32)
    smooth = cv2.resize(spots, (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.clip((smooth + rng.normal(0, 0.01, smooth.shape)) * 4095, 0, 4095).astype(np.uint16)


# As large as 700 × 600 is to 64, a film of 2450 × 2100 is to 224.
VALUES = textured(700, 600)
EIGHT_BITS = (VALUES >> 4).astype(np.uint8)
CLOSE = 5.0
"""Grey levels on average; left where low-pass bands and scaled JPEGs lie, `textured` differs by 7 to 17."""
FILMS = SHARED / "cxr" / "images"

Run = Callable[..., Outcome]


def jpeg_2000(values: NDArray[Any], **options: Any) -> bytes:
    options = {"level": 0, "reversible": True, "codecformat": "j2k", "bitspersample": 12} | options
    return bytes(imagecodecs.jpeg2k_encode(values, **options))


def jpeg(values: NDArray[np.uint8], **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """What `decode` makes of these bytes under a policy."""

    def run_it(data: bytes, policy: DecodePolicy = ALL, spec: PreprocessSpec = SPEC) -> Outcome:
        return decode(_source(tmp_path, data), spec, Limits(), policy)

    return run_it


def _source(folder: Path, data: bytes) -> Source:
    path = folder / "file"
    path.write_bytes(data)
    status = path.stat()
    return Source(path, "file", status.st_size, status.st_mtime_ns)


def decoded(outcome: Outcome) -> Decoded:
    assert isinstance(outcome.result, Decoded), outcome.result
    return outcome.result


def taken(outcome: Outcome) -> frozenset[Shortcut]:
    return decoded(outcome).policy.shortcuts


FILES: dict[str, tuple[Shortcut, bytes]] = {
    "JPEG 2000": (REDUCED, dicom_file(VALUES, JPEG2000Lossless, frame=jpeg_2000(VALUES), **WINDOW)),
    "JPEG 2000, 16 bits coded": (REDUCED, dicom_file(VALUES, JPEG2000Lossless, **WINDOW)),
    "JPEG 2000, lossy": (
        REDUCED,
        dicom_file(VALUES, JPEG2000, frame=jpeg_2000(VALUES, level=60, reversible=False), **WINDOW),
    ),
    "JPEG 2000, 8 bits": (REDUCED, dicom_file(EIGHT_BITS, JPEG2000Lossless, bits_stored=8)),
    "HTJ2K": (REDUCED, dicom_file(VALUES, HTJ2KLossless, **WINDOW)),
    "JPEG": (SCALED, dicom_file(EIGHT_BITS, JPEGBaseline8Bit, bits_stored=8, frame=jpeg(EIGHT_BITS))),
    "JPEG file": (SCALED, jpeg(EIGHT_BITS)),
    "explicit": (STEPWISE, dicom_file(VALUES, **WINDOW)),
    "big endian": (STEPWISE, dicom_file(VALUES, LOSSLESS_SYNTAXES["big endian"], **WINDOW)),
    "RLE": (STEPWISE, dicom_file(VALUES, LOSSLESS_SYNTAXES["RLE"], **WINDOW)),
    "PNG": (STEPWISE, bytes(imagecodecs.png_encode(EIGHT_BITS))),
}


@pytest.mark.parametrize("name", FILES)
def test_a_shortcut_is_taken_if_it_is_permitted(run: Run, name: str) -> None:
    shortcut, data = FILES[name]
    assert taken(run(data)) == {shortcut}
    assert taken(run(data, DecodePolicy(frozenset({shortcut})))) == {shortcut}
    assert taken(run(data, FULL)) == frozenset()
    others = DecodePolicy(frozenset(Shortcut) - {shortcut, STEPWISE})
    assert taken(run(data, others)) == frozenset()
    assert decoded(run(data, others)).decoder == decoded(run(data, FULL)).decoder


@pytest.mark.parametrize("name", FILES)
def test_the_square_is_close_to_the_full_one(run: Run, name: str) -> None:
    _, data = FILES[name]
    full, short = decoded(run(data, FULL)), decoded(run(data))
    assert short.geometry == full.geometry
    assert short.pixel_digest == full.pixel_digest
    assert short.warnings == full.warnings
    difference = np.abs(short.square.astype(int) - full.square)
    assert 0 < difference.mean() < CLOSE
    assert difference.max() < 40


@pytest.mark.parametrize("shape", [(697, 603), (704, 640), (641, 701), (513, 1030)])
@pytest.mark.parametrize("kind", [REDUCED, SCALED, STEPWISE])
def test_sides_that_leave_a_remainder(run: Run, kind: Shortcut, shape: tuple[int, int]) -> None:
    values = textured(*shape)
    files = {
        REDUCED: [dicom_file(values, LOSSLESS_SYNTAXES[name], **WINDOW) for name in ("HTJ2K", "JPEG 2000")],
        SCALED: [jpeg((values >> 4).astype(np.uint8))],
        STEPWISE: [dicom_file(values, **WINDOW)],
    }
    for data in files[kind]:
        full, short = decoded(run(data, FULL)), decoded(run(data))
        assert short.policy.shortcuts == {kind}
        assert short.geometry == full.geometry
        assert np.abs(short.square.astype(int) - full.square).mean() < CLOSE


def test_edges_stay_where_they_are(run: Run, tmp_path: Path) -> None:
    # Discs of white on black: the finest levels overshoot on both sides and wrap around if nobody looks.
    values = np.zeros((704, 640), np.uint16)
    for at in ((200, 180), (470, 200), (320, 460)):
        cv2.circle(values, at, 90, 4095, -1)
    for name in ("HTJ2K", "JPEG 2000"):
        frame = jpeg_2000(values) if name == "JPEG 2000" else None
        data = dicom_file(values, LOSSLESS_SYNTAXES[name], frame=frame, **WINDOW)
        reduced = film(read(_source(tmp_path, data), Limits(), Aim(SPEC.size, ALL)))
        assert reduced.pixels.values.max() <= 4095
        full, short = decoded(run(data, FULL)), decoded(run(data))
        assert taken(run(data)) == {REDUCED}
        assert np.abs(short.square.astype(int) - full.square).mean() < 1.5
        inside = cv2.erode((full.square > 200).astype(np.uint8), np.ones((5, 5))) > 0
        outside = cv2.dilate((full.square > 50).astype(np.uint8), np.ones((5, 5))) == 0
        assert short.square[inside].min() > 200
        assert short.square[outside].max() < 50


def _unusual() -> dict[str, bytes]:
    colour = np.dstack([EIGHT_BITS, EIGHT_BITS // 2, EIGHT_BITS])
    rgb = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    signed = (VALUES.astype(np.int32) - 2048).astype(np.int16)
    htj2k = bytes(imagecodecs.htj2k_encode(EIGHT_BITS, reversible=True))
    tiles = bytes(imagecodecs.htj2k_encode(VALUES, reversible=True, tile=(256, 256)))
    cmyk = io.BytesIO()
    Image.fromarray(np.dstack([colour, EIGHT_BITS]), "CMYK").save(cmyk, "JPEG")
    return {
        "signed": dicom_file(signed, JPEG2000Lossless, RescaleIntercept=2048, RescaleSlope=1, **WINDOW),
        "tiles": dicom_file(VALUES, HTJ2KLossless, frame=tiles, **WINDOW),
        "one level": dicom_file(VALUES, JPEG2000Lossless, frame=jpeg_2000(VALUES, resolutions=1), **WINDOW),
        "JP2 boxes": dicom_file(
            VALUES, JPEG2000Lossless, frame=jpeg_2000(VALUES, codecformat="jp2"), **WINDOW
        ),
        "colour": dicom_file(
            EIGHT_BITS, JPEG2000Lossless, bits_stored=8, frame=jpeg_2000(colour, bitspersample=8), **rgb
        ),
        "more bits than the header says": dicom_file(VALUES, JPEG2000Lossless, bits_stored=10, **WINDOW),
        "HTJ2K, 8 bits": dicom_file(EIGHT_BITS, HTJ2KLossless, bits_stored=8, frame=htj2k),
        "HTJ2K, 16 bits": dicom_file(VALUES << 4, HTJ2KLossless, bits_stored=16),
        "padding at the white end": dicom_file(VALUES, JPEG2000Lossless, PixelPaddingValue=3900, **WINDOW),
        "progressive JPEG": jpeg(EIGHT_BITS, progressive=True),
        "colour JPEG": jpeg(colour),
        "CMYK JPEG": cmyk.getvalue(),
    }


@pytest.mark.parametrize(("name", "data"), _unusual().items())
def test_what_is_unusual_is_decoded_in_full(run: Run, name: str, data: bytes) -> None:
    unhalved = DecodePolicy(frozenset({REDUCED, SCALED}))
    full, short = decoded(run(data, FULL)), decoded(run(data, unhalved))
    assert short.policy == FULL
    assert short.decoder == full.decoder
    np.testing.assert_array_equal(short.square, full.square)


def test_values_that_wrap_around_are_decoded_in_full(run: Run) -> None:
    """Two's complement under an unsigned header is mended from all pixels."""
    window = {"WindowCenter": 0, "WindowWidth": 4096}
    data = dicom_file(VALUES, JPEG2000Lossless, frame=jpeg_2000(VALUES ^ 2048), **window)
    found = decoded(run(data))
    assert REDUCED not in found.policy
    assert Warn.SIGN_CONTRADICTED in found.warnings


def test_a_lookup_that_turns_comes_before_the_halving(run: Run) -> None:
    # Padding is black, and lies at the white end: means of padding and film would be white.
    values = VALUES.copy()
    values[:, :150] = 4095
    data = dicom_file(values, PixelPaddingValue=4095, **WINDOW)
    full, short = decoded(run(data, FULL)), decoded(run(data))
    assert taken(run(data)) == {STEPWISE}
    assert np.abs(short.square.astype(int) - full.square).max() < 40


@pytest.mark.parametrize("name", ["JPEG 2000", "HTJ2K", "explicit"])
def test_small_films_are_never_reduced(run: Run, name: str) -> None:
    small = film_values(127, 110)
    data = dicom_file(small, LOSSLESS_SYNTAXES[name], **WINDOW)
    assert taken(run(data)) == frozenset()
    assert taken(run(jpeg((small >> 4).astype(np.uint8)))) == frozenset()


@pytest.mark.parametrize("size", [32, 64, 87, 88, 175, 176, 350, 351])
def test_never_below_the_input(tmp_path: Path, size: int) -> None:
    for name in ("JPEG 2000", "HTJ2K", "JPEG", "JPEG file"):
        found = film(read(_source(tmp_path, FILES[name][1]), Limits(), Aim(size, ALL)))
        geometry = Geometry.fit(*found.pixels.shape, size)
        assert found.pixels.shape == (700, 600)
        assert found.pixels.values.shape[0] >= geometry.content_height
        assert found.pixels.values.shape[1] >= geometry.content_width
        # Half of it would be too little, or no more is to be had.
        steps = round(700 / found.pixels.values.shape[0])
        assert 700 // (2 * steps) < MARGIN * size or steps >= 8


@settings(max_examples=200, deadline=None)
@given(
    st.integers(32, 70000),
    st.integers(32, 70000),
    st.integers(32, 2048),
    st.integers(0, 32),
)
def test_halvings(rows: int, columns: int, size: int, most: int) -> None:
    count = Aim(size, ALL).halvings(rows, columns, most)
    geometry = Geometry.fit(rows, columns, size)
    assert 0 <= count <= most
    assert count == 0 or -(-rows >> count) >= geometry.content_height
    assert count == 0 or -(-columns >> count) >= geometry.content_width


def test_a_film_like_a_thread_is_halved_no_further_than_it_can(run: Run) -> None:
    values = film_values(9000, 32)
    for name in ("explicit", "HTJ2K"):
        assert decoded(run(dicom_file(values, LOSSLESS_SYNTAXES[name], **WINDOW))).square.shape == (64, 64)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation(run: Run, orientation: int) -> None:
    values = EIGHT_BITS.copy()
    values[:200, :200] = 255
    data = jpeg_with_exif(values, orientation)
    full, short = decoded(run(data, FULL)), decoded(run(data))
    assert short.policy.shortcuts == {SCALED}
    assert short.geometry == full.geometry
    assert np.abs(short.square.astype(int) - full.square).mean() < CLOSE


@pytest.mark.parametrize("name", ["JPEG 2000", "HTJ2K", "JPEG", "JPEG file"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_what_was_cut_short_is_refused_as_in_full(run: Run, name: str, kept: float) -> None:
    frames: dict[str, tuple[str, NDArray[Any], bytes]] = {
        "JPEG 2000": (JPEG2000Lossless, VALUES, jpeg_2000(VALUES)),
        "HTJ2K": (HTJ2KLossless, VALUES, encoded(VALUES, HTJ2KLossless)),
        "JPEG": (JPEGBaseline8Bit, EIGHT_BITS, jpeg(EIGHT_BITS)),
    }
    syntax, values, frame = frames[name.removesuffix(" file")]
    frame = frame[: int(len(frame) * kept)]
    data = frame
    if not name.endswith("file"):
        data = dicom_file(values, syntax, bits_stored=8 if values is EIGHT_BITS else 12, frame=frame)
    full, short = run(data, FULL).result, run(data).result
    assert isinstance(full, Unscreened)
    assert isinstance(short, Unscreened)
    assert (short.reason, short.detail) == (full.reason, full.detail)


@pytest.mark.parametrize("name", ["JPEG 2000", "HTJ2K", "JPEG", "JPEG file"])
def test_damage_never_raises(run: Run, name: str) -> None:
    _, whole = FILES[name]
    rng = np.random.default_rng(3)
    start = max(whole.find(b"\xff\x4f"), whole.find(b"\xff\xd8"), 0)
    for _ in range(30):
        damaged = bytearray(whole)
        # Mostly in the headers of the code stream, where sizes and levels stand.
        for at in [*rng.integers(start, start + 150, 2), *rng.integers(start, len(whole), 2)]:
            damaged[at] = rng.integers(256)
        assert isinstance(run(bytes(damaged)).result, Decoded | Unscreened)


def test_hashing_is_a_stage_of_its_own(run: Run) -> None:
    for name in ("explicit", "JPEG file"):
        outcome = run(FILES[name][1])
        assert outcome.hash_seconds > 0
        assert outcome.read_seconds > 0
        assert len(decoded(outcome).pixel_digest) == 64


@pytest.mark.skipif(not FILMS.is_dir(), reason="the films of ../shared/data are not here")
def test_real_films_upscaled(run: Run) -> None:
    spec = PreprocessSpec(size=128)
    for path in sorted(FILMS.iterdir())[::2500]:
        small = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        large = cv2.resize(small, None, fx=3.1, fy=2.9, interpolation=cv2.INTER_CUBIC).astype(np.float32) * 15
        noise = np.random.default_rng(1).normal(0, 12, large.shape)
        values = np.clip(large + noise, 0, 4095).astype(np.uint16)
        for name in ("JPEG 2000", "HTJ2K", "explicit"):
            data = dicom_file(values, LOSSLESS_SYNTAXES[name], WindowCenter=2048, WindowWidth=4096)
            full, short = decoded(run(data, FULL, spec)), decoded(run(data, ALL, spec))
            assert short.policy != FULL
            assert np.abs(short.square.astype(int) - full.square).mean() < CLOSE, (path.name, name)
