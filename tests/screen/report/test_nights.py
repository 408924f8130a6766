"""Tonight beside the nights before: what is unusual, what is chance, and what the page says of it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from screen.decide import decision_from
from screen.decide.rates import share_by_chance
from screen.report import write_reports
from screen.report.nights import NewFiles, Night, beside, digest_of
from tests.fake_rows import ListedRows, card, facts, screened

CARD = card()
BALANCED = decision_from(CARD, None, None, None)
DECIDED = digest_of(BALANCED)


def before(*figures: tuple[int, int, int], decision: str = DECIDED) -> list[Night]:
    """(films, flagged, failed) of each night."""
    return [Night(f"2026-11-{at:02}T01:00:00+01:00", *night, decision) for at, night in enumerate(figures, 1)]


ALIKE = before((300, 30, 2), (280, 31, 0), (310, 25, 3))


@pytest.mark.parametrize(
    ("tonight", "unusual"),
    [
        (NewFiles(300, 30, 2), ()),
        (NewFiles(300, 45, 2), ()),
        (NewFiles(300, 60, 2), ("flagged",)),
        (NewFiles(300, 8, 2), ("flagged",)),
        (NewFiles(300, 30, 20), ("failed",)),
        (NewFiles(120, 12, 0), ("films",)),
        (NewFiles(700, 70, 4), ("films",)),
        (NewFiles(1, 1, 0), ("films",)),  # one flagged film is nothing unusual
        (NewFiles(0, 0, 0), ("films",)),
        (NewFiles(0, 0, 300), ("failed",)),
    ],
)
def test_what_is_unusual(tonight: NewFiles, unusual: tuple[str, ...]) -> None:
    assert beside(tonight, ALIKE, DECIDED).unusual == unusual


def test_nights_that_differ_widely_make_much_usual() -> None:
    """Weekends flag more: what a night before has had is no news."""
    nights = before((300, 20, 0), (300, 24, 0), (300, 90, 0))
    assert beside(NewFiles(300, 80, 0), nights, DECIDED).unusual == ()
    assert beside(NewFiles(300, 80, 0), nights[:2], DECIDED).unusual == ("flagged",)


def test_little_is_nothing_to_hold_against() -> None:
    few = before((20, 0, 0), (20, 0, 0))
    found = beside(NewFiles(40, 40, 40), few, DECIDED)
    assert (found.flagged, found.failed, found.films, found.unusual) == (None, None, None, ())
    assert beside(NewFiles(40, 40, 40), [], DECIDED).unusual == ()


def test_a_part_is_not_a_night_full_of_films() -> None:
    parts = [replace(night, part="1/2") for night in ALIKE]
    assert beside(NewFiles(900, 90, 4), parts, DECIDED).unusual == ()


def test_another_decision_flags_otherwise() -> None:
    nights = before((300, 300, 0), (300, 300, 0), decision="another")
    found = beside(NewFiles(300, 3, 0), nights, DECIDED)
    assert found.flagged is None and found.unusual == ()


@pytest.mark.parametrize(
    ("share", "trials", "further"), [(0.1, 300, 300), (0.02, 4000, 300), (0.3, 100, 40), (0.001, 300, 3000)]
)
def test_chance_keeps_within_its_range(share: float, trials: int, further: int) -> None:
    """Simulated: in about 1 of 100 nights it does not."""
    rng = np.random.default_rng(5)
    seen, later = rng.binomial(trials, share, 4000), rng.binomial(further, share, 4000)
    ranges = np.array([share_by_chance(int(hits), trials, further) for hits in seen])
    outside = np.mean((later / further < ranges[:, 0]) | (later / further > ranges[:, 1]))
    assert outside < 0.02


def written(out: Path, nights: Sequence[Night], flagged: int, films: int, **changes: object) -> str:
    rows = ListedRows([screened(f"{at}", 1.0 if at < flagged else -1.0) for at in range(films)])
    told = facts(CARD, nights=tuple(nights), **changes)
    write_reports(out, rows, BALANCED, told, lambda wanted: ((row, None) for row in wanted))
    return (out / "report.html").read_text("utf-8")


def test_the_page_shows_tonight_beside_them(tmp_path: Path) -> None:
    html = written(tmp_path, ALIKE, 60, 300)
    section = html[html.index('<section id="nights"') : html.index('<section id="scores"')]
    assert section.index("<b>tonight</b>") < section.index("2026-11-03 01:00") < section.index("2026-11-01")
    for figures in ("60 · 20.0% (15.9% – 24.9%)", "25 · 8.1% (5.5% – 11.6%)", "3 · 1.0%"):
        assert figures in section
    assert "More films flagged than in earlier nights: 60 of 300 (20.0%)." in html
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["new_files"] == {"films": 300, "flagged": 60, "failed": 0}
    assert [night["flagged"] for night in summary["nights_before"]] == [30, 31, 25]
    assert summary["beside_nights_before"]["unusual"] == ["flagged"]
    assert summary["beside_nights_before"]["films"] == [280, 313]


def test_a_usual_night_has_no_note(tmp_path: Path) -> None:
    html = written(tmp_path, ALIKE, 31, 300)
    assert "Tonight beside earlier nights" in html and "than in earlier nights" not in html


def test_a_night_without_a_new_film_has_no_usual_share(tmp_path: Path) -> None:
    html = written(tmp_path, ALIKE, 0, 0)
    assert "Tonight brought no new film." in html and "Usual:" not in html and "too few films" not in html
    found = json.loads((tmp_path / "summary.json").read_text())["beside_nights_before"]
    assert (found["flagged"], found["failed"], found["unusual"]) == (None, None, ["films"])


def test_without_known_nights_nothing_is_said(tmp_path: Path) -> None:
    html = written(tmp_path, [], 31, 300)
    assert "arlier nights" not in html and 'href="#nights"' not in html


def test_many_nights_are_a_few_lines(tmp_path: Path) -> None:
    html = written(tmp_path, before(*[(300, 30, 2)] * 28 * 2), 31, 300)
    assert html.count("30 · 10.0%") == 30 and "26 earlier nights in summary.json." in html
    assert html[: html.index("<summary>23 earlier nights")].count("30 · 10.0%") == 7


def test_ledgers_that_are_not_compared_are_counted(tmp_path: Path) -> None:
    html = written(tmp_path, [], 31, 300, counts={"known_ledgers_ignored": 2})
    assert "2 ledgers are not compared" in html


def test_another_threshold_is_another_decision() -> None:
    """Its card and what flags are the same."""
    assert digest_of(decision_from(CARD, None, 0.3, None)) != DECIDED
    assert digest_of(decision_from(CARD, None, None, None)) == DECIDED


def test_nights_of_another_decision_have_no_flags(tmp_path: Path) -> None:
    html = written(tmp_path, before((300, 123, 2), decision="another"), 31, 300)
    assert "counted under another decision" in html and "too few films" in html and "· 41.0%" not in html
