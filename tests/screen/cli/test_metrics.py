"""`--metrics`: what Prometheus is told, however a command ends."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from screen.cli import cli
from screen.cli.metrics import metrics_file
from screen.errors import ScreenError, UsageError
from tests.films import png
from tests.micro_model import micro_bytes


def values(path: Path) -> dict[str, float]:
    """By metric and labels; its form is checked."""
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    if promtool := shutil.which("promtool"):
        subprocess.run([promtool, "check", "metrics"], input=text, text=True, check=True)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'cxr_screen_\w+\{(\w+="[^"]*",?)+\} [0-9.]+', line) for line in lines)
    names = {line.partition("{")[0] for line in lines}
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} == names
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture(autouse=True)
def private() -> Iterator[None]:
    """As the nightly services have it."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_a_run_tells_files_and_percentiles_and_what_is_at_work(tmp_path: Path) -> None:
    for number in range(3):
        png(tmp_path / "films" / f"{number}.png", number)
    (tmp_path / "films" / "notes.txt").write_text("text")
    (tmp_path / "model.onnx").write_bytes(micro_bytes())
    out, told = tmp_path / "out", tmp_path / "run.prom"
    run = ["run", str(tmp_path / "films"), "--out", str(out), "--model", str(tmp_path / "model.onnx")]
    result = CliRunner().invoke(cli, [*run, "--device", "cpu", "--workers", "1", "--metrics", str(told)])
    assert result.exit_code == 0, result.output
    found = values(told)
    assert found['cxr_screen_last_run_exit_code{command="run"}'] == 0
    summary = json.loads((out / "summary.json").read_bytes())
    for status, count in summary["counts"]["status"].items():
        assert found[f'cxr_screen_last_run_files{{command="run",status="{status}"}}'] == count
    ratios = [
        value for name, value in found.items() if name.startswith("cxr_screen_last_run_probability_ratio")
    ]
    assert len(ratios) % 4 == 0
    assert ratios[:4] == sorted(ratios[:4])
    assert any(f'weights="{summary["digests"]["weights"][:12]}"' in name for name in found)

    success = found['cxr_screen_last_success_timestamp_seconds{command="run"}']
    shutil.rmtree(tmp_path / "films")
    assert CliRunner().invoke(cli, [*run, "--device", "cpu", "--metrics", str(told)]).exit_code == 1
    found = values(told)
    assert found['cxr_screen_last_run_exit_code{command="run"}'] == 1
    assert found['cxr_screen_last_success_timestamp_seconds{command="run"}'] == success
    assert not any(name.startswith("cxr_screen_last_run_files") for name in found)


@pytest.mark.parametrize(
    ("error", "code"),
    [(ScreenError("x"), 1), (UsageError("x"), 2), (KeyboardInterrupt(), 130), (RuntimeError("x"), 1)],
)
def test_every_end_is_told(tmp_path: Path, error: BaseException, code: int) -> None:
    told = tmp_path / "fetch.prom"
    with pytest.raises(type(error)), metrics_file(told, "fetch"):
        raise error
    found = values(told)
    assert found['cxr_screen_last_run_exit_code{command="fetch"}'] == code
    assert not any("last_success" in name for name in found)


def test_a_folder_that_is_not_there_is_said_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its folder"), metrics_file(tmp_path / "no" / "x.prom", "send"):
        raise AssertionError


def test_a_file_that_cannot_be_written_fails_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    with metrics_file(folder / "x.prom", "send") as measured:
        folder.rmdir()
        measured.exit_code = 3
    assert json.loads(capsys.readouterr().err)["event"] == "metrics_lost"
