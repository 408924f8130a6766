"""`examples/archive/`: two ways to a PACS that knows DIMSE alone, tried with dcmtk's tools."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from tests.hospitals import Hospital, open_hospital
from tests.orthanc import free_port
from tests.places import ROOT

EXAMPLES = ROOT / "examples" / "archive"
PROPOSED = {JPEGLosslessSV1: "-xs", JPEG2000Lossless: "-xv", JPEGLSLossless: "-xt", RLELossless: "-xr"}


@contextmanager
def receiving(folder: Path) -> Iterator[tuple[int, Path]]:
    """`receive` at work: its port, and where whole films come to lie."""
    if shutil.which("storescp") is None:
        pytest.skip("needs dcmtk: apt-get install dcmtk")
    port, films = free_port(), folder / "films"
    process = subprocess.Popen(
        [EXAMPLES / "receive", folder / "incoming", films, str(port)], stdout=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield port, films
    finally:
        process.terminate()
        process.wait(10)


def forward(films: list[Path], port: int, title: str) -> None:
    """As a PACS does: each film in its own encoding."""
    for film in films:
        syntax = pydicom.dcmread(film, stop_before_pixels=True).file_meta.TransferSyntaxUID
        proposed = [PROPOSED[syntax]] if syntax in PROPOSED else []
        sent = subprocess.run(
            ["storescu", *proposed, "-aet", "PACS", "-aec", title, "127.0.0.1", str(port), film],
            capture_output=True,
            text=True,
        )
        assert sent.returncode == 0, sent.stderr


def lying(folder: Path, count: int) -> dict[str, pydicom.Dataset]:
    """What came, by SOP Instance UID; waited for until there are so many."""
    for _ in range(300):
        if len(list(folder.glob("*.dcm"))) >= count:
            break
        time.sleep(0.1)
    found = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
    assert len({ds.SOPInstanceUID for ds in found}) == len(found) == count
    return {ds.SOPInstanceUID: ds for ds in found}


def check_same(came: dict[str, pydicom.Dataset], sent: list[Path]) -> None:
    for path in sent:
        ds = pydicom.dcmread(path)
        assert came[ds.SOPInstanceUID] == ds
        assert came[ds.SOPInstanceUID].file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID


def test_a_folder_behind_storescp(hospital: Hospital, tmp_path: Path) -> None:
    with receiving(tmp_path) as (port, films):
        forward(hospital.films, port, "CXRSCREEN")
        check_same(lying(films, len(hospital.films)), hospital.films)
        assert films.stat().st_mode & 0o077 == 0
    night = tmp_path / "night"
    hospital.screen(
        *hospital.command("run", "night")[:4], str(films), "--out", str(night), "--threshold", "0.1"
    )
    hospital.screen(*hospital.command("dicom", "night"))
    made = list((night / "dicom").iterdir())
    assert made
    with receiving(tmp_path / "pacs") as (port, returned):
        line = [EXAMPLES / "return-results", night, "127.0.0.1", str(port), "PACS"]
        subprocess.run(line, check=True)
        check_same(lying(returned, len(made)), made)


def test_what_a_kill_left_is_not_lost(hospital: Hospital, tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    shutil.copy(hospital.films[0], tmp_path / "incoming" / "CT.1")
    with receiving(tmp_path) as (_, films):
        check_same(lying(films, 1), hospital.films[:1])


def test_orthanc_as_a_gateway(tmp_path: Path) -> None:
    with receiving(tmp_path / "pacs") as (port, returned):
        settings = json.loads((EXAMPLES / "orthanc.json").read_text())
        settings["LuaScripts"] = [str(EXAMPLES / "forward.lua")]
        settings["DicomModalities"]["pacs"] |= {"Host": "127.0.0.1", "Port": port}
        with open_hospital(tmp_path, settings) as hospital:
            for uid in [*hospital.archive.sop_instance_uids("DX"), *hospital.archive.sop_instance_uids("OT")]:
                hospital.archive.remove(uid)
            forward(hospital.films, hospital.archive.port, "CXRSCREEN")
            hospital.night("night")
            made = list((tmp_path / "night" / "dicom").iterdir())
            assert made
            check_same(lying(returned, len(made)), made)
