"""Films opened again for pictures: as many at a time as there is room for, each with its own row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from screen.decode import Decoded, DecodePool, Outcome
from screen.discover import Source
from screen.ledger import Ledger, Row
from screen.preprocess import Geometry
from screen.runs.reopen import Reopener
from screen.runs.stopping import StoppedError
from screen.shortcuts import FULL
from tests.fake_rows import SIZE, identity, screened


class Pool:
    """Room for four; the last one that came is done first. A film's one grey value is its file's number."""

    def __init__(self) -> None:
        self.waiting: list[Source] = []
        self.most = 0

    map = DecodePool.map

    @property
    def in_flight(self) -> int:
        return len(self.waiting)

    @property
    def has_room(self) -> bool:
        return len(self.waiting) < 4

    def submit(self, source: Source) -> None:
        self.waiting.append(source)
        self.most = max(self.most, len(self.waiting))

    def collect(self, timeout: float) -> list[tuple[Source, Outcome]]:
        if not self.waiting:
            return []
        source = self.waiting.pop()
        grey = int(source.path.stem)
        digest = "another" if grey == 5 else source.key
        square = np.full((SIZE, SIZE), grey, np.uint8)
        film = Decoded(identity(), digest, "numpy", False, (), Geometry.fit(SIZE, SIZE, SIZE), square, FULL)
        return [(source, Outcome(film, 0.0, 0.0))]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        for at in range(12):
            path = tmp_path / f"{at}.png"
            if at != 3:
                path.touch()
            ledger.list_file(at, f"film {at}", "1", path)
        yield ledger


def rows() -> Iterator[Row]:
    return (screened(f"film {at}") for at in range(12))


def test_films_are_read_side_by_side_and_keep_their_rows(ledger: Ledger) -> None:
    pool: Any = Pool()
    found = {row.file: square for row, square in Reopener(ledger, lambda: pool, lambda: None).squares(rows())}
    assert pool.most == 4
    greys = {file: None if square is None else int(square[0, 0]) for file, square in found.items()}
    # 3 is gone, 5 is another film by now.
    assert greys == {f"film {at}": None if at in (3, 5) else at for at in range(12)}


def test_a_stop_unwinds(ledger: Ledger) -> None:
    def stopped() -> None:
        raise StoppedError

    pool: Any = Pool()
    with pytest.raises(StoppedError):
        list(Reopener(ledger, lambda: pool, stopped).squares(rows()))
    assert pool.most <= 4
