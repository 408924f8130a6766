"""What a run tells whoever started it: how far it is, where to look in the end, and what it would do."""

import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from screen.cli import cli
from screen.runs.counting import FileCount
from screen.runs.identifiers import Identifiers
from screen.runs.inputs import Inputs
from screen.runs.part import Part
from screen.runs.progress import Counts
from tests.films import png
from tests.nights import finished, screen_run
from tests.places import ROOT
from tests.tiny_model import tiny_model_file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_file(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    for seed in range(3):
        png(tmp_path / "in" / f"{seed}.png", seed)
    (tmp_path / "in" / "cut.png").write_bytes((tmp_path / "in" / "0.png").read_bytes()[:60])
    (tmp_path / "in" / "notes.txt").write_text("no film")
    return tmp_path / "in"


def test_the_log_ends_with_the_page_and_the_number_flagged(films: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    code, log = finished(screen_run(films, out, model, "--threshold", "0"))
    assert code == 3, log
    last = json.loads(log.splitlines()[-1])
    assert (last["event"], last["flagged"], last["cases"], last["failed"]) == ("finished", 3, 3, 1)
    assert last["page"] == str(out / "report.html")


def test_a_terminal_ends_with_one_line_that_says_where_to_look(
    films: Path, tmp_path: Path, model: Path
) -> None:
    ours, theirs = pty.openpty()
    args = ["run", films, "--out", tmp_path / "out", "--model", model, "--device", "cpu", "--workers", 1]
    process = subprocess.Popen(
        [sys.executable, "-m", "screen", *map(str, args), "--threshold", "0"], stderr=theirs, cwd=ROOT
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # a terminal that nobody writes to any more
            break
        if not data:
            break
        said += data
    os.close(ours)
    assert process.wait(60) == 3
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode()).replace("\r", "\n")
    last = [line for line in text.splitlines() if line.strip()][-1]
    page = tmp_path / "out" / "report.html"
    assert last == f"3 of 3 cases flagged, 1 of 5 files could not be read: {page}"


def test_the_line_says_how_much_there_is_and_how_long_it_takes() -> None:
    counts = Counts(listed=60, done=50, reused=10, inferred=38, skipped=2)
    assert counts.line(20.0).startswith("50 files · 38 inferred")
    counts.total = 250
    assert counts.line(20.0).startswith("50 of 250 files · 2 min left · ")  # 200 more at 0.5 s
    assert counts.facts(20.0)["total"] == 250
    counts.total = 10_050
    assert "1 h 23 min left" not in counts.line(20.0) and "83 min left" in counts.line(20.0)
    counts.total = 100_050
    assert "13 h 53 min left" in counts.line(20.0)
    counts.total = 40  # files that came after they were counted
    assert counts.line(20.0).startswith("50 of 50 files · 38")


def test_files_are_counted_in_the_background_and_parts_count_theirs(films: Path, tmp_path: Path) -> None:
    totals = []
    for part in (None, Part(1, 2), Part(2, 2)):
        counts = Counts()
        inputs = Inputs((films,), None, Identifiers())
        with FileCount(inputs.sources(tmp_path / "out"), part, counts):
            for _ in range(200):
                if counts.total is not None:
                    break
                time.sleep(0.05)
        totals.append(counts.total)
    assert totals[0] == 5
    assert totals[1] is not None and totals[2] is not None and totals[1] + totals[2] == 5


def dry(*arguments: object) -> list[str]:
    done = CliRunner().invoke(cli, ["run", *map(str, arguments), "--dry-run"])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    films: Path, tmp_path: Path, model: Path
) -> None:
    out = tmp_path / "out"
    assert dry(films, "--out", out) == [
        f"5 files, for {out}",
        "5 would be read: screened, or skipped for what is in them",
        "0 have a result that would be reused",
    ]
    assert not out.exists()
    assert finished(screen_run(films, out, model))[0] == 3
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    (films / "2.png").unlink()
    png(films / "new.png", 9)
    (films / "gone.png").symlink_to(tmp_path / "nowhere")
    assert dry(films, "--out", out) == [
        f"6 files, for {out}",
        "1 would be read: screened, or skipped for what is in them",
        "4 have a result that would be reused (2 screened, 1 skipped, 1 failed)",
        "1 cannot be reached, and would be failed",
    ]
    assert dry(films, "--out", out, "--retry-failed")[1].startswith("2 would be read")
    assert dry(films, "--out", out, "--fresh")[1].startswith("5 would be read")
    assert "others" not in dry(films, "--out", out)[-1]
    assert dry(films, out.parent, "--out", tmp_path / "other", "--part", "1/1")[-1].startswith("1 folders")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_dry_run_of_nothing_fails_as_the_run_would(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    arguments = ["run", str(tmp_path / "empty"), "--dry-run"]
    assert CliRunner().invoke(cli, arguments).exit_code == 1
    assert CliRunner().invoke(cli, [*arguments, "--allow-empty"]).exit_code == 0
