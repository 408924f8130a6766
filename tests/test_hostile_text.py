"""Names and tags that are formulas, markup, escape sequences, direction marks: inert wherever they land."""

import csv
import io
import json
import os
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest

from screen.cli import cli
from screen.runs import RunSettings, run
from screen.runs.progress import JsonLines
from tests.films import dicom, png, retagged
from tests.micro_model import micro_bytes

TEXTS = (
    "=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(1)", "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>', "a\u202egpj.exe", "\u2066x\u2069", "a\x1b[2Jb", "a\nb",
    "a\rb", "a\tb", "\u2028c", "x" * 200, "..", "..\\..",
    "a;=1", "'=1", "\ufeffbom", "%0A", "[red]x[/red]", "\u200b=1",
)  # fmt: skip
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "micro.onnx"
    path.write_bytes(micro_bytes())
    return path


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Every text as a file's name, as patient, accession number and study, on films and on what is none."""
    folder = tmp_path / "in=\u202e"
    for seed, text in enumerate(TEXTS):
        name = text if text != ".." else "dots"
        png(folder / f"{name}.png", seed)
        film = dicom(folder / f"{seed}.dcm", seed + 100, study=f"1.2.{seed}")
        data = film.read_bytes()
        for old in (b"PAT-77", b"ACC-55", f"1.2.{seed}".encode()):
            data = retagged(data, old, text.encode()[:60])
        (folder / f"{name}.dcm").write_bytes(data)
        film.unlink()
        (folder / f"{name}.txt").write_text(text)
        (folder / f"{name}.cut.dcm").write_bytes(data[:-7000])
    (folder / os.fsdecode(b"caf\xe9\x80.png")).write_bytes(b"")
    return folder


def test_nothing_that_a_run_writes_does_anything(
    hostile: Path, tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settings = RunSettings(
        inputs=(hostile,), out=out, model=model, device="cpu", workers=2, threshold=0.01, timings=True
    )
    assert run(settings, JsonLines()) == 3
    check_tables(out, sum(path.is_file() for path in hostile.rglob("*")))
    check_page((out / "report.html").read_text("utf-8"))
    written = json.loads((out / "summary.json").read_text("utf-8"))
    assert written["inputs"] == [f"{tmp_path}/in=%E2%80%AE"]
    for name in ("summary.json", "report.html"):
        check_visible((out / name).read_text("utf-8").replace("\n", ""))
    log = capfd.readouterr().err
    assert log.isascii()
    assert [json.loads(line)["event"] for line in log.splitlines()].count("failed") == len(TEXTS) + 1
    for path in out.rglob("*"):
        assert re.fullmatch(r"[.A-Za-z0-9_-]+", path.name)
        assert not path.is_symlink()


def check_tables(out: Path, files: int) -> None:
    for path in out.glob("*.csv"):
        text = path.read_text("utf-8")
        lines = list(csv.reader(io.StringIO(text, newline="")))
        assert len(lines) == len(text.splitlines())
        for cell in (cell for line in lines for cell in line):
            check_visible(cell)
            number = re.fullmatch(r"-?\d+\.\d{6}", cell)
            assert number or not re.match(r"\s*[=+\-@]", cell), cell
        if path.name == "results.csv":
            assert len(lines) == files + 1
            assert len({line[0] for line in lines}) == files + 1


def check_visible(text: str) -> None:
    assert [c for c in text if unicodedata.category(c) in INVISIBLE] == []


def check_page(page: str) -> None:
    parsed = Page(page)
    assert not re.search(r"<script[^>]*>[^<]*alert", page)
    for tag, attributes in parsed.tags:
        assert tag not in {"iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:image/", "#", "heatmaps/"))


def test_messages_cannot_steer_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with pytest.raises(SystemExit) as ended:
        cli(["run", str(tmp_path / "a\x1b[2J\u202eb"), "--out", str(tmp_path / "out")])
    _, said = capsys.readouterr().err.split("screen: ")
    assert ended.value.code == 1
    check_visible(said.rstrip("\n"))
