"""Results into an archive: named and found, into the right patient's study, and none twice."""

import csv
import errno
import hashlib
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pydicom
import pytest

from screen.archive.connection import Connection
from screen.archive.send import send
from screen.archive.settings import Archive
from screen.errors import ArchiveError, LedgerError, UsageError
from screen.ledger import DicomObject, Ledger
from screen.runs.folder import LEDGER_NAME
from screen.runs.progress import JsonLines
from tests.fake_archive import FakeArchive, Fault, serving
from tests.films import dicom
from tests.screen.archive.test_fetch import command, environment

impatient = partial(Connection, pauses=(0.0, 0.0, 0.0, 0.0))
STUDIES = ("1.2.3", "1.2.3", "1.2.4", "1.2.5")


def made_object(night: Path, number: int, study: str, patient: str = "PAT-77") -> DicomObject:
    """One of ours, as far as sending goes."""
    uid = f"2.25.{number + 1}"
    path = dicom(night / "dicom" / f"{uid}.dcm", number, sop=uid, study=study, patient=patient)
    ds = pydicom.dcmread(path)
    ds.SeriesInstanceUID = f"2.25.{1000 + number}"
    ds.save_as(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return DicomObject(
        sop_instance_uid=uid,
        series_instance_uid=ds.SeriesInstanceUID,
        kind="sr",
        study_instance_uid=study,
        patient_id=patient,
        film="",
        says="0" * 64,
        decided_at="2026-01-02T03:04:05+00:00",
        digest=digest,
    )


def make_night(night: Path, objects: list[DicomObject]) -> Path:
    with Ledger.open(night / LEDGER_NAME) as ledger:
        for made in objects:
            ledger.put_object(made)
        ledger.commit()
    with (night / "dicom.csv").open("w") as table:
        table.write("study_instance_uid,kind,sop_instance_uid,status\n")
        for made in objects:
            table.write(f"{made.study_instance_uid},sr,{made.sop_instance_uid},made\n")
        table.write("1.2.9,sr,,skipped\n1.2.9,sr,2.25.99,known\n")
    return night


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """Four objects of three studies."""
    folder = tmp_path / "night"
    return make_night(folder, [made_object(folder, n, study) for n, study in enumerate(STUDIES)])


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[FakeArchive]:
    """It has the films of these studies."""
    films = (
        dicom(tmp_path / "made" / f"{n}.dcm", n, sop=f"1.9.{n}", study=study)
        for n, study in enumerate(sorted(set(STUDIES)))
    )
    with serving(FakeArchive().add(*films)) as archive:
        yield archive


def sent(archive: FakeArchive, night: Path, *, batch: int = 10, dry_run: bool = False) -> int:
    code, _ = send(
        Archive("pacs", archive.url, batch=batch, timeout=5),
        night,
        JsonLines(),
        dry_run=dry_run,
        connect=impatient,
        proved_within=0.6,
    )
    return code


def ends(night: Path) -> list[tuple[str, str]]:
    """Status and reason of each object, in order."""
    with (night / "send.csv").open(newline="") as file:
        return [(line["status"], line["reason"]) for line in csv.DictReader(file)]


@pytest.mark.parametrize("batch", [1, 3, 10])
def test_all_are_stored_in_their_studies_and_none_twice(
    archive: FakeArchive, night: Path, batch: int
) -> None:
    assert sent(archive, night, batch=batch) == 0
    assert ends(night) == [("stored", "")] * 4
    assert archive.stored == ["2.25.1", "2.25.2", "2.25.3", "2.25.4"]
    for n, study in enumerate(STUDIES):
        held = archive.held[f"2.25.{n + 1}"]
        assert held.study == study
        assert held.data == (night / "dicom" / f"2.25.{n + 1}.dcm").read_bytes()
    assert archive.count("store") == -(-4 // batch)

    asked = len(archive.asked)
    assert sent(archive, night, batch=batch) == 0
    assert ends(night) == [("present", "")] * 4
    assert len(archive.asked) == asked, "the ledger knows: nobody is asked"


def test_another_archive_has_none_of_it(archive: FakeArchive, night: Path) -> None:
    assert sent(archive, night) == 0
    with serving(FakeArchive(held={k: v for k, v in archive.held.items() if k.startswith("1.")})) as other:
        assert sent(other, night) == 0
        assert len(other.stored) == 4


def test_a_dry_run_asks_and_sends_nothing(archive: FakeArchive, night: Path) -> None:
    del archive.held["1.9.1"]
    assert sent(archive, night, dry_run=True) == 3
    assert ends(night) == [("to_send", ""), ("to_send", ""), ("failed", "study_unknown"), ("to_send", "")]
    assert archive.count("store") == 0
    assert sent(archive, night) == 3
    assert len(archive.stored) == 3


def test_a_study_that_the_archive_has_not_is_not_founded(archive: FakeArchive, night: Path) -> None:
    archive.held.clear()
    assert sent(archive, night) == 3
    assert ends(night) == [("failed", "study_unknown")] * 4
    assert archive.count("store") == 0


def test_a_merged_patient_gets_no_result_of_another(archive: FakeArchive, night: Path) -> None:
    archive.change("1.9.0", patient="PAT-78")
    assert sent(archive, night) == 3
    assert ends(night)[:2] == [("failed", "patient_differs")] * 2
    assert archive.stored == ["2.25.3", "2.25.4"]
    archive.change("1.9.0", patient="PAT-77")
    assert sent(archive, night) == 0
    assert archive.stored == ["2.25.3", "2.25.4", "2.25.1", "2.25.2"]


def test_one_that_is_refused_takes_no_other_with_it(archive: FakeArchive, night: Path) -> None:
    archive.refuses["2.25.2"] = 0xA700
    assert sent(archive, night) == 3
    assert ends(night) == [("stored", ""), ("failed", "refused_A700"), ("stored", ""), ("stored", "")]
    archive.refuses.clear()
    assert sent(archive, night) == 0
    assert archive.stored.count("2.25.1") == 1


@pytest.mark.parametrize("fault", [400, 409, 413])
def test_a_batch_of_which_nothing_is_said_is_sent_one_by_one(
    archive: FakeArchive, night: Path, fault: Fault
) -> None:
    archive.faults["store"].append(fault)
    assert sent(archive, night) == 0
    assert archive.count("store") == 5


def test_what_is_not_named_is_not_stored(archive: FakeArchive, night: Path) -> None:
    archive.always["store"] = "html"
    assert sent(archive, night) == 1
    assert ends(night) == [("failed", "not_named")] * 4


def test_what_no_query_finds_is_unproved_and_asked_for_first(archive: FakeArchive, night: Path) -> None:
    archive.index_after = 1000
    assert sent(archive, night) == 3
    assert ends(night) == [("failed", "unproved")] * 4
    archive.unseen.clear()
    assert sent(archive, night) == 0
    assert ends(night) == [("present", "")] * 4
    assert len(archive.stored) == 4


def test_a_slow_index_is_waited_for(archive: FakeArchive, night: Path) -> None:
    archive.index_after = 3
    assert sent(archive, night) == 0
    assert ends(night) == [("stored", "")] * 4


@pytest.mark.parametrize("fault", ["drop", "cut", 500, 503])
def test_what_may_pass_is_tried_again(archive: FakeArchive, night: Path, fault: Fault) -> None:
    archive.faults["store"].extend([fault] * 4)
    assert sent(archive, night) == 0
    assert sorted(set(archive.stored)) == ["2.25.1", "2.25.2", "2.25.3", "2.25.4"]


def test_a_lost_answer_is_asked_for_by_the_next_send(archive: FakeArchive, night: Path) -> None:
    archive.faults["store"].extend(["drop"] * 5)
    assert sent(archive, night) == 1
    assert ends(night) == [("failed", "cut_short")] * 4
    before = len(archive.stored)
    assert sent(archive, night) == 0
    assert ends(night) == [("present", "")] * 4
    assert len(archive.stored) == before


def test_an_archive_that_is_down_is_given_up(archive: FakeArchive, night: Path) -> None:
    archive.always["query"] = 500
    with pytest.raises(ArchiveError, match="in trouble"):
        sent(archive, night)
    with pytest.raises(ArchiveError, match="cannot be reached"):
        sent(FakeArchive(url="http://127.0.0.1:9/dicom-web"), night)
    assert not (night / "send.csv").exists()


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_a_matter_of_usage(archive: FakeArchive, night: Path, status: int) -> None:
    archive.always["store"] = status
    with pytest.raises(UsageError, match="user and secret"):
        sent(archive, night)


def test_a_file_that_is_not_what_was_made_stays_here(archive: FakeArchive, night: Path) -> None:
    (night / "dicom" / "2.25.1.dcm").unlink()
    with (night / "dicom" / "2.25.2.dcm").open("ab") as file:
        file.write(b"\0")
    assert sent(archive, night) == 3
    assert ends(night) == [*[("failed", "file_changed")] * 2, *[("stored", "")] * 2]


def test_a_full_disk_ends_it_and_nothing_is_sent_twice(
    archive: FakeArchive, night: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, mode: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("screen.files.new_file", full)
    with pytest.raises(LedgerError, match="No space left"):
        sent(archive, night)
    monkeypatch.undo()
    assert not (night / "send.csv").exists()
    assert sent(archive, night) == 0
    assert len(archive.stored) == 4


def test_nothing_to_send_is_no_failure(archive: FakeArchive, tmp_path: Path) -> None:
    assert sent(archive, make_night_without(tmp_path)) == 0


def make_night_without(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return make_night(folder, [])


def test_a_night_without_its_table_is_not_guessed_at(
    archive: FakeArchive, night: Path, tmp_path: Path
) -> None:
    (night / "dicom.csv").write_text("study_instance_uid,kind,sop_instance_uid,status\n1,sr,2.25.77,made\n")
    with pytest.raises(LedgerError, match="screen dicom"):
        sent(archive, night)
    (night / "dicom.csv").unlink()
    with pytest.raises(UsageError, match="screen dicom"):
        sent(archive, night)
    with pytest.raises(UsageError, match="no folder of a run"):
        sent(archive, tmp_path)


def test_killed_anywhere_the_next_one_leaves_each_object_once(
    archive: FakeArchive, night: Path, tmp_path: Path
) -> None:
    line = [*command(archive, tmp_path / "home")[:3], "send", str(night), "pacs"]
    for wanted in (1, 4, 6):
        process = subprocess.Popen(line, env=environment(tmp_path / "home"), stderr=subprocess.PIPE)
        while len(archive.asked) < wanted and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = subprocess.run(line, env=environment(tmp_path / "home"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "PAT-77" not in done.stderr
    assert sorted(set(archive.stored)) == sorted(archive.stored) == ["2.25.1", "2.25.2", "2.25.3", "2.25.4"]
