"""With hidden identifiers, nothing that a run writes or says holds anything of a patient, however it ends."""

import signal
import stat
import time
from pathlib import Path

import pytest

from benchmarks.memory import family
from screen.readers import Limits
from screen.runs import RunSettings, Wiring, run
from screen.runs.progress import JsonLines
from tests.films import dicom, png, retagged
from tests.micro_model import micro_bytes
from tests.nights import finished, screen_run

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
        data = retagged(data, old, new.encode())
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
    (folder / f"{MARK}-header.dcm").write_bytes(good[:500])
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
    (folder / f"{MARK}-view.dcm").write_bytes(
        retagged(marked(folder / f"{MARK}-view.dcm", 13).read_bytes(), b"PA", f"PA {MARK}".encode())
    )
    (folder / f"{MARK}-charset.dcm").write_bytes(
        retagged(good, f"{MARK}-ACC".encode(), b"\xff\xfe" + MARK.encode())
    )
    (folder / f"{MARK}.txt").write_text(MARK)
    (folder / f"{MARK}-dangling.dcm").symlink_to(folder / f"{MARK}-gone.dcm")
    return folder


def check_nothing_shows(out: Path, said: str) -> None:
    for secret in SECRETS:
        assert secret not in said
    for path in [out, *out.rglob("*")] if out.exists() else []:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
        for secret in SECRETS:
            assert secret not in str(path.relative_to(out.parent))
            assert path.is_dir() or secret.encode() not in path.read_bytes(), path


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_SCREEN_KEY", "a key for tests only")


@pytest.mark.parametrize("mode", ["pseudonym", "none"])
def test_nothing_shows_of_films_that_fail_in_every_way(
    tmp_path: Path, model: Path, mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settings = RunSettings(
        inputs=(accidents(tmp_path / MARK),),
        out=out,
        model=model,
        device="cpu",
        workers=2,
        identifiers=mode,
        threshold=0.01,
        timings=True,
        limits=Limits(seconds=2.0),
    )
    assert run(settings, JsonLines(), Wiring(decode="tests.faulty_decode:faulty")) == 3
    said = capfd.readouterr()
    check_nothing_shows(out, said.out + said.err)
    rows = (out / "results.csv").read_text()
    for reason in (
        "decoder_crashed",
        "timed_out",
        "too_large",
        "corrupt_pixels",
        "corrupt_header",
        "unreadable",
    ):
        assert reason in rows
    assert rows.count("screened") >= 4


@pytest.mark.parametrize("ending", ["error", "bug", "SIGTERM", "SIGKILL", "usage", "vanished"])
def test_nothing_shows_when_a_run_ends_early(tmp_path: Path, model: Path, ending: str) -> None:
    folder, out = tmp_path / MARK, tmp_path / "out"
    for seed in range(6):
        marked(folder / f"{MARK}-slow-{seed}.dcm", seed)
    if ending == "bug":
        marked(folder / f"{MARK}-bug.dcm", 9)
    mode = (
        ["--identifiers", "pseudonym"]
        if ending != "usage"
        else ["--identifiers", "pseudonym", "--workers", "0"]
    )
    (damaged := tmp_path / "damaged.onnx").write_bytes(b"no model")
    running = screen_run(folder, out, damaged if ending == "error" else model, *mode)
    if ending in ("SIGTERM", "SIGKILL", "vanished"):
        assert running.stderr is not None
        said = running.stderr.readline()
        while len(family(running.pid)) < 2:
            time.sleep(0.01)
        time.sleep(1.0)
        if ending == "vanished":
            folder.rename(tmp_path / "unmounted")
        else:
            running.send_signal(signal.Signals[ending])
    else:
        said = ""
    code, log = finished(running)
    expected = {"SIGTERM": 143, "SIGKILL": -9, "usage": 2, "bug": 3}.get(ending, 1)
    assert code == expected, log
    check_nothing_shows(out, said + log)
