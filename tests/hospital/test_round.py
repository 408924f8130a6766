"""The whole way round before a real archive: its films in, our results back into the same studies."""

import csv
import hashlib
import io
import os
import time
from collections import Counter

import pydicom

from tests.hospitals import STEPS, Hospital
from tests.screen.archive.test_send import made_object, make_night

KILLS = int(os.environ.get("KILLS", "10"))


def test_films_come_out_as_they_went_in(hospital: Hospital) -> None:
    went_in = [film.read_bytes() for film in hospital.films if "OT" not in pydicom.dcmread(film).Modality]
    for fetched in (len(went_in), 0):
        done = hospital.screen(*hospital.command("fetch", ""))
        assert done[-1]["fetched"] == fetched
        came_out = [path.read_bytes() for path in (hospital.folder / "films" / "films").rglob("*.dcm")]
        assert Counter(map(_digest, came_out)) == Counter(map(_digest, went_in))
    syntaxes = {pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID for data in came_out}
    assert len(syntaxes) == 5


def test_objects_are_proved_and_stand_there_once(hospital: Hospital) -> None:
    first = pydicom.dcmread(hospital.films[0])
    night = hospital.folder / "night"
    known = (first.StudyInstanceUID, first.PatientID)
    whose = (known, known, (first.StudyInstanceUID, "ANOTHER"), ("1.2.3", first.PatientID))
    make_night(night, [made_object(night, 1000 + number, *who) for number, who in enumerate(whose)])
    send = hospital.command("send", "night")
    for _ in range(2):
        hospital.screen(*send, code=3)
        with (night / "send.csv").open(newline="") as file:
            reasons = [line["reason"] for line in csv.DictReader(file)]
        assert reasons == ["", "", "patient_differs", "study_unknown"]
        ours = {f"2.25.{1001 + number}" for number in range(len(whose))}
        assert ours.intersection(hospital.archive.sop_instance_uids("DX")) == {"2.25.1001", "2.25.1002"}
    (hospital.home / ".config" / "cxr-screen" / "pacs-password").write_text("wrong")
    said = hospital.screen(*send, code=2)
    assert "user and secret" in str(said[-1]["message"])
    assert "wrong" not in str(said)


def test_a_night_leaves_its_results_in_the_films_studies_and_the_next_one_nothing(hospital: Hospital) -> None:
    done = hospital.night("night-1")
    with (hospital.folder / "night-1" / "results.csv").open(newline="") as file:
        results = [line for line in csv.DictReader(file) if line["status"] == "screened"]
    flagged = [line for line in results if line["flagged"] == "1"]
    studies = {line["study_instance_uid"] for line in flagged}
    assert (len(results), len(flagged), len(studies)) == (5, 3, 2)

    objects = hospital.objects()
    reports = [ds for ds in objects.values() if ds.Modality == "SR"]
    captures = [ds for ds in objects.values() if ds.Modality == "OT"]
    assert sorted(ds.StudyInstanceUID for ds in reports) == sorted(studies)
    shown = [ds.SourceImageSequence[0].ReferencedSOPInstanceUID for ds in captures]
    assert sorted(shown) == sorted(line["sop_instance_uid"] for line in flagged)
    assert done["send"]["stored"] == len(objects)
    names = {ds.StudyInstanceUID: ds.PatientName for ds in map(pydicom.dcmread, hospital.films)}
    assert all(ds.PatientName == names[ds.StudyInstanceUID] for ds in objects.values())

    done = hospital.night("night-2", "night-1")
    assert (done["fetch"]["fetched"], done["fetch"]["present"]) == (0, 5)
    assert done["run"]["inferred"] == 0
    assert (done["dicom"]["made"], done["send"]["objects"]) == (0, 0)
    assert hospital.objects().keys() == objects.keys()


def test_killed_at_any_step_the_rerun_leaves_the_same_objects_and_none_twice(hospital: Hospital) -> None:
    """KILLS=200 kills more often."""
    seconds: dict[str, float] = {}
    for step in STEPS[:3]:
        begun = time.monotonic()
        hospital.screen(*hospital.command(step, "undisturbed"))
        seconds[step] = time.monotonic() - begun
    seconds["send"] = seconds["fetch"]
    wanted = {path.stem for path in (hospital.folder / "undisturbed" / "dicom").iterdir()}
    assert wanted
    for path in (hospital.folder / "films" / "films").rglob("*.dcm"):
        path.unlink()

    each = -(-KILLS // len(STEPS))
    for step in STEPS:
        for number in range(each):
            process = hospital.start(hospital.command(step, "night"))
            # Loading takes half of it; the last ones may come too late.
            time.sleep(seconds[step] * (0.3 + 0.8 * number / each))
            process.kill()
            process.communicate()
        hospital.screen(*hospital.command(step, "night"))
    objects = hospital.objects()
    assert objects.keys() == wanted
    made = hospital.folder / "night" / "dicom"
    assert {uid: hospital.archive.file(uid) for uid in objects} == {
        path.stem: path.read_bytes() for path in made.iterdir()
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
