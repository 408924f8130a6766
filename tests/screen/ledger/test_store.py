"""The run's memory: what may stand, what is found again, and what it says when its disk does not work."""

import shutil
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from screen.codes import Reason, Status
from screen.errors import LedgerError
from screen.files import private_files
from screen.film import Identity
from screen.ledger import DicomObject, Heatmap, Inference, Ledger, Row, Timing
from tests.fake_rows import ListedRows


def screened(file: str, digest: str = "ab", sop: str = "1.2", logit: float = 0.5) -> Row:
    heatmap = Heatmap.pack(np.zeros((1, 2, 2)))
    return Row(
        file=file,
        status=Status.SCREENED,
        identity=Identity(sop_instance_uid=sop),
        pixel_digest=digest,
        inference=Inference((logit,), 1.0, 2.0, heatmap, "w"),
    )


def failed(file: str, reason: Reason) -> Row:
    return Row(file=file, status=Status.FAILED, reason=reason)


def test_only_what_is_committed_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        ledger.put(screened("a"), "1")
        ledger.commit()
        ledger.put(screened("b"), "1")
    with Ledger.open(path) as ledger:
        assert ledger.standing("a", "1", retry_failed=False) is Status.SCREENED
        assert ledger.standing("b", "1", retry_failed=False) is None


def test_it_is_one_private_plain_file_when_closed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with private_files(), Ledger.open(path) as ledger:
        ledger.put(screened("a"), "1")
        ledger.commit()
        assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == [path]
    with Ledger.open_readonly(path) as ledger:
        assert ledger.count_screened() == 1


def test_what_stands(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.put(screened("a"), "1")
        ledger.put(failed("corrupt", Reason.CORRUPT_PIXELS), "1")
        ledger.put(failed("away", Reason.UNREADABLE), "1")
        ledger.put(Row("text", Status.SKIPPED, Reason.NOT_AN_IMAGE), "1")
        assert ledger.standing("a", "2", retry_failed=False) is None
        assert ledger.standing("corrupt", "1", retry_failed=False) is Status.FAILED
        assert ledger.standing("corrupt", "1", retry_failed=True) is None
        assert ledger.standing("away", "1", retry_failed=False) is None
        assert ledger.standing("text", "1", retry_failed=True) is Status.SKIPPED


def test_the_listing_gives_rows_in_its_order_and_never_fewer(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        for name in ("a", "b", "gone"):
            ledger.put(screened(name), "1", Timing(0.25, 0.5))
        ledger.clear_listing()
        ledger.list_file(0, "b", "1", tmp_path / "b")
        ledger.list_file(1, "a", "1", None)
        assert [row.file for row in ledger.listed_rows()] == ["b", "a"]
        assert list(ledger.listed_timings()) == [("b", 0.25, 0.5), ("a", 0.25, 0.5)]
        assert ledger.path_of("b") == tmp_path / "b"
        assert ledger.path_of("a") is ledger.path_of("gone") is None
        ledger.list_file(2, "changed", "2", None)
        ledger.put(screened("changed"), "1")
        with pytest.raises(RuntimeError, match="without a result"):
            list(ledger.listed_rows())


def test_listed_rows_can_be_asked_one_by_one_and_for_their_keys_alone(tmp_path: Path) -> None:
    who = Identity(patient_id='P"1\0', study_instance_uid="1.3")
    rows = [
        screened("b"),
        replace(screened("a"), identity=who, declared_chest=True),
        replace(screened("c"), inference=None),
        replace(screened("d"), pixel_digest=""),
        failed("e", Reason.CORRUPT_PIXELS),
    ]
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        for position, row in enumerate(rows):
            ledger.list_file(position, row.file, "1", None)
            ledger.put(row, "1")
        listed = ledger.listed_rows()
        assert list(listed.film_keys()) == list(ListedRows(rows).film_keys())
        assert [listed[position] for position in (4, 0, 1)] == [rows[4], rows[0], rows[1]]
        with pytest.raises(IndexError):
            listed[5]
        ledger._db.execute("UPDATE rows SET row = substr(row, 1, 40)")
        with pytest.raises(LedgerError, match="damaged, start over with --fresh"):
            list(listed.film_keys())


def test_a_secret_path_is_known_to_this_run_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        ledger.clear_listing()
        ledger.list_file(0, "f3a1", "1", tmp_path / "Meier", secret=True)
        ledger.commit()
        assert ledger.path_of("f3a1") == tmp_path / "Meier"
    assert not [p for p in tmp_path.iterdir() if b"Meier" in p.read_bytes()]
    with Ledger.open(path) as ledger:
        assert ledger.path_of("f3a1") is None


def test_the_same_film_is_found_by_content(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.put(screened("a", "ab", "1.2", 0.75), "1")
        found = ledger.same_content("1.2", "ab")
        assert found is not None
        assert found.inference is not None
        assert found.inference.logits == (0.75,)
        assert ledger.same_content("1.3", "ab") is ledger.same_content("1.2", "cd") is None


def test_a_killed_runs_ledger_can_be_read_by_a_later_night(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.put(screened("a"), "1")
        ledger.commit()
        copy = tmp_path / "killed"
        copy.mkdir()
        for name in ("ledger.sqlite", "ledger.sqlite-wal"):
            shutil.copy(tmp_path / name, copy / name)
    with Ledger.open_readonly(copy / "ledger.sqlite") as killed:
        assert killed.count_screened() == 1


def test_a_full_disk_is_said_clearly(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger._db.execute("COMMIT")
        ledger._db.execute("PRAGMA max_page_count = 12")
        ledger._db.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="full; make room and run again"):
            for number in range(1000):
                ledger.put(screened(f"{number}"), "1")


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to have a header" * 9)
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE t (x)").connection.close()
    for name in ("text", "other"):
        for opened in (Ledger.open, Ledger.open_readonly):
            with pytest.raises(LedgerError, match=name):
                opened(tmp_path / name)
    with pytest.raises(LedgerError, match="no such ledger"):
        Ledger.open_readonly(tmp_path / "missing")


def report(number: int, **fields: object) -> DicomObject:
    digest, at = f"{number:064x}", "2026-11-29T02:00:00+01:00"
    made = DicomObject(f"2.25.{number}", "2.25.99", "sr", "1.3", "P", "", digest, at)
    return replace(made, **fields)  # type: ignore[arg-type]


def test_dicom_objects_are_kept_by_case_in_their_order(tmp_path: Path) -> None:
    first, second = report(2), report(1, predecessor="2.25.2")
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        for made in (first, second, report(3, patient_id="Q")):
            ledger.put_object(made)
        whole = replace(first, digest="ab" * 32)
        ledger.put_object(whole)
        assert ledger.objects_of("1.3", "P") == (whole, second)
        ledger.put_earlier_objects([replace(first, decided_at="2020-01-01T00:00:00+00:00"), report(4)])
        assert ledger.objects_of("1.3", "P") == (whole, second, report(4, earlier=True))
        assert ledger.objects_of("1.3", "R") == ()


def test_a_ledger_from_before_dicom_objects_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        ledger.put(screened("a"), "1")
        ledger._db.execute("DROP TABLE dicom_object")
        ledger._db.execute("DROP TABLE sent_object")
        ledger._db.execute("PRAGMA user_version = 2")
        ledger.commit()
    with Ledger.open_readonly(path) as ledger:
        assert ledger.objects_of("1.3", "P") == ()
    with Ledger.open(path) as ledger:
        ledger.put_object(report(1))
        assert ledger.objects_of("1.3", "P") == (report(1),)


def test_a_newer_ledger_and_a_damaged_row_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        ledger.clear_listing()
        ledger.list_file(0, "a", "1", None)
        ledger.put(screened("a"), "1")
        ledger._db.execute("UPDATE rows SET row = '{}'")
        with pytest.raises(LedgerError, match="damaged; start over with --fresh"):
            list(ledger.listed_rows())
        ledger._db.execute("PRAGMA user_version = 1000")
        ledger.commit()
    with pytest.raises(LedgerError, match="newer version"):
        Ledger.open(path)
