"""Nothing leaves the machine, and nothing is left behind: no look-up, no file that nobody asked for."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.films import dicom, png
from tests.micro_model import micro_bytes
from tests.places import ROOT
from tests.tiny_model import tiny_model_bytes

# Python's own network calls, of a process and of all its children, one a line.
HOOK = """
import sys

def note(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        with open({said!r}, "a") as file:
            print(event, args, file=file)

sys.addaudithook(note)
"""


class Place:
    """An empty home and an empty folder for temporary files; one to work in, with films and a model."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary, self.work = (folder / name for name in ("home", "tmp", "work"))
        self._network, self._trace, hook = folder / "network", folder / "strace", folder / "hook"
        for made in (self.home, self.temporary, self.work, hook):
            made.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK.format(said=str(self._network)))
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": f"{hook}{os.pathsep}{ROOT}",
        }
        for number in range(8):
            dicom(self.work / "films" / f"{number}.dcm", number)
        png(self.work / "films" / "8.png", 8)
        (self.work / "labels.csv").write_text("file,tumor\n0.dcm,0\n1.dcm,1\n")
        (self.work / "model.onnx").write_bytes(micro_bytes())
        (self.work / "tiny.onnx").write_bytes(tiny_model_bytes(size=32))

    def run(self, module: str, *arguments: str) -> None:
        """`python -m MODULE`, which ends well and calls nobody."""
        command = [sys.executable, "-m", module, *arguments]
        if traced := shutil.which("strace"):
            # What native code does is seen by the kernel alone.
            command = [traced, "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(self._trace), *command]
        done = subprocess.run(
            command,
            cwd=self.work,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not self._network.exists(), self._network.read_text()
        if traced:
            assert "AF_INET" not in self._trace.read_text()

    def visible(self) -> set[str]:
        """Names in the folder to work in."""
        return {path.name for path in self.work.iterdir()}

    def left(self) -> list[str]:
        """What lies in the home and among temporary files."""
        return sorted(
            path.relative_to(folder).as_posix()
            for folder in (self.home, self.temporary)
            for path in folder.rglob("*")
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


RUN = ("run", "films", "--out", "out", "--model", "model.onnx", "--device", "cpu", "--workers", "1")


@pytest.mark.parametrize(
    "commands",
    [
        [("screen", *RUN), ("screen", "report", "out"), ("screen", *RUN, "--fresh")],
        [("screen", *RUN), ("screen", "dicom", "out", "--cases", "all")],
        [
            ("screen", *RUN),
            ("screen", "evaluate", "out", "--labels", "labels.csv", "--out", "evaluation"),
            ("screen", "calibrate", "out", "--prevalence", "0.005", "--out", "decision.json"),
        ],
        [("screen", "run", "films", "--out", "out", "--device", "openvino", "--workers", "1")],
        [("screen", "inspect", "films/0.dcm", "--out", "square.png")],
        [("screen", "doctor")],
        [("screen", "model", "show"), ("screen", "model", "verify", "model.onnx"), ("screen", "--help")],
        [
            ("train", "--help"),
            (
                *("train", "pretrain", "films", "--out", "runs/small"),
                *("--epochs", "1", "--batch-size", "4", "--size", "32"),
            ),
        ],
        [
            ("export", "--help"),
            ("export", "checkpoint", "--out", "checkpoint"),
            ("export", "certify", "--devices", "openvino", "--films", "films", "--out", "certified.onnx"),
        ],
        [
            ("benchmarks", "--help"),
            ("benchmarks", "decode", "films"),
            (
                *("benchmarks", "model", "--model", "tiny.onnx"),
                *("--seconds", "0.1", "--batch-size", "1", "--repeats", "1"),
            ),
        ],
    ],
    ids=lambda commands: commands[0][1] if commands[0][0] == "screen" else commands[0][0],
)
def test_no_command_calls_anybody_or_leaves_anything(place: Place, commands: list[tuple[str, ...]]) -> None:
    before = place.visible()
    for module, *arguments in commands:
        place.run(module, *arguments)
    # torch makes the folder for compiled code on import, and leaves it empty without --compile.
    assert [name for name in place.left() if not re.fullmatch(r"torchinductor_[^/]+", name)] == []
    named = {Path(word).parts[0] for command in commands for word in command}
    # `--out checkpoint` writes checkpoint.json and others.
    assert {name.partition(".")[0] for name in place.visible() - before} <= {
        n.partition(".")[0] for n in named
    }


def test_the_key_for_pseudonyms_is_the_one_thing_kept(place: Place) -> None:
    place.run("screen", *RUN, "--identifiers", "pseudonym")
    assert place.left() == [".config", ".config/cxr-screen", ".config/cxr-screen/key"]


def imports(path: Path, library: str) -> bool:
    """Whether a file imports a library, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.partition(".")[0] == library for name in names):
            return True
    return False


def test_telemetry_is_off_before_the_runtime_can_be_imported() -> None:
    """A package's `__init__` runs before any module of it: there it is switched off."""
    packages = {
        path.relative_to(ROOT).parts[0]
        for folder in ("screen", "train", "export", "benchmarks", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if imports(path, "onnxruntime")
    }
    assert packages == {"screen", "export", "benchmarks"}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    for package in packages:
        told = (
            f"import os, sys, {package}\n"
            "print(os.environ['ORT_DISABLE_TELEMETRY'], 'onnxruntime' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", told], capture_output=True, text=True, cwd=ROOT, env=environment
        )
        assert done.stdout == "1 False\n", done.stderr


def test_openvino_is_imported_in_one_place_that_keeps_it_quiet() -> None:
    """Its model converter, which its own import loads, reports to its maker and leaves an id in the home."""
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("screen", "train", "export", "benchmarks", "examples", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if imports(path, "openvino")
    }
    assert found == {"screen/backends/openvino.py"}


def test_both_are_off_in_the_tests_too() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    assert pytest.importorskip("openvino")
    assert not any(name.startswith("openvino_telemetry") for name in sys.modules)
