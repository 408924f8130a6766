"""The examples for clusters, as they stand: parts on Ray, two of them killed on the way, and a task array."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.films import dicom, png
from tests.places import ROOT
from tests.tiny_model import tiny_model_file

EXAMPLES = ROOT / "examples" / "cluster"
OPTIONS = ("--device", "cpu", "--batch-size", "4", "--workers", "1", "--threshold", "0.24")


def night(folder: Path, films: int) -> Path:
    """Films, pictures, a study in several parts, a duplicate, a broken film, a text."""
    for seed in range(films):
        dicom(folder / f"{seed:03}.dcm", seed, study=f"1.2.{seed // 4}")
        png(folder / "pictures" / f"{seed:03}.png", seed)
    whole = dicom(folder / "again.dcm", 1, study="1.2.0").read_bytes()
    (folder / "cut.dcm").write_bytes(whole[:-3000])
    (folder / "notes.txt").write_text("no film")
    return folder


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.csv")}


def environment(**others: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **others}


def one_run(films: Path, out: Path, model: Path) -> dict[str, bytes]:
    command = [sys.executable, "-m", "screen", "run", films, "--out", out, "--model", model, *OPTIONS]
    assert subprocess.run(command, env=environment(), capture_output=True).returncode == 3
    return tables(out)


def test_four_parts_on_ray_two_of_them_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra 'cluster'")
    films, model = night(tmp_path / "films", 700), tiny_model_file(tmp_path / "tiny.onnx")
    out, log = tmp_path / "night", tmp_path / "log"
    options = {"model": str(model), "device": "cpu", "batch_size": 4, "threshold": 0.24}
    script = [sys.executable, EXAMPLES / "screen_on_ray.py", films, out, "--parts", "4", "--cpus", "1"]
    with log.open("wb") as stream:
        ray = subprocess.Popen(
            [*script, "--options", json.dumps(options)], env=environment(), stdout=stream, stderr=stream
        )
        try:
            killed = {number: kill_when_rows_are_there(out / f"part-{number}", ray) for number in (1, 4)}
            code = ray.wait(timeout=240)
        finally:
            ray.kill()
            ray.wait()
    assert code == 3, log.read_text()[-3000:]
    assert tables(out / "report") == one_run(films, tmp_path / "one", model)
    for number, pid in killed.items():
        part = out / f"part-{number}"
        assert json.loads((part / "summary.json").read_bytes())["images_reused"] > 0
        assert f"process {pid} " not in (part / ".lock").read_text()
    assert log.read_text().count("are left") == 4


def kill_when_rows_are_there(part: Path, ray: "subprocess.Popen[bytes]") -> int:
    """The process that screens the part, once it has committed something; killed with -9."""
    wal, sizes = part / "ledger.sqlite-wal", set()
    for _ in range(4000):
        assert ray.poll() is None
        if wal.exists():
            sizes.add(wal.stat().st_size)
        if len(sizes) > 2:
            pid = int(re.match(r"process (\d+) ", (part / ".lock").read_text())[1])
            os.kill(pid, signal.SIGKILL)
            return pid
        time.sleep(0.02)
    raise AssertionError("no row was committed")


def test_a_task_array(tmp_path: Path) -> None:
    films, model = night(tmp_path / "films", 4), tiny_model_file(tmp_path / "tiny.onnx")
    out, command = tmp_path / "night", tmp_path / "bin" / "screen"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m screen "$@"\n')
    command.chmod(0o755)
    told = ["--model", model, *OPTIONS]
    for number in (1, 2, 3):
        task = environment(
            PATH=f"{command.parent}:{os.environ['PATH']}",
            SLURM_ARRAY_TASK_ID=str(number),
            SLURM_ARRAY_TASK_COUNT="3",
            SLURM_CPUS_PER_TASK="2",
        )
        done = subprocess.run(["bash", EXAMPLES / "screen.sbatch", films, out, *told], env=task)
        assert done.returncode == 0  # with a failed film, too: the report is to be written
    report = [sys.executable, "-m", "screen", "report", out / "report", "--parts", *out.glob("part-*")]
    assert subprocess.run(report, env=environment()).returncode == 3
    assert tables(out / "report") == one_run(films, tmp_path / "one", model)
