"""With hidden identifiers, nothing of a patient stands in anything that a run writes or says, however it ends."""

import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.films import dicom, png
from tests.micro_model import micro_bytes
from tests.nights import FAULTY_SCREEN, ROOT
from tests.test_hostile_text import replaced

MARK = "ZQXJ"
UID = "1.2.826.0.77551"
SECRETS = (MARK, MARK.lower(), UID, "20260102", "DOE", "PAT-77", "ACC-55")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "micro.onnx"
    path.write_bytes(micro_bytes())
    return path


def marked(path: Path, seed: int) -> Path:
    """A film whose name, numbers and UIDs all carry the mark."""
    dicom(path, seed, sop=f"{UID}.{seed}", study=f"{UID}.1{seed}")
    data = path.read_bytes()
    for old, new in ((b"PAT-77", f"{MARK}-PAT"), (b"ACC-55", f"{MARK}-ACC"), (b"DOE^JANE", f"{MARK}^NAME")):
        data = replaced(data, old, new.encode())
    path.write_bytes(data)
    return path


def accidents(folder: Path) -> Path:
    """Good films, and files that fail in every way."""
    for seed in range(3):
        marked(folder / f"{MARK}-{seed}.dcm", seed)
    png(folder / MARK / f"{MARK}.png", 5)
    good = marked(folder / f"{MARK}-crash.dcm", 10).read_bytes()
    marked(folder / f"{MARK}-hang.dcm", 11)
    marked(folder / f"{MARK}-gigabytes.dcm", 12)
    (folder / f"{MARK}-cut.dcm").write_bytes(good[:-7000])
    (folder / f"{MARK}-header.dcm").write_bytes(good[:600])
    (folder / f"{MARK}-syntax.dcm").write_bytes(
        good.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4\0")
    )
    (folder / f"{MARK}-rows.dcm").write_bytes(
        good.replace(b"\x28\x00\x10\x00US\x02\x00\x60\x00", b"\x28\x00\x10\x00US\x02\x00\x00\x00")
    )
    (folder / f"{MARK}-part.dcm").write_bytes(good.replace(b"CHEST ", MARK.encode() + b"  "))
    (folder / f"{MARK}-photometric.dcm").write_bytes(
        good.replace(b"MONOCHROME2 ", f"{MARK}{MARK}{MARK}".encode())
    )
    (folder / f"{MARK}-charset.dcm").write_bytes(
        replaced(good, f"{MARK}-ACC".encode(), b"\xff\xfe" + MARK.encode())
    )
    (folder / f"{MARK}.txt").write_text(MARK)
    (folder / f"{MARK}-dangling.dcm").symlink_to(folder / f"{MARK}-gone.dcm")
    return folder


QUICK_TO_GIVE_UP = FAULTY_SCREEN[2].replace(
    "screen.cli.main()",
    "import screen.pipeline\nscreen.pipeline.RunSettings.__init__.__defaults__\nscreen.cli.main()",
)


def run(out: Path, folder: Path, model: Path, *options: str) -> tuple[int, str]:
    args = [*FAULTY_SCREEN, "run", folder, "--out", out, "--model", model, "--device", "cpu", *options]
    done = subprocess.run(
        list(map(str, args)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "CXR_SCREEN_KEY": "a key for tests only"},
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def check_nothing_shows(out: Path, said: str) -> None:
    for secret in SECRETS:
        assert secret not in said
    for path in [out, *out.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        for secret in SECRETS:
            assert secret not in str(path.relative_to(out.parent))
            assert path.is_dir() or secret.encode() not in path.read_bytes(), path
