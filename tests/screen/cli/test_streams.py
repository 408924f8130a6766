"""Logs that are closed, full or read by nobody: a run does its work all the same, with its own exit code."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from screen.runs.progress import JsonLines, Terminal, progress_for_stderr
from tests.films import dicom
from tests.micro_model import micro_bytes
from tests.nights import tables
from tests.places import ROOT


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A folder to work in: films of which one is broken, and a model."""
    for number in range(3):
        dicom(tmp_path / "films" / f"{number}.dcm", number)
    (tmp_path / "films" / "cut.dcm").write_bytes((tmp_path / "films" / "0.dcm").read_bytes()[:-6000])
    (tmp_path / "model.onnx").write_bytes(micro_bytes())
    return tmp_path


RUN = "run films --out out --model model.onnx --device cpu --workers 1"


def shell(
    night: Path, command: str, redirected: str, module: str = "screen"
) -> subprocess.CompletedProcess[str]:
    line = f"{shlex.quote(sys.executable)} -m {module} {command} {redirected}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=night,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


CLOSED = "<&- >&- 2>&-"


@pytest.mark.parametrize(
    "redirected",
    ["2>&-", CLOSED, "<&-", ">&-", "2>/dev/full", ">/dev/full 2>/dev/full", "2> >(exec 0<&-)", "2>/dev/null"],
)
def test_trouble_with_the_log_changes_nothing(night: Path, redirected: str) -> None:
    done = shell(night, RUN, redirected)
    assert done.returncode == 3, done.stderr
    out = night / "out"
    assert json.loads((out / "summary.json").read_text())["exit_code"] == 3
    assert set(tables(out)) == {"results.csv", "flagged.csv"}
    assert (out / ".lock").read_text().startswith("process ")
    assert shell(night, "report out", redirected).returncode == 3


@pytest.mark.parametrize("redirected", ["2>&-", CLOSED, "2>/dev/full"])
@pytest.mark.parametrize(
    ("command", "code"), [("run gone --out out", 1), ("run films --workers none", 2), ("run -", 2)]
)
def test_an_error_that_cannot_be_said_keeps_its_exit_code(
    night: Path, redirected: str, command: str, code: int
) -> None:
    assert shell(night, command, redirected).returncode == code


@pytest.mark.parametrize("redirected", ["2>&-", CLOSED, "2>/dev/full"])
@pytest.mark.parametrize("module", ["train", "export", "benchmarks"])
def test_the_other_commands_too(night: Path, module: str, redirected: str) -> None:
    assert shell(night, "--help", redirected, module).returncode == 0
    assert shell(night, "nonsense", redirected, module).returncode == 2


def test_an_answer_that_is_lost_is_an_error_and_no_bug(night: Path) -> None:
    for command in ("model show", "--help", "doctor"):
        done = shell(night, command, ">/dev/full")
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        said = json.loads(line)
        assert said["event"] == "error"
        assert "standard output: cannot be written (No space left on device)" in said["message"]


def test_who_reads_the_beginning_only_is_told_nothing(night: Path) -> None:
    done = shell(night, "model show", "| head -1")
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize("kind", ["none", "closed", "full"])
def test_the_log_of_who_calls_from_python(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull if kind == "closed" else "/dev/full", "w") as stream:  # noqa: PTH123
        if kind == "closed":
            stream.close()
        monkeypatch.setattr(sys, "stderr", None if kind == "none" else stream)
        with progress_for_stderr() as progress:
            assert isinstance(progress, JsonLines)
            progress.event("said", film="a")
        monkeypatch.undo()
        if kind == "full":
            with pytest.raises(OSError, match="No space"):
                stream.close()


def test_a_log_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said after a while of trouble is written."""

    class Filling:
        """A disk that is full for the second line."""

        encoding, errors = "utf-8", None

        def __init__(self) -> None:
            self.lines: list[str] = []
            self.calls = 0

        def write(self, text: str) -> None:
            self.calls += 1
            if self.calls == 2:
                raise OSError(28, "No space left on device")
            self.lines.append(text)

        def flush(self) -> None: ...

        def isatty(self) -> bool:
            return False

    stream = Filling()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = JsonLines()
    for name in ("one", "two", "three"):
        progress.event(name)
    assert [json.loads(line)["event"] for line in stream.lines] == ["one", "three"]


def test_a_terminal_that_is_gone_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    stream = open(theirs, "w")  # noqa: PTH123, SIM115
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_for_stderr() as progress:
        assert isinstance(progress, Terminal)
        os.close(ours)
        progress.event("said", film="a")
    monkeypatch.undo()
    with pytest.raises(OSError, match="Input/output"):
        stream.close()
