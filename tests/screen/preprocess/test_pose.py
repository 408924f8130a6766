"""The judge of polarity and orientation: what it says of real films, and that inverting them is exact."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from screen.codes import OF_POSE
from screen.decode import decode
from screen.discover import discover
from screen.film import Film, Pixels
from screen.preprocess import PreprocessSpec, content_from_pixels, square_from_pixels
from screen.preprocess.pose import Judge, Pose, judge_digest, pose_from, shipped_judge
from screen.readers import Limits, read
from screen.readers.header import LookupHeader, PixelHeader
from screen.readers.lookup import lookup_from_header
from screen.shortcuts import DecodePolicy, Shortcut
from tests.phantoms import dicom_file
from tests.places import ROOT

SPEC = PreprocessSpec().judged()
SHARED = ROOT.parent / "shared" / "data"


def examples() -> list[Film]:
    read_ones = [read(source) for source in discover([ROOT / "examples" / "films"], None)]
    return [film for film in read_ones if isinstance(film, Film)]


@pytest.fixture(scope="module")
def films() -> list[Film]:
    found = examples()
    assert len(found) >= 5
    return found


def turned(px: Pixels, quarter_turns: int) -> Pixels:
    values = np.ascontiguousarray(np.rot90(px.values, quarter_turns))
    return dataclasses.replace(px, values=values, stored_shape=None)


def test_films_as_they_are_are_left_alone(films: list[Film]) -> None:
    for film in films:
        square = square_from_pixels(film.pixels, SPEC)
        assert square.pose == Pose()
        np.testing.assert_array_equal(square.values, square_from_pixels(film.pixels, PreprocessSpec()).values)


def test_an_inverted_film_is_noticed_and_put_right_to_the_byte(films: list[Film]) -> None:
    for film in films:
        square = square_from_pixels(film.pixels.inverted(), SPEC)
        assert square.pose == Pose(inverted=True)
        np.testing.assert_array_equal(square.values, square_from_pixels(film.pixels, SPEC).values)


@pytest.mark.parametrize(
    ("quarter_turns", "pose"),
    [(1, Pose(on_its_side=True)), (2, Pose(upside_down=True)), (3, Pose(on_its_side=True))],
)
def test_a_turned_film_is_noticed_and_stays_as_it_lies(
    films: list[Film], quarter_turns: int, pose: Pose
) -> None:
    for film in films:
        px = turned(film.pixels, quarter_turns)
        square = square_from_pixels(px, SPEC)
        assert square.pose == pose
        np.testing.assert_array_equal(square.values, square_from_pixels(px, PreprocessSpec()).values)
        inverted = square_from_pixels(px.inverted(), SPEC)
        assert inverted.pose == dataclasses.replace(pose, inverted=True)
        np.testing.assert_array_equal(inverted.values, square.values)


@pytest.mark.parametrize("stepwise", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_a_wrong_tag_gives_the_square_of_the_right_one(
    films: list[Film], tmp_path: Path, stepwise: bool, signed: bool
) -> None:
    """Window, rescale, padding, several bits: all that the lookup is made from, and the decoder's way."""
    px = films[0].pixels
    grey = px.lookup[px.values].astype(np.int64) >> 4
    values = np.repeat(np.repeat(grey, 2, 0), 2, 1).astype(np.uint16)
    values[:40] = 4095
    fields: dict[str, object] = {"WindowCenter": 2047.5, "WindowWidth": 3500, "PixelPaddingValue": 4095}
    if signed:
        values = (values.astype(np.int32) - 2048).astype(np.int16)
        fields |= {"PixelPaddingValue": 2047, "RescaleIntercept": 2048, "RescaleSlope": 1}
    policy = DecodePolicy(frozenset({Shortcut.STEPWISE_RESIZE} if stepwise else ()))
    squares, warnings = [], []
    for tag in ("MONOCHROME2", "MONOCHROME1"):
        path = tmp_path / f"{tag}.dcm"
        path.write_bytes(dicom_file(values, PhotometricInterpretation=tag, **fields))
        (source,) = discover([path], None)
        outcome = decode(source, SPEC, Limits(), policy).result
        squares.append(outcome.square)  # type: ignore[union-attr]
        warnings.append(outcome.warnings)  # type: ignore[union-attr]
    assert not set(warnings[0]) & set(OF_POSE)
    assert set(warnings[1]) - set(warnings[0]) == {"polarity_contradicted"}
    np.testing.assert_array_equal(*squares)


HEADERS = st.builds(
    LookupHeader,
    inverted=st.booleans(),
    rescale=st.tuples(st.sampled_from([1.0, -1.0, 0.5]), st.sampled_from([0.0, -2048.0, 3.5])),
    window=st.none() | st.tuples(st.integers(-100, 4200).map(lambda n: n / 2), st.integers(1, 5000)),
    padding=st.none() | st.tuples(st.integers(0, 100), st.integers(100, 4095)),
)


@settings(max_examples=100, deadline=None)
@given(HEADERS)
def test_the_opposite_lookup_is_that_of_the_other_tag(header: LookupHeader) -> None:
    px = PixelHeader(40, 36, 1, "MONOCHROME2", False, 16, 12, 11, False, 1)
    values = np.random.default_rng(0).integers(0, 4096, (40, 36)).astype(np.uint16)
    one = lookup_from_header(values, px, header)
    other = lookup_from_header(values, px, dataclasses.replace(header, inverted=not header.inverted))
    np.testing.assert_array_equal(one.opposite, other.table)
    np.testing.assert_array_equal(other.opposite, one.table)


def test_a_turned_film_turns_the_answer(films: list[Film]) -> None:
    content = content_from_pixels(films[0].pixels, SPEC)
    assert content is not None
    p = shipped_judge().probabilities(content)
    assert p.shape == (2, 4)
    assert p.sum() == pytest.approx(1)
    for quarter_turns in range(4):
        seen = shipped_judge().probabilities(np.ascontiguousarray(np.rot90(content, quarter_turns)))
        np.testing.assert_allclose(seen, np.roll(p, -quarter_turns, 1), atol=0.02)


def test_nothing_is_said_without_certainty() -> None:
    assert pose_from(np.full((2, 4), 1 / 8)) == Pose()
    nearly = np.zeros((2, 4))
    nearly[1, 0], nearly[0, 0] = 0.85, 0.15
    assert pose_from(nearly) == Pose()


def test_what_is_blank_is_not_judged() -> None:
    blank = Pixels(np.full((64, 64), 7, np.uint8), (np.arange(256) * 257).astype(np.uint16))
    square = square_from_pixels(blank, SPEC)
    assert square.blank
    assert square.pose == Pose()


def test_the_digest_covers_the_judge(tmp_path: Path) -> None:
    assert SPEC.judge == judge_digest() == shipped_judge().digest()
    assert SPEC.digest() != PreprocessSpec().digest()
    judge = shipped_judge()
    moved = dataclasses.replace(judge, head=judge.head + np.float32(1e-3))
    assert moved.digest() != judge.digest()
    foreign = PreprocessSpec(judge=moved.digest())
    assert "judge" in foreign.foreign
    with pytest.raises(ValueError, match="judge"):
        square_from_pixels(Pixels(np.zeros((40, 40), np.uint8), np.arange(256, dtype=np.uint16)), foreign)
    judge.save(tmp_path / "judge.npz")
    assert Judge.load(tmp_path / "judge.npz").digest() == judge.digest()


def test_a_real_film_with_a_wrong_tag() -> None:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data")
    squares: list[NDArray[np.uint8]] = []
    for name in ("1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm", "Fake_MONOHR1.dcm"):
        (source,) = discover([SHARED / "dicom" / "files" / name], None)
        film = read(source)
        assert isinstance(film, Film)
        square = square_from_pixels(film.pixels, SPEC)
        assert square.pose == Pose(inverted=name.startswith("Fake"))
        squares.append(square.values)
    np.testing.assert_array_equal(*squares)
