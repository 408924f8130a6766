"""`screen dicom`: what a reader finds of a night in the archive, judged by tools that are not ours."""

import csv
import errno
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner
from pydicom import Dataset

from screen.archive import results
from screen.cli import cli
from screen.errors import how_to_install
from screen.files import write_whole
from screen.ledger import Ledger
from tests.places import EXAMPLES, ROOT

THRESHOLD = 0.05
SR, SC = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.7"


def screen(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(cli, [*map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    assert done.exit_code == code, done.output
    return done.output


def run(films: Path, out: Path, *options: object, threshold: float = THRESHOLD, code: int = 0) -> Path:
    threshold_given = ("--threshold", threshold)
    screen(
        "run", films, "--out", out, "--device", "cpu", "--workers", 1, *threshold_given, *options, code=code
    )
    return out


def table(night: Path) -> list[dict[str, str]]:
    with (night / "dicom.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def objects(night: Path, kind: str = "") -> list[Dataset]:
    """Those of the table, in its order."""
    return [
        pydicom.dcmread(night / line["file"])
        for line in table(night)
        if line["status"] == "made" and line["kind"] in (kind or line["kind"])
    ]


def files(night: Path) -> dict[str, str]:
    """Name -> SHA-256, of all that lies there and of the table."""
    paths = [*(night / "dicom").iterdir(), night / "dicom.csv"]
    return {path.name: digest(path) for path in paths}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def items(ds: Dataset, name: str) -> list[Dataset]:
    """Content items of that concept name, wherever they stand."""
    found = []
    for item in ds.get("ContentSequence", []):
        if item.get("ConceptNameCodeSequence") and item.ConceptNameCodeSequence[0].CodeMeaning == name:
            found.append(item)
        found += items(item, name)
    return found


def texts(ds: Dataset) -> str:
    """Everything that the tree says in words."""
    said = []
    for item in ds.get("ContentSequence", []):
        said += [item.get("TextValue", "")]
        said += [code.CodeMeaning for code in item.get("ConceptCodeSequence", [])]
        said += [code.CodeMeaning for code in item.get("ConceptNameCodeSequence", [])]
        said += [texts(item)]
    return "\n".join(said)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the example films: two in one study, one alone and its copy, two pictures without any UID."""
    out = run(EXAMPLES, tmp_path_factory.mktemp("night") / "out", code=3)
    screen("dicom", out)
    return out


@pytest.fixture
def own(night: Path, tmp_path: Path) -> Path:
    """The night, to do with as one likes."""
    copy = tmp_path / "own"
    shutil.copytree(night, copy)
    return copy


def test_the_table_has_a_line_for_each_flagged_case_and_film(night: Path) -> None:
    with (night / "results.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["flagged"] == "1" and not row["duplicate_of"]]
    with (night / "flagged.csv").open(newline="") as stream:
        cases = list(csv.DictReader(stream))
    lines = table(night)
    assert {line["study_instance_uid"] for line in lines} == {case["study_instance_uid"] for case in cases}
    assert sum(line["kind"] == "sc" for line in lines) == len(rows)
    assert sum(line["kind"] == "sr" for line in lines) == len(cases)
    without = [line for line in lines if not line["study_instance_uid"]]
    assert {(line["status"], line["reason"]) for line in without} == {("skipped", "no_uid")}
    # The same film in another encoding has its UID: what refers to that would refer to the wrong file.
    reused = [line["file"] for line in lines if line["reason"] == "uid_reused"]
    assert [Path(file).parent.name for file in reused] == ["study-2"]
    for line in lines:
        assert line["sop_class_uid"] == {"sr": SR, "sc": SC}[line["kind"]]
        if line["status"] == "made":
            ds = pydicom.dcmread(night / line["file"])
            assert (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID) == (
                line["study_instance_uid"],
                line["series_instance_uid"],
                line["sop_instance_uid"],
            )
    listed = {Path(line["file"]).name for line in lines if line["status"] == "made"}
    assert listed == {path.name for path in (night / "dicom").iterdir()}


def test_a_report_says_what_was_found_and_what_that_is_worth(night: Path) -> None:
    with (night / "results.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["status"] == "screened"]
    probability = {row["sop_instance_uid"]: float(row["probability"]) for row in rows}
    for ds in objects(night, "sr"):
        assert (ds.CompletionFlag, ds.VerificationFlag, ds.PreliminaryFlag) == (
            "COMPLETE",
            "UNVERIFIED",
            "PRELIMINARY",
        )
        assert "BodyPartExamined" not in ds
        groups = items(ds, "Measurement Group")
        assert groups
        for group in groups:
            (region,) = items(group, "Image Region")
            film = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            (certainty,) = items(group, "Certainty of Finding")
            percent = certainty.MeasuredValueSequence[0]
            assert float(percent.NumericValue) == pytest.approx(100 * probability[film], abs=1e-4)
            assert percent.MeasurementUnitsCodeSequence[0].CodeValue == "%"
            (flagged,) = items(group, "Flagged at the operating point")
            assert flagged.ConceptCodeSequence[0].CodeMeaning == "Yes"
            # The heat map of this model was never measured to point: no place is shown.
            assert region.GraphicType == "POLYLINE"
            assert region.GraphicData[:2] == [0, 0] == region.GraphicData[-2:]
            said = "\n".join(item.TextValue for item in items(group, "Algorithm Parameters"))
            for word in ("weights_digest=", "decision_digest=", "operating_point=", "threshold=0.05"):
                assert word in said
            assert "prevalence=" in said
            assert "Research use only" in said
        said = texts(ds).lower()
        assert "absent" not in said
        assert "normal" not in said
        assert "flagged; a film that is not flagged may show a finding." in said


def test_a_capture_is_no_film_and_names_its_source(night: Path) -> None:
    for ds in objects(night, "sc"):
        assert ds.Modality == "OT"
        assert list(ds.ImageType) == ["DERIVED", "SECONDARY", "OTHER"]
        assert ds.BurnedInAnnotation == "YES"
        assert ds.LossyImageCompression == "01"
        assert float(ds.LossyImageCompressionRatio) > 1
        picture = ds.pixel_array
        assert picture.shape == (ds.Rows, ds.Columns, 3)
        assert picture[-30:].max() > 120, "the notice stands in its pixels"
        assert len(ds.SourceImageSequence) == 1
    sources = {ds.SourceImageSequence[0].ReferencedSOPInstanceUID for ds in objects(night, "sc")}
    assert len(sources) == len(objects(night, "sc"))


def test_patient_and_study_are_the_films(night: Path) -> None:
    films = {
        path: pydicom.dcmread(path, stop_before_pixels=True) for path in EXAMPLES.rglob("study-[123]/*.dcm")
    }
    studies = {ds.StudyInstanceUID: ds for ds in films.values()}
    for ds in objects(night):
        film = studies[ds.StudyInstanceUID]
        for keyword in ("PatientName", "PatientID", "PatientSex", "AccessionNumber", "StudyDate", "StudyID"):
            assert ds[keyword].value == film[keyword].value


@pytest.mark.parametrize("kinds", ["sr", "sc"])
def test_kinds_are_a_choice(own: Path, kinds: str) -> None:
    before = files(own)
    screen("dicom", own, "--kinds", kinds)
    assert {line["kind"] for line in table(own)} == {kinds}
    kept = {line["file"].removeprefix("dicom/") for line in table(own) if line["status"] == "made"}
    assert kept == files(own).keys() - {"dicom.csv"}
    assert all(files(own)[name] == before[name] for name in kept)
    assert "sr, sc or both" in screen("dicom", own, "--kinds", "seg", code=2)


# The judges


def judged(tool: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool} (Debian's dicom3tools and dcmtk)")
    return subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, errors="replace")


def errors(path: Path) -> list[str]:
    """What dicom3tools' validator has against an object."""
    said = judged("dciodvfy", "-new", path)
    return [line for line in (said.stdout + said.stderr).splitlines() if "Error" in line]


def assert_valid(night: Path) -> None:
    made = objects(night)
    assert made
    for path in (night / "dicom").iterdir():
        assert errors(path) == [], path
    for line in table(night):
        if line["kind"] == "sr" and line["status"] == "made":
            read = judged("dsrdump", "+U8", night / line["file"])
            assert read.returncode == 0, read.stderr
            assert "Imaging Measurement Report" in read.stdout


def test_validators_have_nothing_against_them(night: Path) -> None:
    assert_valid(night)


# Made again


def test_made_again_they_are_equal_to_the_byte(own: Path) -> None:
    before = files(own)
    screen("dicom", own)
    assert files(own) == before
    for path in (own / "dicom").iterdir():
        path.unlink()
    screen("dicom", own)
    assert files(own) == before
    (own / "dicom" / "2.25.7.dcm").write_bytes(b"")
    (own / "dicom" / ".2.25.7.dcm.0a1b2c3d").write_bytes(b"")
    name = min(before)
    (own / "dicom" / name).write_bytes(b"cut")
    screen("dicom", own)
    assert files(own) == before


_KILLED = """
import os, signal, sys
from screen.archive import results
from screen.cli.main import main
from screen.ledger import Ledger

def dies_at(left):
    def killing(owner, name):
        call = getattr(owner, name)
        def step(*args, **options):
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)
        setattr(owner, name, step)

    killing(Ledger, "put_object")
    killing(results, "write_whole")
    killing(os, "fsync")
    main(arguments=["dicom", sys.argv[1]])

for step in map(int, sys.argv[2:]):
    if not (child := os.fork()):
        dies_at(step)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_kill_9_at_any_step_and_the_same_objects_come_out(night: Path, tmp_path: Path) -> None:
    whole, own = files(night), tmp_path / "own"
    shutil.copytree(night, own)
    shutil.rmtree(own / "dicom")
    (own / "dicom.csv").unlink()
    with closing(sqlite3.connect(own / "ledger.sqlite")) as db:
        db.execute("DELETE FROM dicom_object")
        db.commit()
    # Each over what the ones before have left.
    for steps in ((1, 2, 3, 4, 5), (6, 7, 9, 11, 13)):
        killed = [sys.executable, "-c", _KILLED, str(own), *map(str, steps)]
        done = subprocess.run(killed, cwd=ROOT, capture_output=True, text=True)
        assert done.stdout.split() == [str(-signal.SIGKILL)] * len(steps), done.stderr
        left = {path for path in (own / "dicom").iterdir() if not path.name.startswith(".")}
        assert {path.name: digest(path) for path in left}.items() <= whole.items()
        assert not (own / "dicom.csv").exists() or digest(own / "dicom.csv") == whole["dicom.csv"]
    screen("dicom", own)
    assert files(own) == whole
    with (
        Ledger.open_readonly(own / "ledger.sqlite") as one,
        Ledger.open_readonly(night / "ledger.sqlite") as other,
    ):
        for ds in objects(night):
            case = (ds.StudyInstanceUID, ds.PatientID)
            assert one.objects_of(*case) == other.objects_of(*case)


def test_they_come_back_as_somebodys_result(night: Path, tmp_path: Path) -> None:
    back = tmp_path / "back"
    shutil.copytree(night / "dicom", back)
    run(back, tmp_path / "out", "--allow-empty")
    with (tmp_path / "out" / "results.csv").open(newline="") as stream:
        assert {(row["status"], row["reason"]) for row in csv.DictReader(stream)} == {("skipped", "derived")}


# Nights after nights


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Two films of one study, and one of another."""
    folder = tmp_path / "films"
    for name in ("study-1/film-1.dcm", "study-1/film-2.dcm", "study-3/film.dcm"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLES / name, folder / name)
    return folder


def retagged(path: Path, to: Path, **tags: object) -> Path:
    """The film with other tags."""
    ds = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    if "SOPInstanceUID" in tags:
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    to.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(to)
    return to


def statuses(night: Path) -> list[tuple[str, str, str]]:
    return [(line["kind"], line["status"], line["reason"]) for line in table(night)]


def test_what_an_earlier_night_has_made_is_not_made_again(films: Path, tmp_path: Path) -> None:
    first = run(films, tmp_path / "first")
    screen("dicom", first)
    assert [(kind, status) for kind, status, _ in statuses(first)] == [
        ("sr", "made"),
        ("sc", "made"),
        ("sr", "made"),
        ("sc", "made"),
        ("sc", "made"),
    ]
    second = run(films, tmp_path / "second", "--known", first / "ledger.sqlite")
    screen("dicom", second)
    assert {status for _, status, _ in statuses(second)} == {"known"}
    assert list((second / "dicom").iterdir()) == []
    assert [line["sop_instance_uid"] for line in table(second)] == [
        line["sop_instance_uid"] for line in table(first)
    ]


def test_made_by_a_later_night_they_are_those_of_the_first(films: Path, tmp_path: Path) -> None:
    """Whichever comes first: a later night may know films of which nothing was made yet."""
    first = run(films, tmp_path / "first")
    with Ledger.open(first / "ledger.sqlite") as ledger:
        decision, _ = ledger.decision() or ("", "")
        ledger.keep_decision((decision, "2026-11-23T02:00:00+01:00"))
    second = run(films, tmp_path / "second", "--known", first / "ledger.sqlite")
    third = run(films, tmp_path / "third", "--known", second / "ledger.sqlite")
    for night in (third, first, second):
        screen("dicom", night)
    assert files(third) == files(first) == files(second)
    assert {(ds.ContentDate, ds.ContentTime) for ds in objects(third)} == {("20261123", "020000")}
    other = run(films, tmp_path / "other", "--known", first / "ledger.sqlite", threshold=0.06)
    screen("dicom", other)
    assert "20261123" not in {ds.ContentDate for ds in objects(other)}, "decided otherwise, so later"


def test_a_changed_report_names_the_one_before_it(films: Path, tmp_path: Path) -> None:
    late = films / "study-1" / "film-2.dcm"
    late.rename(tmp_path / "late.dcm")
    first = run(films, tmp_path / "first")
    screen("dicom", first)
    shutil.move(tmp_path / "late.dcm", late)
    second = run(films, tmp_path / "second", "--known", first / "ledger.sqlite")
    screen("dicom", second)
    assert statuses(second) == [
        ("sr", "known", ""),
        ("sc", "known", ""),
        ("sr", "made", ""),
        ("sc", "known", ""),
        ("sc", "made", ""),
    ]
    (report,) = objects(second, "sr")
    (before,) = (ds for ds in objects(first, "sr") if ds.StudyInstanceUID == report.StudyInstanceUID)
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (document,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == before.StudyInstanceUID
    assert series.SeriesInstanceUID == before.SeriesInstanceUID == report.SeriesInstanceUID
    assert document.ReferencedSOPInstanceUID == before.SOPInstanceUID != report.SOPInstanceUID
    assert_valid(second)
    whole = files(second)
    for path in (second / "dicom").iterdir():
        path.unlink()
    screen("dicom", second)
    assert files(second) == whole


def test_what_an_earlier_night_was_stopped_at_is_made(films: Path, tmp_path: Path) -> None:
    first = run(films, tmp_path / "first")
    screen("dicom", first)
    with closing(sqlite3.connect(first / "ledger.sqlite")) as db:
        db.execute("UPDATE dicom_object SET digest = '' WHERE kind = 'sr'")
        db.commit()
    second = run(films, tmp_path / "second", "--known", first / "ledger.sqlite")
    screen("dicom", second)
    assert {(kind, status) for kind, status, _ in statuses(second)} == {("sr", "made"), ("sc", "known")}
    assert all(
        digest(first / line["file"]) == digest(second / line["file"])
        for line in table(second)
        if line["file"]
    )
    whole = files(second)
    screen("dicom", second)
    assert files(second) == whole


def test_a_result_that_cannot_be_made_as_before_is_not_made_otherwise(own: Path) -> None:
    name = table(own)[0]["file"]
    (own / name).unlink()
    with closing(sqlite3.connect(own / "ledger.sqlite")) as db:
        db.execute("UPDATE dicom_object SET decided_at = '2020-01-01T00:00:00+00:00' WHERE kind = 'sr'")
        db.commit()
    screen("dicom", own, code=3)
    (failed,) = (line for line in table(own) if line["status"] == "failed")
    assert (failed["kind"], failed["reason"], failed["file"]) == ("sr", "differs", "")
    assert not (own / name).exists()


def test_reports_that_are_decided_anew_take_the_table_with_them(own: Path) -> None:
    before = files(own)
    screen("report", own, "--threshold", THRESHOLD, code=3)
    assert not (own / "dicom.csv").exists()
    screen("dicom", own)
    assert files(own) == before, "the same decision, made when it was first made"
    screen("report", own, "--threshold", 0.2, code=3)
    screen("dicom", own)
    made = [line for line in table(own) if line["status"] == "made"]
    assert [line["kind"] for line in made] == ["sr", "sc"]
    assert not {line["file"].removeprefix("dicom/") for line in made} & before.keys()
    (report,) = objects(own, "sr")
    assert "threshold=0.200000" in texts(report)
    assert "PredecessorDocumentsSequence" in report


def test_with_all_cases_a_film_that_is_not_flagged_is_no_normal_one(own: Path) -> None:
    screen("report", own, "--operating-point", "specific", code=3)
    screen("dicom", own, "--cases", "all", "--kinds", "sr")
    reports = objects(own, "sr")
    assert len(reports) == 3
    plain = [ds for ds in reports if "No film is flagged" in texts(ds)]
    assert plain
    for ds in plain:
        for group in items(ds, "Measurement Group"):
            assert len(items(group, "Image Region")) == 1
            (flagged,) = items(group, "Flagged at the operating point")
            assert flagged.ConceptCodeSequence[0].CodeMeaning == "No"
            said = texts(group)
            assert "Not flagged; this does not exclude a finding. Measured sensitivity: 31 %" in said
            assert "absent" not in said.lower()
            assert "normal" not in said.lower()
    assert_valid(own)


# Films that nothing can be told of


def test_a_part_of_a_study_is_not_taken_for_the_whole(films: Path, tmp_path: Path) -> None:
    whole = (films / "study-1" / "film-2.dcm").read_bytes()
    (films / "study-1" / "film-2.dcm").write_bytes(whole[: len(whole) // 2])
    night = run(films, tmp_path / "night", code=3)
    screen("dicom", night)
    said = [texts(ds) for ds in objects(night, "sr")]
    assert sum("1 of 2 films could not be read." in each for each in said) == 1
    assert sum("could not be read" in each for each in said) == 1


def test_a_doubtful_film_gets_no_object(films: Path, tmp_path: Path) -> None:
    for name in ("study-1/film-2.dcm", "study-3/film.dcm"):
        ds = pydicom.dcmread(films / name)
        ds.decompress()
        ds.PixelData = b"\x40" * len(ds.PixelData)
        ds.save_as(films / name)
    night = run(films, tmp_path / "night", threshold=0)
    screen("dicom", night)
    assert statuses(night) == [
        ("sr", "skipped", "doubtful"),
        ("sc", "skipped", "doubtful"),
        ("sr", "made", ""),
        ("sc", "made", ""),
        ("sc", "skipped", "doubtful"),
    ]
    (report,) = objects(night, "sr")
    assert "1 of 2 films left out: doubtful" in texts(report)
    assert len(items(items(report, "Image Library")[0], "Source")) == 1


def test_a_film_that_is_gone_or_another_one_by_now(films: Path, tmp_path: Path) -> None:
    night = run(films, tmp_path / "night")
    film = films / "study-1" / "film-1.dcm"
    film.rename(tmp_path / "away.dcm")
    said = screen("dicom", night, code=3)
    assert "film-1.dcm" in said
    assert statuses(night) == [
        ("sr", "made", ""),
        ("sc", "made", ""),
        ("sr", "failed", "film_gone"),
        ("sc", "failed", "film_gone"),
        ("sc", "made", ""),
    ]
    # The same picture, filed under another patient meanwhile.
    retagged(tmp_path / "away.dcm", film, PatientID="SOMEBODY-ELSE")
    screen("dicom", night, code=3)
    assert ("sr", "failed", "film_gone") in statuses(night)
    shutil.move(tmp_path / "away.dcm", film)
    screen("dicom", night)
    assert {status for _, status, _ in statuses(night)} == {"made"}


CHARACTER_SETS = {
    "none": (None, "Plain^Ascii"),
    "Latin 1": ("ISO_IR 100", "Müller^Jörg"),
    "Cyrillic": ("ISO_IR 144", "Люкceмбypг"),
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "Katakana": ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    "Korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "UTF-8": ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
    "GB18030": ("GB18030", "Wang^XiaoDong=王^小东"),
    "a backslash within a character": ("GB18030", "Wang=王^乗"),
}


def test_names_are_equal_in_any_character_set(tmp_path: Path) -> None:
    films = tmp_path / "films"
    wanted = {}
    for at, (name, (encoding, person)) in enumerate(CHARACTER_SETS.items()):
        uid = f"1.2.3.{at}"
        retagged(
            EXAMPLES / "study-3" / "film.dcm",
            films / f"{name}.dcm",
            SpecificCharacterSet=encoding,
            PatientName=person,
            PatientID=f"P{at}",
            SOPInstanceUID=f"{uid}.1",
            StudyInstanceUID=uid,
        )
        wanted[uid] = person
    night = run(films, tmp_path / "night")
    screen("dicom", night)
    for ds in objects(night):
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        assert str(ds.PatientName) == wanted[ds.StudyInstanceUID]
    assert len(objects(night, "sr")) == len(CHARACTER_SETS)
    assert_valid(night)


# What is refused


def test_a_run_without_names_or_end_is_refused(films: Path, tmp_path: Path) -> None:
    hidden = run(films, tmp_path / "hidden", "--identifiers", "none")
    assert "--identifiers full" in screen("dicom", hidden, code=2)
    assert "no folder of a run" in screen("dicom", films, code=2)
    night = run(films, tmp_path / "night")
    with Ledger.open(night / "ledger.sqlite") as ledger:
        ledger.keep_decision(None)
    assert "type 'screen report" in screen("dicom", night, code=1)
    assert not (night / "dicom").exists()


def test_a_run_that_has_failed_is_refused(tmp_path: Path) -> None:
    night = run(EXAMPLES / "study-4", tmp_path / "night", code=1)
    assert "has failed" in screen("dicom", night, code=1)
    assert not (night / "dicom").exists()


def test_a_full_disk_leaves_no_table(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(own)
    for path in (own / "dicom").iterdir():
        path.unlink()
    written = []

    def full(path: Path, data: bytes, mode: int) -> None:
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        write_whole(path, data, mode)

    monkeypatch.setattr(results, "write_whole", full)
    assert "cannot be written (No space left on device); mend that" in screen("dicom", own, code=1)
    assert not (own / "dicom.csv").exists()
    assert [path.name for path in (own / "dicom").iterdir()] == [path.name for path in written]
    monkeypatch.undo()
    screen("dicom", own)
    assert files(own) == before


def test_a_signal_stops_in_order(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(own)
    for path in (own / "dicom").iterdir():
        path.unlink()

    def interrupted(path: Path, data: bytes, mode: int) -> None:
        monkeypatch.undo()
        write_whole(path, data, mode)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(results, "write_whole", interrupted)
    screen("dicom", own, code=143)
    assert not (own / "dicom.csv").exists()
    screen("dicom", own)
    assert files(own) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decision", "{}"),
        ("decision", "[1]"),
        ("decided_at", "yesterday"),
        ("decided_at", "2026-11-29T02:00:00"),
    ],
)
def test_a_damaged_decision_is_refused(own: Path, name: str, value: str) -> None:
    with Ledger.open(own / "ledger.sqlite") as ledger:
        ledger.set_meta(name, value)
        ledger.commit()
    assert "damaged" in screen("dicom", own, code=1)


def test_the_missing_extra_is_named(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("screen.archive")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert how_to_install("dicom") in screen("dicom", night, code=2)
