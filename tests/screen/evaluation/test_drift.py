"""`screen monitor`: a change is told, chance is not; what readers said; ledgers and files that are none."""

import csv
import html
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.decisions.drift import alarms, screen_films, verdicts_of
from benchmarks.material import devices as devices_made
from screen.cli import cli
from screen.codes import Reason
from screen.evaluation.chance import more_by_chance, other_by_chance, psi, psi_by_chance
from screen.evaluation.drift import FALSE_ALARMS, Device, Films, Watched, held_against_chance
from screen.evaluation.drift_files import COLUMNS
from screen.film import Identity
from screen.ledger import Ledger, Row
from tests.fake_rows import card, facts, identity, screened, unscreened
from tests.places import EXAMPLES

CARD = card()
FIRST = date(2026, 9, 7)
"""A Monday: week 37."""
OLD, SECOND, NEW = (Device("H1", maker, f"{maker} one") for maker in ("AGFA", "FUJI", "SIEMENS"))


def who(number: int, week: int, device: Device) -> Identity:
    return replace(
        identity(f"1.{number}", f"1.{number}.1", f"P{number}"),
        study_date=(FIRST + timedelta(weeks=week, days=number % 7)).strftime("%Y%m%d"),
        **device._asdict(),
    )


def film(number: int, week: int, device: Device, logit: float, **fields: object) -> Row:
    return screened(f"{number}.dcm", logit, identity=who(number, week, device), **fields)


def ledger(
    path: Path, rows: Iterable[Row], kept: str = "", *, finished: bool = True, **changes: object
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = kept or facts(replace(CARD, **changes)).to_json()  # type: ignore[arg-type]
    with Ledger.open(path) as opened:
        for at, row in enumerate(rows):
            opened.list_file(at, row.file, "token", None)
            opened.put(row, "token")
        if finished:
            opened.set_meta("facts", kept)
        opened.commit()
    return path


def monitor(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["monitor", *map(str, arguments)])
    return done.exit_code, done.output


def lines_of(out: Path) -> list[dict[str, str]]:
    with (out / "drift.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By maker, the ledger of a run: real films as its device gives them, screened like any others."""
    return screen_films(EXAMPLES, 48, tmp_path_factory.mktemp("devices"))


def rows_of(path: Path) -> list[Row]:
    with Ledger.open_readonly(path) as opened:
        return list(opened.listed_rows())


def facts_of(path: Path) -> str:
    with Ledger.open_readonly(path) as opened:
        return opened.meta("facts") or ""


def twelve_weeks(devices: dict[str, Path], seed: int) -> Iterator[list[Row]]:
    """80 films of one device and 40 of another a week; from the eighth on a new one in the first's place."""
    rng, numbers = np.random.default_rng(seed), itertools.count()
    old, new = (rows_of(devices[maker]) for maker in (devices_made.OLD, devices_made.NEW))
    for week in range(12):
        first = (old, OLD) if week < 7 else (new, NEW)
        yield [
            replace(pool[at], file=f"{number}.dcm", pixel_digest=f"{number}", identity=who(number, week, of))
            for (pool, of), films in ((first, 80), ((old, SECOND), 40))
            for at in rng.integers(len(pool), size=films)
            for number in [next(numbers)]
        ]


def test_a_new_device_is_told_once(tmp_path: Path, devices: dict[str, Path]) -> None:
    kept = facts_of(devices[devices_made.OLD])
    nights = [
        ledger(tmp_path / f"{at}" / "l", rows, kept) for at, rows in enumerate(twelve_weeks(devices, 0))
    ]
    out = tmp_path / "out"
    code, said = monitor(*nights, "--out", out)
    assert code == 0, said
    lines = lines_of(out)
    assert tuple(lines[0]) == COLUMNS and len(lines) == 24
    (alarm,) = [line for line in lines if line["alarm"]]
    assert (alarm["week"], alarm["manufacturer_model_name"]) == ("2026-W44", "SIEMENS one")
    assert "distance" in alarm["alarm"].split(";")
    assert float(alarm["psi"]) > float(alarm["psi_by_chance"])
    assert "alarm: 2026-W44, H1 · SIEMENS · SIEMENS one: " in said and "to normal films" in said
    assert said.splitlines()[-1] == f"1 alarm in 12 weeks: {out / 'drift.html'}"
    page = (out / "drift.html").read_text()
    assert "1 alarm" in page and "<svg" in page and "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    # The first week has nothing to be held against.
    assert lines[0]["psi"] == "" and lines[0]["films"] == "80"


def test_weeks_that_are_alike_raise_no_more_alarms_than_is_said(devices: dict[str, Path]) -> None:
    pool = verdicts_of(devices[devices_made.OLD])
    reports = 100
    with_alarm = sum(bool(alarms(pool, None, seed)) for seed in range(reports))
    assert with_alarm <= FALSE_ALARMS * reports


def some_films(rng: np.random.Generator, number: int) -> Films:
    films = Films(failed=int(rng.binomial(number, 0.02)), unlike_chest=int(rng.binomial(number, 0.03)))
    films.probabilities.extend(1 / (1 + np.exp(-rng.normal(-1, 1.2, number))))
    films.distances.extend(rng.uniform(0, 100, number))
    films.flagged = sum(p > 0.4 for p in films.probabilities)
    return films


def test_more_failures_and_doubtful_films_are_told() -> None:
    rng = np.random.default_rng(1)
    weeks = {(f"2026-W{week}", OLD): some_films(rng, 200) for week in (10, 11, 12)}
    weeks["2026-W12", OLD].failed = 25
    weeks["2026-W11", OLD].unlike_chest = 30
    alarms = [line.alarms for line in held_against_chance(weeks, {})]
    assert alarms == [(), ("unlike_chest",), ("failed",)]


def test_a_film_that_many_nights_met_counts_once_in_its_own_week(tmp_path: Path) -> None:
    rows = [film(0, 0, OLD, 3.0), film(1, 1, OLD, -3.0)]
    known = [replace(row, file=f"again/{row.file}", warnings=("known",)) for row in rows]
    broken = unscreened("cut.dcm", Reason.CORRUPT_PIXELS, declared_chest=True)
    first = ledger(tmp_path / "1", [*rows, broken])
    second = ledger(tmp_path / "2", [*known, replace(broken, warnings=("known",)), film(2, 1, OLD, 3.0)])
    assert monitor(first, second, "--out", tmp_path / "out")[0] == 0
    lines = {(line["week"], line["manufacturer"]): line for line in lines_of(tmp_path / "out")}
    assert [lines[week, "AGFA"]["films"] for week in ("2026-W37", "2026-W38")] == ["1", "2"]
    # A file whose tags nobody could read has the night's week, and no device.
    assert lines["2026-W48", ""]["failed"] == "1"
    assert float(lines["2026-W38", "AGFA"]["flagged"]) == 1


def test_reference_nights_come_before_and_are_not_reported(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    before = [film(n, 0, OLD, logit) for n, logit in enumerate(rng.normal(-1, 1, 300))]
    now = [film(1000 + n, 5, OLD, logit) for n, logit in enumerate(rng.normal(0, 1, 100))]
    parts = [ledger(tmp_path / f"r{at}", before[at::2]) for at in range(2)]
    last = ledger(tmp_path / "now", now)
    # As a shell gives what matches *: several behind one option.
    code, said = monitor(last, "--reference", *parts, "--out", tmp_path / "out")
    assert code == 0, said
    (line,) = lines_of(tmp_path / "out")
    assert (line["week"], line["films"], line["alarm"]) == ("2026-W42", "100", "flagged;scores")


def test_what_readers_said_counts_by_week(tmp_path: Path) -> None:
    rows = [film(n, n // 4, OLD, 3.0 if n != 7 else -3.0) for n in range(8)]
    night = ledger(tmp_path / "night", rows)
    said = ["study_instance_uid,weights_digest,finding,verdict,at"]
    for study, verdict in enumerate(("agree", "disagree", "unsure", *["agree"] * 5)):
        said.append(f"1.{study},{CARD.weights_digest},tumor,{verdict},2026-11-29T08:00:0{study}.000Z")
    said.append(f"1.4,{CARD.weights_digest},tumor,disagree,2026-11-29T09:00:00.000Z")  # on second thoughts
    said.append(f"1.5,{'cd' * 32},tumor,disagree,2026-11-29T09:00:00.000Z")  # of another model
    (tmp_path / "feedback.csv").write_text("\n".join(said) + "\n")
    code, told = monitor(night, "--feedback", tmp_path / "feedback.csv", "--out", tmp_path / "out")
    assert code == 0, told
    counted = [(line["agree"], line["disagree"]) for line in lines_of(tmp_path / "out")]
    assert counted == [("2", "1"), ("2", "1")]
    page = html.unescape((tmp_path / "out" / "drift.html").read_text())
    assert "2 of 3" in page
    assert "1 verdict on another model's flags left out" in page
    assert "1 verdict on studies that are not flagged in these nights left out" in page


@pytest.mark.parametrize(
    "text",
    [
        "study_instance_uid,verdict\n1.2,agree\n",
        "study_instance_uid,weights_digest,finding,verdict,at\n1.2,ab,tumor,maybe,2026\n",
        "study_instance_uid,weights_digest,finding,verdict,at\n,ab,tumor,agree,2026\n",
        'study_instance_uid,weights_digest,finding,verdict,at\n"1.2,ab\n',
        "",
    ],
)
def test_a_file_that_is_no_feedback_is_refused(tmp_path: Path, text: str) -> None:
    night = ledger(tmp_path / "night", [film(0, 0, OLD, 1.0)])
    (tmp_path / "f.csv").write_text(text)
    code, said = monitor(night, "--feedback", tmp_path / "f.csv", "--out", tmp_path / "out")
    assert code == 2 and json.loads(said)["message"].count("f.csv") == 1
    assert not (tmp_path / "out").exists()


def test_a_night_that_cannot_be_watched_is_refused(tmp_path: Path) -> None:
    night = ledger(tmp_path / "night", [film(0, 0, OLD, 1.0)])
    half = ledger(tmp_path / "half", [film(0, 0, OLD, 1.0)], finished=False)
    other = ledger(tmp_path / "other", [film(0, 0, OLD, 1.0)], weights_digest="ef" * 32)
    text = tmp_path / "text"
    text.write_text("no ledger")
    gone = tmp_path / "gone"
    for bad, why in ((half, "not finished"), (other, "another model"), (text, "text"), (gone, "no such")):
        code, said = monitor(bad, night, "--out", tmp_path / "out")
        assert code == 2 and why in said, said
    assert monitor("--reference", night, "--out", tmp_path / "out")[0] == 2


def test_names_of_devices_do_nothing(tmp_path: Path) -> None:
    evil = Device("=cmd()", "<script>alert(1)</script>", "a\x1b[2J\u202e")
    night = ledger(tmp_path / "night", [film(0, 0, evil, 1.0)])
    assert monitor(night, "--out", tmp_path / "out")[0] == 0
    (line,) = lines_of(tmp_path / "out")
    assert line["institution_name"] == "'=cmd()"
    page = (tmp_path / "out" / "drift.html").read_text()
    assert "<script" not in page and "\u202e" not in page and "\x1b" not in page


def test_chance_is_what_it_is() -> None:
    """Tails by hand (of 6 films, 3 hits: all in the same half is 1 of 20), and psi of equal shares is 0."""
    assert more_by_chance(3, 3, 0, 3) == pytest.approx(1 / 20)
    assert other_by_chance(3, 3, 0, 3) == pytest.approx(2 / 20)
    assert more_by_chance(0, 5, 4, 9) == pytest.approx(1)
    even = np.full(10, 30)
    assert psi(even, even * 2) == 0
    seen, limit, share = psi_by_chance(even * 100, np.array([20] * 10), 1e-3)
    assert seen == 0 and share == pytest.approx(1, abs=1e-3)
    # As measured by simulation for 200 films beside 20,000.
    assert psi_by_chance(even * 70, np.array([20] * 10), 1e-3)[1] == pytest.approx(0.09, abs=0.015)
    assert limit > 0
    shifted = np.array([5, 8, 11, 15, 18, 22, 25, 29, 32, 35])
    assert psi_by_chance(even * 100, shifted, 1e-4)[2] < 1e-4


def test_few_films_are_nothing_to_hold_others_against() -> None:
    rng = np.random.default_rng(3)
    weeks = {(f"2026-W0{week}", OLD): some_films(rng, 30) for week in (1, 2, 3)}
    lines: list[Watched] = held_against_chance(weeks, {})
    assert [line.psi is None for line in lines] == [True, True, False]
