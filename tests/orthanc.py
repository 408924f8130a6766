"""A real archive for tests: Debian's Orthanc with its DICOMweb plugin, on free ports of loopback."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "screen", "s3cret"


@dataclass(frozen=True)
class Orthanc:
    """A running one. http: its own interface; url: its DICOMweb service; port: for DIMSE, title CXRSCREEN."""

    http: httpx.Client
    url: str
    port: int

    def add(self, *films: Path) -> None:
        for film in films:
            self.http.post("/instances", content=film.read_bytes()).raise_for_status()

    def sop_instance_uids(self, modality: str) -> list[str]:
        """Of all objects of a modality."""
        query = {"Level": "Instance", "Query": {"Modality": modality}, "Expand": True}
        found = self.http.post("/tools/find", json=query).raise_for_status().json()
        return sorted(item["MainDicomTags"]["SOPInstanceUID"] for item in found)

    def _key(self, sop_instance_uid: str) -> str:
        (found,) = self.http.post("/tools/lookup", content=sop_instance_uid).raise_for_status().json()
        return str(found["ID"])

    def remove(self, sop_instance_uid: str) -> None:
        """One object."""
        self.http.delete(f"/instances/{self._key(sop_instance_uid)}").raise_for_status()

    def file(self, sop_instance_uid: str) -> bytes:
        """An object as it is stored."""
        return self.http.get(f"/instances/{self._key(sop_instance_uid)}/file").raise_for_status().content

    def write_archives(self, configuration: Path) -> None:
        """An archives.toml that names it `pacs`, and its password beside it."""
        folder = configuration / "cxr-screen"
        folder.mkdir(parents=True, exist_ok=True)
        password = folder / "pacs-password"
        password.write_text(PASSWORD)
        password.chmod(0o600)
        (folder / "archives.toml").write_text(
            f'[pacs]\nurl = "{self.url}"\nuser = "{USER}"\npassword_file = "{password}"\n'
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def orthanc(folder: Path, settings: dict[str, Any] | None = None) -> Iterator[Orthanc]:
    """Skips where Orthanc is not installed; `.ci/run hospital` installs it. settings: beside ours."""
    program = shutil.which("Orthanc")
    if program is None or not PLUGIN.exists():
        pytest.skip("needs Orthanc: apt-get install orthanc orthanc-dicomweb")
    http, dimse = free_port(), free_port()
    folder.mkdir(parents=True)
    configuration = {
        **(settings or {}),
        "Name": "tests",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": http,
        "DicomPort": dimse,
        "DicomAet": "CXRSCREEN",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "OverwriteInstances": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        base = f"http://127.0.0.1:{http}"
        with httpx.Client(base_url=base, auth=(USER, PASSWORD), timeout=30, trust_env=False) as client:
            _wait_until_up(client, process, folder / "log")
            yield Orthanc(client, f"{base}/dicom-web", dimse)
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_up(client: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            client.get("/system").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"Orthanc does not come up:\n{log.read_text()}")
