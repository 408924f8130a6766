"""Which films an epoch sees, and which of them are paired."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.sampling import MOST, epoch_order, groups_of, partners, repeats

SOURCES = np.array(["a"] * 900 + ["b"] * 100 + ["c"] * 3)


def share(order: np.ndarray, source: str) -> float:
    return float((SOURCES[order] == source).mean())


def test_as_they_come_every_film_comes_once() -> None:
    order = epoch_order(SOURCES, 1, 0, 0)
    assert sorted(order) == list(range(len(SOURCES)))
    assert sorted(epoch_order(np.full(50, ""), 0.5, 0, 0)) == list(range(50))


def test_the_square_root_lessens_large_sources_and_no_film_comes_too_often() -> None:
    order = epoch_order(SOURCES, 0.5, 0, 0)
    # sqrt(900) : sqrt(100) is 3 : 1, which would be 250 draws of 100 films; MOST allows 200.
    assert share(order, "b") == pytest.approx(MOST * 100 / 1003, abs=0.002)
    assert (SOURCES[order] == "c").sum() == MOST * 3
    assert len(order) == len(SOURCES)
    counts = np.bincount(order, minlength=len(SOURCES))
    assert counts[:900].max() == 1
    assert set(counts[900:]) == {MOST}


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8), power=st.floats(0, 1), seed=st.integers(0, 99)
)
def test_an_epoch_is_as_long_as_there_are_films(sizes: list[int], power: float, seed: int) -> None:
    sources = np.repeat([f"s{i}" for i in range(len(sizes))], sizes)
    wanted = repeats(sources, power)
    assert wanted.sum() == pytest.approx(len(sources))
    assert wanted.max() <= MOST + 1e-9
    first, second = (epoch_order(sources, power, seed, epoch) for epoch in (0, 1))
    assert len(first) == len(second)
    assert abs(len(first) - len(sources)) <= len(sizes) / 2 + 1
    assert np.abs(np.bincount(first, minlength=len(sources)) - wanted).max() <= 1.5
    assert np.array_equal(first, epoch_order(sources, power, seed, 0))


def test_partners_are_other_films_of_the_patient_and_all_alike() -> None:
    patients = np.array(["p", "", "q", "p", "", "p", "r"])
    groups = groups_of(patients)
    films = np.tile(np.arange(7), 2000)
    paired = partners(films, groups, 1.0, 0, 0)
    assert np.array_equal(groups[paired], groups[films])
    alone = np.isin(films, [1, 2, 4, 6])
    assert np.array_equal(paired[alone], films[alone])
    assert (paired[~alone] != films[~alone]).all()
    of_first = paired[films == 0]
    assert set(of_first) == {3, 5}
    assert 0.45 < (of_first == 3).mean() < 0.55
    some = partners(films, groups, 0.25, 0, 0)
    assert 0.2 < (some != films)[~alone].mean() < 0.3
    assert np.array_equal(partners(films, groups, 0.0, 0, 0), films)
    assert np.array_equal(paired, partners(films, groups, 1.0, 0, 0))
    assert not np.array_equal(paired, partners(films, groups, 1.0, 0, 1))
