"""A small hospital for tests: a real archive with films in it, and a machine beside it that screens them."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom

from tests.orthanc import Orthanc, orthanc
from tests.places import EXAMPLES, ROOT

NAMES = {
    "study-1/film-1.dcm": ("ISO_IR 100", "Müller^Jörg"),
    "study-1/film-2.dcm": ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎"),
    "study-2/annotated.dcm": ("GB18030", "Wang^XiaoDong=王^小东"),
    "study-2/film-migrated.dcm": ("GB18030", "Wang^XiaoDong=王^小东"),
    "study-2/film.dcm": ("GB18030", "Wang^XiaoDong=王^小东"),
    "study-3/film.dcm": ("ISO_IR 144", "Люкceмбypг"),
}
"""Films in five encodings, and whom they show, in four character sets."""
THRESHOLD = "0.1"
"""Between the films of studies 2 and 3 and those of study 1."""
STEPS = ("fetch", "run", "dicom", "send")
SINCE = ("--since", "1990-01-01")


@dataclass
class Hospital:
    """An archive with films in it, and a machine beside it that screens them."""

    archive: Orthanc
    films: list[Path]
    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def command(self, step: str, night: str, *known: str) -> list[str]:
        """A step of a night, as it is typed."""
        here = self.folder / night
        arguments: dict[str, list[str | Path]] = {
            "fetch": ["pacs", *SINCE, "--out", self.folder / "films"],
            "run": [
                *(self.folder / "films" / "films", "--out", here, "--threshold", THRESHOLD),
                *("--device", "cpu", "--workers", "1"),
                *(word for name in known for word in ("--known", self.folder / name / "ledger.sqlite")),
            ],
            "dicom": [here],
            "send": [here, "pacs"],
        }
        return [sys.executable, "-m", "screen", step, *map(str, arguments[step])]

    def start(self, command: list[str]) -> "subprocess.Popen[str]":
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def screen(self, *command: str, code: int = 0) -> list[dict[str, object]]:
        """A command that ends as told; what it said."""
        process = self.start([*command])
        _, said = process.communicate()
        assert process.returncode == code, said
        assert not any(film_name in said for _, film_name in NAMES.values())
        return [json.loads(line) for line in said.splitlines()]

    def night(self, name: str, *known: str) -> dict[str, dict[str, object]]:
        """All four steps; how each of them finished."""
        return {step: self.screen(*self.command(step, name, *known))[-1] for step in STEPS}

    def objects(self) -> dict[str, pydicom.Dataset]:
        """What of ours the archive has, by SOP Instance UID: found by a query of its own."""
        found = {}
        for uid in (*self.archive.sop_instance_uids("SR"), *self.archive.sop_instance_uids("OT")):
            ds = pydicom.dcmread(io.BytesIO(self.archive.file(uid)))
            if ds.get("ManufacturerModelName") == "cxr-screen":
                assert uid not in found
                found[uid] = ds
        return found


@contextmanager
def open_hospital(folder: Path, settings: dict[str, Any] | None = None) -> Iterator[Hospital]:
    """Skips the test where there is no Orthanc. settings: the archive's, beside its own."""
    with orthanc(folder / "orthanc", settings) as archive:
        films = []
        for number, (source, (charset, name)) in enumerate(NAMES.items()):
            ds = pydicom.dcmread(EXAMPLES / source)
            ds.SpecificCharacterSet = charset.split("\\")
            ds.PatientName = name
            if source.endswith(("film-2.dcm", "film-migrated.dcm")):
                ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number}"
            if source.endswith("film-2.dcm"):
                ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.77", "2.25.78"
                ds.PatientID = "EXAMPLE-77"
            films.append(folder / "made" / f"{number}.dcm")
            films[-1].parent.mkdir(exist_ok=True)
            ds.save_as(films[-1])
        archive.add(*films)
        archive.write_archives(folder / "home" / ".config")
        yield Hospital(archive, films, folder)
