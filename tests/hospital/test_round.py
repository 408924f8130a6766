"""The whole way round before a real archive: its films in, our results back into the same studies."""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from tests.orthanc import Orthanc, orthanc
from tests.places import EXAMPLES, ROOT
from tests.screen.archive.test_send import made_object, make_night

NAMES = {
    "ISO_IR 100": "M\u00fcller^J\u00f6rg",
    "ISO_IR 144": "\u041b\u044e\u043ace\u043c\u0431yp\u0433",
    "ISO_IR 192": "Wang^XiaoDong=\u738b^\u5c0f\u6771",
    "GB18030": "Wang^XiaoDong=\u738b^\u5c0f\u4e1c",
    "\\ISO 2022 IR 87": "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce",
    "\\ISO 2022 IR 149": "Hong^Gildong=\u6d2a^\u5409\u6d1e",
}


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Orthanc]:
    with orthanc(tmp_path / "orthanc") as running:
        yield running


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    """The example films that are whole, each in its own encoding, in six character sets."""
    made = []
    sources = sorted(
        path
        for path in EXAMPLES.rglob("*.dcm")
        if path.stem not in ("film-cut-short", "film-sent-twice", "film-migrated")
    )
    for number, source in enumerate(sources):
        ds = pydicom.dcmread(source)
        charset, name = list(NAMES.items())[number % len(NAMES)]
        ds.SpecificCharacterSet = charset.split("\\")
        ds.PatientName = name
        path = tmp_path / "made" / f"{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        ds.save_as(path)
        made.append(path)
    return made


@pytest.fixture
def home(tmp_path: Path, archive: Orthanc) -> Path:
    archive.write_archives(tmp_path / "home" / ".config")
    return tmp_path / "home"


def screen(home: Path, *arguments: str | Path, code: int = 0) -> list[dict[str, object]]:
    """The command, which ends as told; what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "screen", *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_films_come_out_as_they_went_in(
    archive: Orthanc, films: list[Path], home: Path, tmp_path: Path
) -> None:
    archive.add(*films)
    out = tmp_path / "films"
    screen(home, "fetch", "pacs", "--since", "1990-01-01", "--out", out)
    kept = {
        path: archive.http.get(f"/instances/{key}/file").content
        for key in archive.http.get("/instances").json()
        for path in [key]
    }
    radiographs = [
        data for data in kept.values() if pydicom.dcmread(io.BytesIO(data)).Modality in ("DX", "CR")
    ]
    lying = [path.read_bytes() for path in (out / "films").rglob("*.dcm")]
    assert Counter(map(_digest, lying)) == Counter(map(_digest, radiographs))
    syntaxes = {pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID for data in lying}
    assert len(syntaxes) >= 4
    done = screen(home, "fetch", "pacs", "--since", "1990-01-01", "--out", out)
    assert done[-1]["fetched"] == 0
    assert done[-1]["present"] == len(lying)


def test_objects_are_proved_and_stand_there_once(
    archive: Orthanc, films: list[Path], home: Path, tmp_path: Path
) -> None:
    archive.add(*films)
    first = pydicom.dcmread(films[0])
    night = tmp_path / "night"
    known = (first.StudyInstanceUID, first.PatientID)
    whose = (known, known, (first.StudyInstanceUID, "ANOTHER"), ("1.2.3", first.PatientID))
    make_night(night, [made_object(night, number, *who) for number, who in enumerate(whose)])
    for _ in range(2):
        screen(home, "send", night, "pacs", code=3)
        with (night / "send.csv").open(newline="") as file:
            reasons = [line["reason"] for line in csv.DictReader(file)]
        assert reasons == ["", "", "patient_differs", "study_unknown"]
        ours = {f"2.25.{number + 1}" for number in range(len(whose))}
        assert ours.intersection(archive.sop_instance_uids("DX")) == {"2.25.1", "2.25.2"}
    (home / ".config" / "cxr-screen" / "pacs-password").write_text("wrong")
    said = screen(home, "send", night, "pacs", code=2)
    assert "user and secret" in str(said[-1]["message"])
    assert "wrong" not in str(said)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
