"""The command line: quick to answer, clear when something is missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from screen.cli import cli, main
from screen.errors import how_to_install
from tests.places import ROOT

HEAVY = {
    "cv2",
    "highdicom",
    "httpx",
    "imagecodecs",
    "numpy",
    "onnx",
    "onnxruntime",
    "pydicom",
    "rich",
    "torch",
}


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["run", "--help"],
        ["doctor", "--help"],
        ["fetch", "--help"],
        ["send", "--help"],
        ["--version"],
    ],
)
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    done = python(
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from screen.cli import cli, main\n"
        f"result = CliRunner().invoke(cli, {args!r})\n"
        "assert result.exit_code == 0, result.output\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    assert done.stdout == "[]\n", done.stderr


def test_every_listed_command_is_there() -> None:
    runner = CliRunner()
    for name in main._COMMANDS:
        if name not in main._EXTRAS:
            assert runner.invoke(cli, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("extra", "args"),
    [
        ("train", ["train", "pretrain", "setup.cfg", "--out", "out"]),
        ("export", ["export", "onnx", "setup.cfg", "--probes", "setup.cfg", "--out", "m.onnx"]),
    ],
)
def test_a_missing_extra_is_named_with_the_line_that_installs_it(extra: str, args: list[str]) -> None:
    done = python(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'onnx', 'onnxscript', 'safetensors', 'matplotlib'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import screen.cli.main as c\n"
        f"sys.argv = ['screen', *{args!r}]\n"
        "c.main()\n"
    )
    assert done.returncode == 2, done.stdout + done.stderr
    said = json.loads(done.stderr.splitlines()[-1])
    assert how_to_install(extra) in said["message"]


def test_our_own_missing_module_is_a_bug_and_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main._COMMANDS, "train", ("train.not_there", ""))
    result = CliRunner().invoke(cli, ["train"])
    assert isinstance(result.exception, ModuleNotFoundError)


def test_bench_without_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "__file__", str(tmp_path / "screen" / "cli" / "main.py"))
    result = CliRunner().invoke(cli, ["bench"])
    assert result.exit_code == 2
    assert "needs a checkout" in result.stderr


def test_errors_are_one_json_line_in_a_log(tmp_path: Path) -> None:
    missing = str(tmp_path / "no-such-folder")
    command = [sys.executable, "-m", "screen", "run", missing]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    said = json.loads(done.stderr)
    assert (done.returncode, said["event"], said["exit_code"]) == (1, "error", 1)
    assert "no-such-folder" in said["message"]
    assert done.stdout == ""


def test_a_bug_is_one_json_line_in_a_log() -> None:
    done = python(
        "import screen.cli.main as c, sys\n"
        "c._COMMANDS['run'] = ('json', '')\n"
        "sys.argv = ['screen', 'run']\n"
        "c.main()\n"
    )
    said = json.loads(done.stderr)
    assert (done.returncode, said["event"]) == (1, "bug")
    assert "AttributeError" in said["traceback"]


@pytest.mark.parametrize(
    "args",
    [
        ["run"],
        ["run", "x", "--batch-size", "0"],
        ["run", "x", "--workers", "many"],
        ["run", "-"],
        ["run", "-", "x", "--out", "y"],
        ["run", "x", "--identifiers", "some"],
        ["run", "x", "--identities", "y"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_exit_code_2(args: list[str]) -> None:
    assert CliRunner().invoke(cli, args).exit_code == 2
