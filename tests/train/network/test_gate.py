"""The gate, what it is fitted against, and how the judge is fitted: on made features and pictures."""

import numpy as np
import pytest

from screen.preprocess import Geometry, PreprocessSpec
from train.data.others import KINDS, others
from train.data.squares import Squares
from train.network.gate import (
    HIDDEN,
    LOSES,
    NETWORKS,
    Others,
    collected_others,
    fit_gate,
    gaussian_of,
    in_another_pose,
    passed,
    unknown_kinds,
)
from train.recipes.fit_pose import SIDE, JudgeSettings, fit_judge, probabilities_of, rates

RNG = np.random.default_rng(0)
FILMS = [RNG.integers(0, 256, (200, 160), dtype=np.uint8) for _ in range(3)]
SPEC = PreprocessSpec(size=32)


def test_every_kind_is_made_as_often_and_the_same_again() -> None:
    made = list(others(2 * len(KINDS), FILMS, seed=1))
    assert [other.kind for other in made] == 2 * list(KINDS)
    for other in made:
        assert other.values.dtype == np.uint8
        assert min(other.values.shape) >= 8
    again = list(others(2 * len(KINDS), FILMS, seed=1))
    assert all(np.array_equal(a.values, b.values) for a, b in zip(made, again, strict=True))
    differing = zip(made, others(2 * len(KINDS), FILMS, seed=2), strict=True)
    assert all(not np.array_equal(a.values, b.values) for a, b in differing)


def test_found_pictures_come_with_their_mirror_image() -> None:
    values = RNG.integers(0, 256, (2, 32, 32), dtype=np.uint8)
    place = Geometry.fit(32, 32, 32)
    found = Squares(values, ("a.png", "b.png"), ("", ""), (place, place), {}, "digest")
    pictures = collected_others([("holiday", found)], list(others(5, FILMS, 0)), SPEC)
    assert pictures.values.shape == (9, 32, 32)
    assert pictures.collections.tolist() == ["made"] * 5 + ["holiday"] * 4
    assert pictures.kinds.tolist()[5:] == ["a.png", "a.png", "b.png", "b.png"]
    np.testing.assert_array_equal(pictures.values[6], pictures.values[5][:, ::-1])


def test_a_collection_in_several_folders_has_a_kind_in_each() -> None:
    values = RNG.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    place = Geometry.fit(32, 32, 32)
    found = Squares(values, ("p/maps/a.png", "p/maps/b.png", "p/x/c.png"), ("",) * 3, (place,) * 3, {}, "")
    pictures = collected_others([("p", found)], list(others(1, FILMS, 0)), SPEC)
    assert pictures.kinds.tolist()[1:] == ["p/maps"] * 4 + ["p/x"] * 2


def test_another_pose_keeps_the_padding_black() -> None:
    place = Geometry.fit(40, 20, 32)
    film = np.zeros((32, 32), np.uint8)
    film[:, place.left : place.left + place.content_width] = RNG.integers(60, 200, (32, place.content_width))
    posed = in_another_pose(np.stack([film] * 50), [place] * 50, seed=0)
    grey = film[film > 0].astype(int)
    seen = set()
    for values in posed:
        content = values[values > 0].astype(int)
        assert content.sum() in (grey.sum(), (255 - grey).sum())
        assert not np.array_equal(values, film)
        seen.add(values.tobytes())
    assert len(seen) == 7


def blobs(count: int, centre: float) -> np.ndarray:
    return RNG.normal(centre, 1, (count, 40)).astype(np.float32)


def test_the_gate_keeps_what_it_promises_and_turns_others_away() -> None:
    chest, held_out, strangers = blobs(800, 0), (blobs(4000, 0), blobs(2000, 0.1)), blobs(600, 0.9)
    collections = np.where(np.arange(600) < 500, "made", "found")
    gaussian = gaussian_of(chest)
    gate = fit_gate(gaussian, chest, strangers, collections, seed=0).with_edges(held_out)
    for features in held_out:
        assert (gate.score(features) <= 0).mean() <= 2 * LOSES + 1e-3
        assert 2 * LOSES <= 0.005  # half a per cent of films is what may be lost
    assert (gate.score(blobs(500, 0.9)) <= 0).mean() > 0.95
    # Nothing like it was shown: the distance alone tells.
    assert (gate.score(blobs(50, -30)) <= 0).all()
    assert gate.hidden.shape[1] == NETWORKS * HIDDEN
    assert np.median(gate.parts(np.concatenate(held_out)), axis=0) == pytest.approx([1, 1], abs=0.01)
    tensors = gate.tensors()
    assert tensors["gate.mean"].shape == (40,)
    assert sum(tensor.numel() for tensor in tensors.values()) < 200_000
    card = passed(gate.score(strangers), collections)
    assert set(card) == {"made", "found"}
    assert card["found"]["pictures"] == 100


def test_a_kind_is_scored_by_a_gate_that_does_not_know_it() -> None:
    chest, held_out = blobs(500, 0), (blobs(500, 0),)
    near, far = blobs(100, 0.3), blobs(100, 0.9)
    values = np.zeros((200, 32, 32), np.uint8)
    about = Others(values, np.repeat(["a", "b"], 100), np.full(200, "made"))
    scores = unknown_kinds(gaussian_of(chest), chest, held_out, np.concatenate([near, far]), about, seed=0)
    assert (scores[100:] <= 0).mean() > 0.9
    # The others of its kind have no say in a picture's score.
    moved = np.concatenate([near, far[:50], -far[50:]])
    again = unknown_kinds(gaussian_of(chest), chest, held_out, moved, about, seed=0)
    np.testing.assert_array_equal(again[100:150], scores[100:150])
    assert not np.array_equal(again[:100], scores[:100])


def test_a_judge_learns_how_films_lie() -> None:
    """Dark above and bright below, with a dark left corner: no pose of it is like another."""
    y, x = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j]
    base = 60 + 120 * y - 50 * ((x < 0.4) & (y > 0.6))
    films = np.clip(base + RNG.normal(0, 8, (64, *base.shape)), 0, 255).astype(np.uint8)
    strangers = RNG.integers(0, 256, (32, SIDE, SIDE), dtype=np.uint8)
    quick = JudgeSettings(hidden=8, epochs=25, batch_size=16, others=4)
    judge = fit_judge(films, strangers, quick)
    assert fit_judge(films, strangers, quick).digest() == judge.digest()
    p = probabilities_of(judge, films[:16])
    assert (p.reshape(16, 8).argmax(1) == 0).all()
    for rate in rates(p, probabilities_of(judge, strangers)):
        assert rate.said == 0
        assert rate.films == 16
        assert rate.others == 32
