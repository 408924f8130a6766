"""A night's folder, and `screen run` over it in a process of its own, its decoders prone to accidents."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from tests.films import dicom, png
from tests.places import ROOT

# What stands before `run`: the command with `tests.faulty_decode` in its workers.
FAULTY_SCREEN = (
    sys.executable,
    "-c",
    "from screen.cli.main import main; from screen.runs import Wiring\n"
    "main(Wiring(decode='tests.faulty_decode:faulty'))\n",
)


def night(folder: Path, films: int, slow: int = 0) -> Path:
    """PNG and DICOM in turns, `slow` of them so; a duplicate, a reused UID, a broken film, a text."""
    for seed in range(films):
        name = f"{seed:02}{'-slow' if seed < slow else ''}"
        if seed % 2:
            dicom(folder / f"{name}.dcm", seed, study=f"1.2.{seed // 4}")
        else:
            png(folder / f"{name}.png", seed)
    dicom(folder / "again.dcm", 1, study="1.2.0")
    dicom(folder / "other.dcm", 99, sop="1.2.3.2", study="1.2.0")
    (folder / "cut.dcm").write_bytes((folder / "again.dcm").read_bytes()[:-6000])
    (folder / "notes.txt").write_text("no film")
    return folder


def screen_run(
    inputs: Path, out: Path, model: Path, *options: object, stderr: int | IO[str] = subprocess.PIPE
) -> "subprocess.Popen[str]":
    """`screen run` on the CPU with one worker."""
    args = ["run", inputs, "--out", out, "--model", model, "--device", "cpu", "--workers", 1, *options]
    return subprocess.Popen(
        [*FAULTY_SCREEN, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=ROOT,
        env=os.environ,
    )


def finished(process: "subprocess.Popen[str]", timeout: float = 60) -> tuple[int, str]:
    """Exit code and log of a run."""
    _, log = process.communicate(timeout=timeout)
    return process.returncode, log


def tables(out: Path) -> dict[str, bytes]:
    """The tables of a run, by name."""
    return {name: (out / name).read_bytes() for name in ("results.csv", "flagged.csv")}
