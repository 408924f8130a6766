"""Reports of nights of any size and shape: no memory and no work that grows faster than the night."""

import json
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from screen.codes import Reason
from screen.decide import decision_from
from screen.decide.scratch import Scratch
from screen.errors import LedgerError
from screen.ledger import FilmKey, Row
from screen.report import write_reports, writing
from tests.fake_rows import ListedRows, card, facts, identity, screened, unscreened

CARD = card()
BALANCED = decision_from(CARD, None, None, None)
FEW, MANY = 900, 2100
"""The page's lists are full with either."""


@dataclass
class Generated:
    """Rows that are made when they are read, and counted."""

    make: Callable[[int], Row]
    number: int
    read: int = 0

    def __iter__(self) -> Iterator[Row]:
        return map(self.__getitem__, range(self.number))

    def __getitem__(self, position: int) -> Row:
        self.read += 1
        return self.make(position)

    def film_keys(self) -> Iterator[FilmKey]:
        for position in range(self.number):
            for key in ListedRows([self.make(position)]).film_keys():
                yield key._replace(position=position)


class Counting(Scratch):
    """Counts what SQLite does, in hundreds of its virtual machine's steps."""

    steps = 0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        Counting.steps = 0
        self._db.set_progress_handler(self._count, 100)

    @staticmethod
    def _count() -> int:
        Counting.steps += 1
        return 0


def gone(rows: Iterable[Row]) -> Iterator[tuple[Row, None]]:
    return ((row, None) for row in rows)


def flagged_study(at: int) -> Row:
    return screened(f"{at}.dcm", 2.0 + at % 7, identity=identity(f"1.{at}", f"9.{at}", "P"))


def one_study(at: int) -> Row:
    return screened(f"{at}.dcm", 1.0, identity=identity("1.2", f"9.{at}", "P"), warnings=("no_window",))


def one_film(at: int) -> Row:
    return screened(f"{at}.dcm", 1.0, identity=identity("1.2", "9.1", "P"), pixel_digest="d")


def one_uid(at: int) -> Row:
    return screened(f"{at}.dcm", 1.0, identity=identity(f"1.{at}", "9.1", "P"))


def copies_far_apart(at: int) -> Row:
    film = at % 300
    return screened(f"{at}.dcm", 1.0, identity=identity("1.2", f"9.{film}", "P"), pixel_digest=f"{film}")


def pictures(at: int) -> Row:
    return screened(f"{at}.png", 1.0)


def unread(at: int) -> Row:
    who = identity(f"1.{at // 2}", f"9.{at}", "P")
    if at % 4 == 1:
        return screened(f"{at}.dcm", 1.0, identity=who)
    return unscreened(f"{at}.dcm", Reason.CORRUPT_PIXELS, identity=who, declared_chest=True, detail="short")


SHAPES: list[tuple[Callable[[int], Row], dict[str, int]]] = [
    (flagged_study, {"cases_listed": MANY, "duplicates": 0}),
    (one_study, {"cases_listed": 1, "images_flagged": MANY}),
    (one_film, {"cases_listed": 1, "duplicates": MANY - 1}),
    (one_uid, {"cases_listed": MANY, "duplicates": 0}),
    (copies_far_apart, {"cases_listed": 1, "images_screened": 300, "duplicates": MANY - 300}),
    (pictures, {"cases_listed": MANY}),
    (unread, {"cases_listed": MANY // 4, "images_screened": MANY // 4}),
]


@pytest.mark.parametrize(("shape", "expected"), SHAPES, ids=[shape.__name__ for shape, _ in SHAPES])
def test_memory_stays_flat_and_work_grows_with_the_rows(
    shape: Callable[[int], Row],
    expected: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "Scratch", Counting)
    write_reports(tmp_path, Generated(shape, 1), BALANCED, facts(CARD), gone)  # what is loaded only once
    peaks, steps, read = [], [], []
    for number in (FEW, MANY):
        rows = Generated(shape, number)
        tracemalloc.start()
        write_reports(tmp_path, rows, BALANCED, facts(CARD), gone)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        steps.append(Counting.steps)
        read.append(rows.read)
    assert peaks[1] - peaks[0] < 400_000  # 1,200 rows and verdicts are more than twice that
    assert steps[1] < 1.5 * MANY / FEW * steps[0]
    assert read[1] < 3 * MANY + 1000  # in order, for cases or groups, and what the page and pictures need
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {name: summary[name] for name in expected} == expected
    assert (tmp_path / "results.csv").read_bytes().count(b"\n") == MANY + 1
    assert (tmp_path / "flagged.csv").read_bytes().count(b"\n") == summary["cases_listed"] + 1


def test_a_disk_that_fills_up_is_said_and_leaves_the_earlier_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Scratch):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            self._db.execute("PRAGMA max_page_count = 12")

    write_reports(tmp_path, Generated(pictures, 3), BALANCED, facts(CARD), gone)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    monkeypatch.setattr(writing, "Scratch", Full)
    with pytest.raises(LedgerError, match=r"cannot be written \(database or disk is full\)"):
        write_reports(tmp_path, Generated(pictures, 2000), BALANCED, facts(CARD), gone)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
