"""Nights given with `--known`, in figures: counted as tonight is, and read from ledgers of anybody."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from screen.codes import Reason
from screen.decide import Decision, decision_from
from screen.errors import UsageError
from screen.ledger import Expected, Known, Ledger, Row
from screen.report import RunFacts
from screen.report.nights import Night, digest_of
from screen.runs.nights import nights_before
from tests.fake_rows import GRID, card, facts, identity, screened, unscreened

CARD = card()
BALANCED = decision_from(CARD, None, None, None)
SETTINGS = {"weights_digest": CARD.weights_digest, "decode_policy": "full", "identifiers": "full"}
STARTED = "2026-11-23T02:00:00+01:00"


def ledger(path: Path, rows: Iterable[Row], kept: str | None, **settings: str) -> Path:
    with Ledger.open(path) as opened:
        opened.set_settings({**SETTINGS, **settings})
        for at, row in enumerate(rows):
            opened.list_file(at, row.file, "token", None)
            opened.put(row, "token")
        opened.set_meta("facts", kept)
        opened.commit()
    return path


def started(at: str, **changes: Any) -> str:
    return facts(CARD, started=at, **changes).to_json()


def nights(tmp_path: Path, paths: Sequence[Path], decision: Decision = BALANCED) -> tuple[Night, ...]:
    expected = Expected(1, GRID, CARD.weights_digest)
    with Known(paths, SETTINGS, expected, tmp_path / "own.sqlite") as known:
        return nights_before(known, decision, lambda: None)


def rows() -> list[Row]:
    return [
        screened("a.dcm", 3.0, identity=identity("1.1", "1.1.1", "P1")),
        screened("b.dcm", -3.0, identity=identity("1.2", "1.2.1", "P2")),
        screened("old.dcm", 3.0, identity=identity("1.3", "1.3.1", "P3"), warnings=("known",)),
        screened("holiday.png", 3.0, gate=-9.0),
        unscreened("cut.dcm", Reason.CORRUPT_PIXELS),
        unscreened("still-cut.dcm", Reason.CORRUPT_PIXELS, warnings=("known",)),
        unscreened("notes.txt", Reason.NOT_AN_IMAGE),
    ]


def test_a_night_is_what_was_new_in_it_decided_as_tonight(tmp_path: Path) -> None:
    path = ledger(tmp_path / "a", rows(), started(STARTED))
    assert nights(tmp_path, [path]) == (Night(STARTED, 2, 1, 1, digest_of(BALANCED)),)
    everything = decision_from(CARD, None, 0.0, None)
    assert nights(tmp_path, [path], everything) == (Night(STARTED, 2, 2, 1, digest_of(everything)),)


def test_nights_stand_in_the_order_of_their_times_each_once(tmp_path: Path) -> None:
    late = ledger(tmp_path / "late", rows(), started("2026-11-24T01:00:00+01:00"))
    # An hour later by the clock, and two hours earlier.
    early = ledger(tmp_path / "early", rows(), started("2026-11-24T02:00:00+04:00"))
    copy = ledger(tmp_path / "copy", rows(), started("2026-11-24T01:00:00+01:00"))
    found = nights(tmp_path, [late, copy, early, late])
    assert [night.started[11:] for night in found] == ["02:00:00+04:00", "01:00:00+01:00"]


def test_what_is_no_night_like_this_is_left_out(tmp_path: Path) -> None:
    stopped = ledger(tmp_path / "stopped", rows(), None)
    other = ledger(tmp_path / "other", rows(), started(STARTED), weights_digest="ef" * 32)
    pseudonyms = ledger(tmp_path / "pseudonyms", rows(), started(STARTED), identifiers="pseudonym:0")
    assert nights(tmp_path, [stopped, other, pseudonyms]) == ()
    part = ledger(tmp_path / "part", rows(), started(STARTED), part="2/3")
    assert [night.part for night in nights(tmp_path, [part])] == ["2/3"]


def test_a_night_brings_along_those_that_it_was_beside(tmp_path: Path) -> None:
    first = Night("2026-11-21T01:00:00+01:00", 300, 30, 2, "ab" * 32)
    told_otherwise = Night(STARTED, 9, 9, 9, "ab" * 32)
    early = ledger(tmp_path / "early", rows(), started(STARTED))
    late = ledger(
        tmp_path / "late", rows(), started("2026-11-24T01:00:00+01:00", nights=(first, told_otherwise))
    )
    found = nights(tmp_path, [early, late])
    assert [(night.started[8:10], night.films) for night in found] == [("21", 300), ("23", 2), ("24", 2)]
    assert found[0].decision != digest_of(BALANCED) == found[1].decision
    alone = nights(tmp_path, [late])
    assert [night.films for night in alone] == [300, 9, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"films": -1},
        {"films": 1.0},
        {"films": True},
        {"films": 10**13},
        {"flagged": 301},
        {"failed": "2"},
        {"started": "yesterday"},
        {"decision": "<b>"},
        {"part": "3/2"},
        {"part": 7},
    ],
)
def test_a_night_brought_along_that_is_none_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    night = replace(Night("2026-11-21T01:00:00+01:00", 300, 30, 2, "ab" * 32), **changes)
    path = ledger(tmp_path / "bad", rows(), started(STARTED, nights=(night,)))
    with pytest.raises(UsageError, match=f"--known {path}: damaged"):
        nights(tmp_path, [path])


@pytest.mark.parametrize(
    "kept",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        started("<script>alert(1)</script>"),
        started("2026-11-23T02:00:00"),
        started(STARTED).replace(f'"{STARTED}"', "7"),
        started(STARTED).replace('"nights":[]', '"nights":[7]'),
        started(STARTED).replace('"nights":[]', '"nights":7'),
        started(STARTED).replace('"nights":[]', '"nights":[{}]'),
    ],
)
def test_facts_that_are_none_are_refused_by_name(tmp_path: Path, kept: str) -> None:
    path = ledger(tmp_path / "bad", rows(), kept)
    with pytest.raises(UsageError, match=f"--known {path}: damaged"):
        nights(tmp_path, [path])


def test_a_part_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    path = ledger(tmp_path / "bad", rows(), started(STARTED), part="<b>")
    with pytest.raises(UsageError, match=f"--known {path}: damaged"):
        nights(tmp_path, [path])


def test_a_listing_without_its_rows_is_refused_by_name(tmp_path: Path) -> None:
    path = ledger(tmp_path / "bad", rows(), started(STARTED))
    with Ledger.open(path) as opened:
        opened.list_file(99, "nowhere.dcm", "token", None)
        opened.commit()
    with pytest.raises(UsageError, match=f"--known {path}: damaged"):
        nights(tmp_path, [path])


def test_facts_keep_nights_and_take_those_of_other_versions() -> None:
    night = Night(STARTED, 2, 1, 1, "d", "1/2")
    kept = replace(facts(CARD), nights=(night,)).to_json()
    assert RunFacts.from_json(kept).nights == (night,)
    plain = json.loads(kept)
    plain["nights"][0]["later"] = 1
    assert RunFacts.from_json(json.dumps(plain)).nights == (night,)
    del plain["nights"]
    assert RunFacts.from_json(json.dumps(plain)).nights == ()
