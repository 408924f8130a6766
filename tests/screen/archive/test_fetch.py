"""Films out of an archive: whole, once, under who they are now, whatever the archive does meanwhile."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from screen.archive import connection
from screen.archive.connection import Connection
from screen.archive.fetch import fetch, study_dates
from screen.archive.settings import Archive
from screen.errors import ArchiveError, InputError, LedgerError, ScreenError, UsageError
from screen.runs.progress import JsonLines
from tests.fake_archive import FakeArchive, Fault, serving
from tests.films import dicom
from tests.places import ROOT
from tests.test_nothing_leaves import HOOK

DATES = "20260102-20260102"
impatient = partial(Connection, pauses=(0.0, 0.0, 0.0, 0.0))


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """Three films in two studies."""
    return [
        dicom(tmp_path / "made" / "0.dcm", 0, study="1.2.3"),
        dicom(tmp_path / "made" / "1.dcm", 1, study="1.2.3"),
        dicom(tmp_path / "made" / "2.dcm", 2, study="1.2.4"),
    ]


@pytest.fixture
def archive(films: list[Path]) -> Iterator[FakeArchive]:
    with serving(FakeArchive().add(*films)) as archive:
        yield archive


def fetched(
    archive: FakeArchive, out: Path, modalities: tuple[str, ...] = ("DX", "CR"), timeout: float = 5
) -> int:
    code, _ = fetch(
        Archive("pacs", archive.url, timeout=timeout), out, DATES, modalities, JsonLines(), connect=impatient
    )
    return code


def table(out: Path) -> dict[str, tuple[str, str]]:
    """Status and reason by SOP Instance UID."""
    with (out / "fetch.csv").open(newline="") as file:
        return {line["sop_instance_uid"]: (line["status"], line["reason"]) for line in csv.DictReader(file)}


def lying(out: Path) -> list[bytes]:
    """The films that a run would find."""
    return sorted(path.read_bytes() for path in (out / "films").rglob("*") if path.is_file())


def test_every_film_comes_as_it_is_stored_and_only_once(
    archive: FakeArchive, films: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert fetched(archive, out) == 0
    assert lying(out) == sorted(film.read_bytes() for film in films)
    assert table(out) == dict.fromkeys(archive.held, ("fetched", ""))
    asked = [headers["Accept"] for kind, _, _, headers in archive.asked if kind == "film"]
    assert set(asked) == {'multipart/related; type="application/dicom"; transfer-syntax=*'}
    assert [path.stat().st_mode & 0o077 for path in out.rglob("*")] == [0] * len(list(out.rglob("*")))

    assert fetched(archive, out) == 0
    assert archive.count("film") == 3
    assert table(out) == dict.fromkeys(archive.held, ("present", ""))


def test_names_say_nothing_of_whom_they_show(archive: FakeArchive, tmp_path: Path) -> None:
    fetched(archive, tmp_path / "out")
    for path in (tmp_path / "out" / "films").rglob("*"):
        assert set(path.stem) <= set("0123456789abcdef"), path
        assert len(path.stem) == 32


def test_a_modality_is_asked_for_by_itself_and_page_by_page(archive: FakeArchive, tmp_path: Path) -> None:
    archive.page = 2
    assert fetched(archive, tmp_path / "out") == 0
    queries = [
        (q["Modality"], q["StudyDate"], q["offset"]) for kind, _, q, _ in archive.asked if kind == "query"
    ]
    assert queries == [
        *(("DX", DATES, "0"), ("DX", DATES, "2"), ("DX", DATES, "3")),
        ("CR", DATES, "0"),
    ]


def test_an_archive_that_knows_no_filter_gives_no_other_modality(
    archive: FakeArchive, films: list[Path], tmp_path: Path
) -> None:
    archive.deaf = True
    archive.change("1.2.3.2", modality="CT")
    assert fetched(archive, tmp_path / "out") == 0
    assert set(table(tmp_path / "out")) == {"1.2.3.1", "1.2.3.3"}


def test_an_archive_that_always_gives_the_same_full_page_may_have_more(tmp_path: Path) -> None:
    archive = FakeArchive(deaf=True, page=100)
    archive.add(*(dicom(tmp_path / "made" / f"{n}.dcm", n) for n in range(120)))
    with serving(archive):
        assert fetched(archive, tmp_path / "out") == 3
    assert table(tmp_path / "out")[""] == ("failed", "listing_repeats")
    assert len(lying(tmp_path / "out")) == 100


def test_nothing_found_is_a_failure_unless_it_may_be(archive: FakeArchive, tmp_path: Path) -> None:
    archive.held.clear()
    with pytest.raises(InputError, match="--allow-empty"):
        fetched(archive, tmp_path / "out")
    assert not (tmp_path / "out" / "fetch.csv").exists()
    target = Archive("pacs", archive.url)
    assert fetch(target, tmp_path / "out", DATES, ("DX",), JsonLines(), allow_empty=True)[0] == 0
    assert table(tmp_path / "out") == {}


def test_a_merged_patient_is_fetched_anew(archive: FakeArchive, films: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    fetched(archive, out)
    merged = dicom(tmp_path / "made" / "merged.dcm", 0, study="1.2.3", patient="PAT-78")
    archive.add(merged)
    assert fetched(archive, out) == 0
    assert table(out)["1.2.3.1"] == ("fetched", "changed")
    assert lying(out) == sorted(film.read_bytes() for film in (merged, *films[1:]))
    assert fetched(archive, out) == 0
    assert archive.count("film") == 4


def test_a_film_that_moved_to_another_study_lies_there_alone(
    archive: FakeArchive, films: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fetched(archive, out)
    moved = dicom(tmp_path / "made" / "moved.dcm", 1, study="1.2.4")
    archive.add(moved)
    assert fetched(archive, out) == 0
    assert table(out)["1.2.3.2"] == ("fetched", "changed")
    assert lying(out) == sorted(film.read_bytes() for film in (films[0], moved, films[2]))


def test_what_was_removed_is_fetched_again_while_it_is_listed(archive: FakeArchive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fetched(archive, out)
    next((out / "films").rglob("*.dcm")).unlink()
    assert fetched(archive, out) == 0
    assert len(lying(out)) == 3
    assert archive.count("film") == 4


@pytest.mark.parametrize("fault", ["drop", "cut", 500, 503, 429, 408])
def test_what_may_pass_is_tried_again(archive: FakeArchive, fault: Fault, tmp_path: Path) -> None:
    archive.faults["query"].extend([fault] * 4)
    archive.faults["film"].extend([None, fault, fault, fault, fault])
    assert fetched(archive, tmp_path / "out") == 0
    assert len(lying(tmp_path / "out")) == 3


def test_tries_are_made_at_once_and_after_1_4_and_16_seconds_each_on_a_fresh_connection(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(connection, "wait", lambda seconds, _: waited.append(seconds))
    archive.always["query"] = 503
    with pytest.raises(ArchiveError, match="in trouble"):
        fetch(Archive("pacs", archive.url), tmp_path / "out", DATES, ("DX",), JsonLines())
    assert waited == [0, 1, 4, 16]
    assert len(set(archive.ports)) == len(archive.ports) == 5


@pytest.mark.parametrize(
    ("fault", "reason", "tries"),
    [
        (404, "not_found", 1),
        (410, "not_found", 1),
        (400, "refused", 1),
        (409, "refused", 1),
        ("redirect", "refused", 1),
        (500, "server_error", 5),
        ("drop", "cut_short", 5),
        ("cut", "cut_short", 5),
        ("html", "unreadable", 1),
        ("gzip", "unreadable", 1),
        ("other", "unreadable", 1),
        ("two", "unreadable", 1),
    ],
)
def test_one_film_that_cannot_be_had_is_named_and_the_others_are_there(
    archive: FakeArchive, fault: Fault, reason: str, tries: int, tmp_path: Path
) -> None:
    archive.faults["film"].extend([fault] * tries)
    out = tmp_path / "out"
    assert fetched(archive, out) == 3
    assert sorted(table(out).values()) == [("failed", reason), ("fetched", ""), ("fetched", "")]
    assert len(lying(out)) == 2
    assert list((out / ".drafts").iterdir()) == []
    assert archive.count("film") == 2 + tries
    assert fetched(archive, out) == 0, "the next fetch brings it"
    assert len(lying(out)) == 3


def test_no_film_at_all_is_nothing_done(archive: FakeArchive, tmp_path: Path) -> None:
    archive.always["film"] = 404
    assert fetched(archive, tmp_path / "out") == 1
    assert set(table(tmp_path / "out").values()) == {("failed", "not_found")}


def test_an_answer_has_a_size_and_a_time(archive: FakeArchive, tmp_path: Path) -> None:
    archive.faults["film"].extend(["trickle"] * 5)
    started = time.monotonic()
    assert fetched(archive, tmp_path / "out", timeout=0.05) == 3
    assert time.monotonic() - started < 20
    assert ("failed", "timed_out") in table(tmp_path / "out").values()
    archive.faults["query"].append("endless")
    with pytest.raises(ArchiveError, match="larger than"):
        fetched(archive, tmp_path / "out")


def test_an_archive_that_stops_answering_ends_it(tmp_path: Path) -> None:
    archive = FakeArchive(always={"film": "drop"})
    archive.add(*(dicom(tmp_path / "made" / f"{n}.dcm", n) for n in range(12)))
    with serving(archive), pytest.raises(ArchiveError, match="cut short"):
        fetched(archive, tmp_path / "out")
    # Five films with all their tries, one with a single one.
    assert archive.count("film") == 5 * 5 + 1
    assert not (tmp_path / "out" / "fetch.csv").exists()


def test_one_that_hangs_is_waited_for_so_long(archive: FakeArchive, tmp_path: Path) -> None:
    archive.faults["query"].extend(["hang"] * 5)
    with pytest.raises(ArchiveError, match="does not answer"):
        fetched(archive, tmp_path / "out", timeout=0.1)


def test_a_dead_archive_leaves_the_earlier_films_and_no_table(archive: FakeArchive, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fetched(archive, out)
    dead = FakeArchive(url="http://127.0.0.1:9/dicom-web")
    with pytest.raises(ArchiveError, match=r"cannot be reached \(.*Connection refused\)"):
        fetched(dead, out)
    assert len(lying(out)) == 3
    assert not (out / "fetch.csv").exists(), "of another night, it would be taken for this one's"


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_a_matter_of_usage(archive: FakeArchive, status: int, tmp_path: Path) -> None:
    archive.always["query"] = status
    with pytest.raises(UsageError, match="user and secret"):
        fetched(archive, tmp_path / "out")
    assert archive.count("query") == 1


@pytest.mark.parametrize("fault", ["html", "redirect", 404])
def test_an_address_that_is_no_archive_is_said(archive: FakeArchive, fault: Fault, tmp_path: Path) -> None:
    archive.always["query"] = fault
    with pytest.raises(ArchiveError, match="url"):
        fetched(archive, tmp_path / "out")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'["a"]',
        b"[" * 100_000 + b"]" * 100_000,
        b'[{"00080018": 1, "0020000D": {"Value": "x"}, "0020000E": {"Value": [{"a": 1}]}}]',
        b'[{"00080018": {"Value": ["../../x"]}, "0020000D": {"Value": ["1"]}, "0020000E": {"Value": ["1"]}}]',
        b'[{"00080018": {"Value": ["\\ud800\\u0000\\n=1"]}, "0020000D": {"Value": ["1.2"]}}]',
        b'[{"00080018": {"Value": [' + b"1" * 5000 + b"]}}]",
    ],
)
def test_hostile_lists_name_no_file_and_end_in_order(
    archive: FakeArchive, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "dumps", lambda *_: body.decode())
    out = tmp_path / "out"
    progress = JsonLines.__new__(JsonLines)
    progress.event = lambda *_, **__: None  # type: ignore[method-assign]
    progress.tick = lambda *_: None  # type: ignore[method-assign]
    target = Archive("pacs", archive.url)
    try:
        code, _ = fetch(target, out, DATES, ("DX",), progress, connect=impatient)
    except ScreenError as error:
        assert error.exit_code == 1
    else:
        assert code == 1
        assert {reason for _, reason in table(out).values()} == {"bad_uid"}
    assert archive.count("film") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"made", "out"}


def test_a_uid_in_two_studies_is_somebodys_mistake(
    archive: FakeArchive, films: list[Path], tmp_path: Path
) -> None:
    twin = dicom(tmp_path / "made" / "twin.dcm", 0, study="1.2.5")
    archive.add(twin)
    archive.held["again"] = archive.held.pop("1.2.3.1")
    archive.add(films[0])
    assert fetched(archive, tmp_path / "out") == 3
    with (tmp_path / "out" / "fetch.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["sop_instance_uid"] == "1.2.3.1"]
    assert [(line["study_instance_uid"], line["status"], line["reason"]) for line in lines] == [
        ("1.2.3", "fetched", ""),
        ("1.2.5", "failed", "in_two_studies"),
    ]


def test_a_full_disk_ends_it_and_leaves_no_half_film(
    archive: FakeArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def full(path: Path, target: Path) -> Path:
        if (tmp_path / "out" / "films").exists() and lying(tmp_path / "out"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(LedgerError, match="No space left"):
        fetched(archive, tmp_path / "out")
    monkeypatch.undo()
    assert len(lying(tmp_path / "out")) == 1
    assert list((tmp_path / "out" / ".drafts").iterdir()) == []
    assert fetched(archive, tmp_path / "out") == 0
    assert archive.count("film") == 4


def test_films_do_not_lie_in_a_runs_folder(archive: FakeArchive, tmp_path: Path) -> None:
    (tmp_path / "night" / "films").mkdir(parents=True)
    (tmp_path / "night" / "ledger.sqlite").touch()
    with pytest.raises(UsageError, match="side by side"):
        fetched(archive, tmp_path / "night" / "films")
    with pytest.raises(UsageError, match="not empty"):
        fetched(archive, tmp_path / "night")


def test_dates() -> None:
    today = date(2026, 3, 1)
    assert study_dates("2d", None, today) == "20260227-"
    assert study_dates("2026-02-03", "1d", today) == "20260203-20260228"
    for since, until in (("3", None), ("-1d", None), ("1d", "2d"), ("2026-02-30", None)):
        with pytest.raises(UsageError):
            study_dates(since, until, today)


def command(archive: FakeArchive, home: Path, *arguments: str) -> list[str]:
    """`screen fetch pacs`, and archives.toml in the home that it is started in."""
    (home / ".config" / "cxr-screen").mkdir(parents=True, exist_ok=True)
    (home / ".config" / "cxr-screen" / "archives.toml").write_text(
        f'[pacs]\nurl = "{archive.url}"\ntimeout = 5\n'
    )
    return [sys.executable, "-m", "screen", "fetch", "pacs", "--since", "2026-01-01", *arguments]


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}


def test_the_command_calls_the_archive_alone_and_leaves_nothing_in_the_home(
    archive: FakeArchive, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    line = command(archive, home, "--out", str(tmp_path / "out"))
    hook, calls = tmp_path / "hook", tmp_path / "calls"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK.format(said=str(calls)))
    watched = environment(home) | {"PYTHONPATH": f"{hook}{os.pathsep}{ROOT}"}
    done = subprocess.run(line, env=watched, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["event"] for event in events] == ["start", "finished"]
    assert events[-1]["fetched"] == 3
    assert "PAT-77" not in done.stderr
    assert [path.name for path in home.rglob("*") if path.is_file()] == ["archives.toml"]
    port = urlsplit(archive.url).port
    assert calls.read_text()
    for call in calls.read_text().splitlines():
        assert f"('127.0.0.1', {port})" in call or f"('127.0.0.1', {port}, " in call


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_or_killed_anywhere_it_goes_on_where_it_was(
    films: list[Path], sent: signal.Signals, tmp_path: Path
) -> None:
    out, home = tmp_path / "out", tmp_path / "home"
    archive = FakeArchive().add(*(dicom(tmp_path / "made" / f"{n}.dcm", n) for n in range(40)))
    with serving(archive):
        line = command(archive, home, "--out", str(out))
        process = subprocess.Popen(line, env=environment(home), stderr=subprocess.PIPE)
        while archive.count("film") < 5:
            time.sleep(0.005)
        process.send_signal(sent)
        process.communicate()
        assert process.returncode in (143, -9, 0)
        assert not (out / "fetch.csv").exists() or process.returncode == 0
        assert all(data in {held.data for held in archive.held.values()} for data in lying(out))
        before = archive.count("film")
        assert subprocess.run(line, env=environment(home), capture_output=True).returncode == 0
        assert lying(out) == sorted(held.data for held in archive.held.values())
        # At most the one that was on its way, and the one whose name was not noted yet.
        assert archive.count("film") <= 42
        assert before > 0
