"""Disks that fill, workers that die, decoders that misbehave, files that are none: no hang, no loss."""

import csv
import io
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.memory import family
from tests.films import dicom, png
from tests.micro_model import micro_bytes
from tests.nights import FAULTY_SCREEN, ROOT, finished, night, screen_run, tables


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "micro.onnx"
    path.write_bytes(micro_bytes())
    return path


def results(out: Path) -> dict[str, dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO((out / "results.csv").read_text())))
    found = {Path(row["file"]).name: row for row in rows}
    assert len(found) == len(rows)
    return found


def reasons(out: Path) -> dict[str, str]:
    return {name: row["reason"] or row["status"] for name, row in results(out).items()}


# ── a disk that fills ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; skipped where this user may not mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def check_out_of_room(code: int, log: str, out: Path) -> None:
    said = json.loads(log.splitlines()[-1])
    assert (code, said["event"]) == (1, "error"), log
    assert "room" in said["message"] or "space" in said["message"]
    for name in ("summary.json", "results.csv", "flagged.csv", "report.html"):
        assert not (out / name).exists()


@dataclass(frozen=True)
class Night:
    """Films, and the tables of a run over them that nothing disturbed."""

    films: Path
    tables: dict[str, bytes]


THRESHOLD = ("--threshold", 0.1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Night:
    folder = tmp_path_factory.mktemp("night")
    films = night(folder / "in", 14)
    assert finished(screen_run(films, folder / "alone", model, *THRESHOLD))[0] == 3
    return Night(films, tables(folder / "alone"))


@pytest.mark.parametrize("room", [16 << 10, 160 << 10, 700 << 10])
def test_a_full_disk_ends_the_run_and_the_same_command_goes_on(
    undisturbed: Night, small_disk: Path, model: Path, room: int
) -> None:
    """Full while the ledger is written, and while the reports are."""
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    ballast.write_bytes(bytes(free - room))
    out = small_disk / "out"
    check_out_of_room(*finished(screen_run(undisturbed.films, out, model, *THRESHOLD)), out)
    ballast.unlink()
    code, log = finished(screen_run(undisturbed.films, out, model, *THRESHOLD))
    assert code == 3, log
    assert tables(out) == undisturbed.tables


def test_a_quota_ends_the_run_and_the_same_command_goes_on(
    undisturbed: Night, tmp_path: Path, model: Path
) -> None:
    """As above by a limit on the length of files, for users who may not mount."""
    out = tmp_path / "out"
    args = ["run", undisturbed.films, "--out", out, "--model", model, "--device", "cpu", "--workers", 1]
    limited = subprocess.run(
        [*FAULTY_SCREEN, *map(str, args)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 10, 20 << 10)),
    )
    assert limited.returncode == 1, limited.stderr
    assert json.loads(limited.stderr.splitlines()[-1])["event"] == "error", limited.stderr
    assert not (out / "summary.json").exists()
    assert finished(screen_run(undisturbed.films, out, model, *THRESHOLD))[0] == 3
    assert tables(out) == undisturbed.tables


# ── workers and decoders ─────────────────────────────────────────────────────────────────────────────────


def is_decoding(process: Path) -> bool:
    """Whether a worker has loaded its codecs."""
    try:
        return "imagecodecs" in (process / "maps").read_text()
    except OSError:
        return False


def test_workers_that_are_killed_cost_nothing(tmp_path: Path, model: Path) -> None:
    films = tmp_path / "in"
    for seed in range(12):
        png(films / f"slow-{seed:02}.png", seed)
    running = screen_run(films, tmp_path / "out", model, "--workers", 2)
    # Only the first two: a film whose worker dies twice is taken for the culprit.
    workers: list[Path] = []
    while len(workers) < 2 or not all(map(is_decoding, workers)):
        workers = family(running.pid)[1:]
        assert running.poll() is None
        time.sleep(0.02)
    time.sleep(0.5)
    for worker, number in zip(workers, (signal.SIGKILL, signal.SIGSEGV), strict=True):
        os.kill(int(worker.name), number)
    code, log = finished(running)
    assert code == 0, log
    assert set(reasons(tmp_path / "out").values()) == {"screened"}


def test_decoders_that_misbehave_cost_one_row_each(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    accidents = {"2-crash": "decoder_crashed", "4-exit": "decoder_crashed", "6-40-gigabytes": "too_large"}
    for seed in range(9):
        png(films / f"{seed}.png", seed)
    for seed, name in enumerate(accidents):
        png(films / f"{name}.png", 20 + seed)
    code, log = finished(screen_run(films, out, model, "--workers", 2))
    assert code == 3, log
    expected = {f"{seed}.png": "screened" for seed in range(9)}
    assert reasons(out) == expected | {f"{name}.png": reason for name, reason in accidents.items()}


# ── what is no ordinary file ─────────────────────────────────────────────────────────────────────────────


def test_odd_files_cost_a_row_or_nothing(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    png(films / "film.png", 1)
    os.mkfifo(films / "pipe.dcm")
    (films / "device.dcm").symlink_to("/dev/zero")
    (films / "terminal.dcm").symlink_to("/dev/tty")
    (films / "pipe-link.dcm").symlink_to(films / "pipe.dcm")
    (films / "dangling.dcm").symlink_to(tmp_path / "gone")
    (films / "itself.dcm").symlink_to(films / "itself.dcm")
    (films / "deeper").mkdir()
    (films / "deeper" / "up").symlink_to(films)
    (films / "deeper" / "proc").symlink_to("/proc/self/fd")
    png(Path(os.fsdecode(os.fsencode(films) + b"/caf\xe9.png")), 2)
    with (films / "sparse.dcm").open("wb") as sparse:
        sparse.truncate(3 << 40)
    with (films / "sparse.png").open("wb") as sparse:
        sparse.write((films / "film.png").read_bytes()[:40])
        sparse.truncate(3 << 40)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(films / "socket.dcm"))
    code, log = finished(screen_run(films, out, model))
    listener.close()
    assert code == 3, log
    found = {name: reason for name, reason in reasons(out).items() if not name.isdigit()}
    assert found == {
        "film.png": "screened",
        "caf%E9.png": "screened",
        "dangling.dcm": "unreadable",
        "itself.dcm": "unreadable",
        "sparse.dcm": "empty_file",
        "sparse.png": "too_large",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_a_row(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    png(films / "film.png", 1)
    png(films / "closed" / "film.png", 2)
    (films / "closed").chmod(0)
    code, log = finished(screen_run(films, out, model))
    (films / "closed").chmod(0o700)
    assert code == 3, log
    assert reasons(out) == {"film.png": "screened", "closed": "folder_unreadable"}


def test_files_that_change_under_the_run(tmp_path: Path, model: Path) -> None:
    """Growing, replaced, gone, their folder gone: a row that is tried again, or none; never a hang."""
    films, out = tmp_path / "in", tmp_path / "out"
    for seed in range(8):
        png(films / f"{seed}-slow.png", seed)
    for name in ("a-grows", "b-goes", "d/c-with-folder", "e-pipe"):
        dicom(films / f"{name}.dcm", 9)
    stop = threading.Event()

    def disturb() -> None:
        while not stop.wait(0.005):
            with (films / "a-grows.dcm").open("ab") as file:
                file.write(b"\0" * 64)

    running = screen_run(films, out, model)
    assert running.stderr is not None
    running.stderr.readline()
    threading.Thread(target=disturb, daemon=True).start()
    (films / "b-goes.dcm").unlink()
    (films / "e-pipe.dcm").unlink()
    os.mkfifo(films / "e-pipe.dcm")
    (films / "d").rename(tmp_path / "d")
    code, log = finished(running)
    stop.set()
    assert code in (0, 3), log
    found = reasons(out)
    assert {found[f"{seed}-slow.png"] for seed in range(8)} == {"screened"}
    assert found["a-grows.dcm"] == "changed_while_read"
    for name in ("b-goes.dcm", "e-pipe.dcm", "c-with-folder.dcm", "d"):
        assert found.get(name, "unreadable") in {"unreadable", "folder_unreadable", "changed_while_read"}
    assert finished(screen_run(films, out, model))[0] == 0
    assert reasons(out)["a-grows.dcm"] == "screened"
    assert set(reasons(out)) == {f"{seed}-slow.png" for seed in range(8)} | {"a-grows.dcm"}


def test_an_input_that_goes_ends_the_run_with_1(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    for seed in range(9):
        png(films / f"{seed:02}-slow.png", seed)
    running = screen_run(films, out, model)
    while not any(map(is_decoding, family(running.pid)[1:])):
        time.sleep(0.02)
    films.rename(tmp_path / "unmounted")
    code, log = finished(running)
    assert code == 1, log
    # By the walk, if it had not come so far, or by a file that is not there.
    said = json.loads(log.splitlines()[-1])["message"]
    assert "vanished" in said or "cannot be found" in said
    assert not (out / "summary.json").exists()
    (tmp_path / "unmounted").rename(films)
    assert finished(screen_run(films, out, model))[0] == 0
    assert set(reasons(out).values()) == {"screened"}
