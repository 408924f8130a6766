"""A night in parts, put together again: the same tables as one run's, to the byte, or a refusal."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from screen.cli.main import cli
from screen.errors import UsageError
from screen.ledger import Ledger
from screen.runs.part import Part
from tests.films import dicom, png
from tests.nights import screen_run
from tests.tiny_model import tiny_model_file

TABLES = ("flagged.csv", "results.csv", "findings.csv")
N = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    return tiny_model_file(path, findings=("tumor", "abnormal"))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films, pictures, broken files, duplicates; studies whose films lie in different parts."""
    folder = tmp_path_factory.mktemp("night") / "films"
    for seed in range(12):
        dicom(folder / f"{seed:02}.dcm", seed, study=f"1.2.{seed // 4}")
        png(folder / "pictures" / f"{seed:02}.png", seed)
    for name in ("again", "b-again", "c/again"):
        dicom(folder / f"{name}.dcm", 1, study="1.2.0")
        png(folder / f"{name}.png", 3)
    dicom(folder / "other.dcm", 99, sop="1.2.3.2", study="1.2.0")
    dicom(folder / "0-other.dcm", 98, sop="1.2.3.7", study="1.2.9")
    dicom(folder / "other-patient.dcm", 4, study="1.2.1", patient="PAT-78")
    for seed in (5, 6):
        whole = (folder / f"{seed:02}.dcm").read_bytes()
        (folder / f"{seed:02}-cut.dcm").write_bytes(whole[:-3000])
    (folder / "notes.txt").write_text("no film")
    (folder / "empty").touch()
    os.mkfifo(folder / "pipe")
    return folder


def typed(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def run(films: Path | Sequence[Path], out: Path, model: Path, *options: object) -> int:
    paths = [films] if isinstance(films, Path) else films
    done = typed("run", *paths, "--out", out, "--model", model, "--device", "cpu", *COMMON, *options)
    assert not isinstance(done.exception, Exception) or done.exit_code, done.output
    return done.exit_code


COMMON = ("--workers", 1, "--batch-size", 4, "--threshold", 0.24)


def folders(at: Path, of: int = N) -> list[Path]:
    return [at / f"part-{number}" for number in range(1, of + 1)]


def run_parts(films: Path, at: Path, model: Path, *options: object, of: int = N) -> list[Path]:
    parts = folders(at, of)
    for number, part in enumerate(parts, 1):
        assert run(films, part, model, "--part", f"{number}/{of}", *options) in (0, 3)
    return parts


def merged(out: Path, parts: Sequence[Path], *options: object) -> Result:
    return typed("report", out, *options, "--parts", *parts)


def tables(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in TABLES}


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
    return found


@pytest.fixture(scope="module")
def one(films: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "out"
    assert run(films, out, model) == 3
    return out


@pytest.fixture(scope="module")
def parts(films: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return run_parts(films, tmp_path_factory.mktemp("parts"), model)


@pytest.fixture(scope="module")
def whole(parts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    done = merged(out, parts)
    assert done.exit_code == 3, done.output
    return out


def test_every_file_is_in_one_part(films: Path) -> None:
    keys = [str(path) for path in films.rglob("*")]
    for of in (1, 2, 7):
        parts = [Part(number, of) for number in range(1, of + 1)]
        assert all(sum(part.has(key) for part in parts) == 1 for key in keys)
    # SHA-256 of the key, mod N: what other programs may rely on.
    assert [Part(k, 3).has("films/00.dcm") for k in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "1/", "a/b", "01/3", "1/3 ", "-1/3", "1/501", "١/٣"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="K/N"):
        Part.from_text(text)


def test_a_part_has_a_ledger_and_a_summary_and_no_report(parts: list[Path], films: Path, one: Path) -> None:
    for number, part in enumerate(parts, 1):
        assert {path.name for path in part.iterdir()} == {".lock", "ledger.sqlite", "summary.json"}
        said = summary(part)
        assert said["part"] == f"{number}/{N}"
        assert said["files"] < 3 * summary(one)["files"] / 4
        assert said["exit_code"] == (3 if said["counts"]["status"]["failed"] else 0)
        assert "cases" not in said
        done = typed("report", part)
        assert (done.exit_code, type(done.exception)) == (2, SystemExit), done.output
        assert "--parts" in done.output
    statuses = [summary(part)["counts"]["status"] for part in parts]
    assert sum(status["failed"] for status in statuses) == summary(one)["counts"]["status"]["failed"]


def test_parts_together_are_one_run_to_the_byte(whole: Path, one: Path, parts: list[Path]) -> None:
    assert tables(whole) == tables(one)
    lines = (one / "results.csv").read_text().splitlines()
    for word in ("uid_reused", "identity_differs", "again.dcm,", "failed", "skipped"):
        assert any(word in line for line in lines), word
    pictures = {path.name: path.read_bytes() for path in (one / "heatmaps").iterdir()}
    assert {path.name: path.read_bytes() for path in (whole / "heatmaps").iterdir()} == pictures != {}
    page = (whole / "report.html").read_text()
    assert page.count("<img") == (one / "report.html").read_text().count("<img")
    assert "3 parts" in page


def test_figures_are_of_all_parts(whole: Path, one: Path, parts: list[Path]) -> None:
    said, alone = summary(whole), summary(one)
    assert said["parts"] == N
    assert alone["parts"] == 1
    for name in (
        "files",
        "cases",
        "cases_flagged",
        "cases_listed",
        "images_screened",
        "duplicates",
        "inputs",
    ):
        assert said[name] == alone[name], name
    for name in ("status", "reason", "warning"):
        assert said["counts"][name] == alone["counts"][name]
    assert said["counts"]["parts_listed_otherwise"] == 0
    of_parts = [summary(part) for part in parts]
    assert said["images_inferred"] == sum(part["images_inferred"] for part in of_parts)
    assert said["seconds"] == pytest.approx(sum(part["seconds"] for part in of_parts), abs=0.01)
    assert said["started"] == min(part["started"] for part in of_parts)
    assert said["finished"] == max(part["finished"] for part in of_parts)


def test_what_came_together_is_a_run_like_any_other(
    whole: Path, one: Path, films: Path, model: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    assert typed("report", out, "--threshold", 0.24, "--listed").exit_code == 3
    assert tables(out) == tables(one)
    # As an earlier night: nothing is inferred again, nothing listed again.
    assert run(films, tmp_path / "next", model, "--known", out / "ledger.sqlite") == 3
    assert run(films, tmp_path / "same", model, "--known", one / "ledger.sqlite") == 3
    assert tables(tmp_path / "next") == tables(tmp_path / "same")
    assert summary(tmp_path / "next")["images_inferred"] == 0
    assert summary(tmp_path / "next")["cases_listed"] == 0
    # And one machine may go on where several began.
    assert run(films, out, model) == 3
    assert (summary(out)["images_inferred"], summary(out)["parts"]) == (0, 1)
    assert tables(out) == tables(one)


def test_dicom_results_are_made_of_the_whole(whole: Path, parts: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    out = shutil.copytree(whole, tmp_path / "out")
    assert typed("dicom", parts[0]).exit_code == 2
    done = typed("dicom", out)
    assert done.exit_code == 0, done.output
    made = {path.name: path.read_bytes() for path in (out / "dicom").iterdir()}
    assert made
    # Put together again, nothing that was made is made another time, nor forgotten.
    assert merged(out, parts).exit_code == 3
    assert typed("dicom", out).exit_code == 0
    assert {path.name: path.read_bytes() for path in (out / "dicom").iterdir()} == made


def test_earlier_nights_are_known_to_parts_as_to_one_run(films: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    early = tmp_path / "early"
    for name in ("00.dcm", "01.dcm", "02.dcm", "05-cut.dcm", "pictures/03.png", "pictures/04.png"):
        (early / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(films / name, early / name)
    first = tmp_path / "first"
    assert run(early, first, model) == 3
    assert typed("dicom", first).exit_code == 0
    known = ("--known", first / "ledger.sqlite")
    one, out = tmp_path / "one", tmp_path / "out"
    assert run(films, one, model, *known) == 3
    done = merged(out, run_parts(films, tmp_path, model, *known))
    assert done.exit_code == 3, done.output
    assert tables(out) == tables(one)
    assert b"known" in tables(one)["results.csv"]
    nights = [json.loads((folder / "summary.json").read_text())["nights_before"] for folder in (out, one)]
    assert nights[0] == nights[1] and nights[0][0]["films"] > 0
    with (
        Ledger.open_readonly(out / "ledger.sqlite") as ours,
        Ledger.open_readonly(one / "ledger.sqlite") as other,
    ):
        objects = ours.objects_of("1.2.0", "PAT-77")
        assert objects == other.objects_of("1.2.0", "PAT-77") != ()
        assert all(made.earlier for made in objects)
    for folder in (out, one):
        assert typed("dicom", folder).exit_code == 0
    made = [
        sorted(line.split(",")[:5] for line in (folder / "dicom.csv").read_text().splitlines())
        for folder in (out, one)
    ]
    assert made[0] == made[1]


@pytest.mark.parametrize("mode", ["pseudonym", "none"])
def test_pseudonyms_hide_the_names_and_keep_the_order(
    films: Path, model: Path, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_SCREEN_KEY", "a key of more than sixteen characters")
    one, out = tmp_path / "one", tmp_path / "out"
    hidden = ("--identifiers", mode)
    assert run(films, one, model, *hidden) == 3
    parts = run_parts(films, tmp_path, model, *hidden)
    done = merged(out, parts)
    assert done.exit_code == 3, done.output
    # Nobody has kept where films lie, so there are no pictures: as when one run's reports are written again.
    assert typed("report", one, "--threshold", 0.24).exit_code == 3
    assert tables(out) == tables(one)
    for folder in (*parts, out):
        for path in filter(Path.is_file, folder.rglob("*")):
            data = path.read_bytes()
            assert b"PAT-77" not in data
            assert b".dcm" not in data, path


def test_a_part_that_was_killed_goes_on(films: Path, model: Path, one: Path, tmp_path: Path) -> None:
    slow = tmp_path / "films"
    shutil.copytree(films, slow, ignore=shutil.ignore_patterns("pipe"))
    # Rows are committed by 64: so many that a part is not done with the second commit.
    for seed in range(600):
        png(slow / f"{seed:03}-slow.png", 50 + seed)
    alone = tmp_path / "alone"
    assert run(slow, alone, model) == 3
    parts, out = folders(tmp_path), tmp_path / "out"
    killed: list[Path] = []
    for number, part in enumerate(parts, 1):
        options = ("--batch-size", 4, "--threshold", 0.24, "--part", f"{number}/{N}")
        running = screen_run(slow, part, model, *options)
        until_rows_are_committed(running, part)
        running.send_signal(signal.SIGSTOP)  # a machine that hangs
        # The same part twice at once: the second one leaves the first alone.
        assert run(slow, part, model, "--part", f"{number}/{N}") == 1
        running.kill()
        running.communicate()
        killed.append(part)
        refused(merged(out, killed), 1, str(parts[0]), "not finished")
    for number, part in enumerate(parts, 1):
        assert run(slow, part, model, "--part", f"{number}/{N}") in (0, 3)
        assert summary(part)["images_reused"] > 0
    assert merged(out, parts).exit_code == 3
    assert tables(out) == tables(alone)


def until_rows_are_committed(running: "subprocess.Popen[str]", out: Path) -> None:
    assert running.stderr is not None
    assert json.loads(running.stderr.readline())["event"] == "start"
    log = out / "ledger.sqlite-wal"
    sizes: set[int] = set()
    for _ in range(600):
        sizes.add(log.stat().st_size if log.exists() else 0)
        if len(sizes) > 2:  # the first commit may have no film that was screened
            return
        assert running.poll() is None
        time.sleep(0.05)
    raise AssertionError("no row was committed")


def test_a_part_that_is_at_work_is_not_finished(parts: list[Path], tmp_path: Path) -> None:
    with Ledger.open(parts[1] / "ledger.sqlite"):
        refused(merged(tmp_path / "out", parts), 1, "another run is at work", str(parts[1]))


def test_metrics_of_a_part_tell_its_files_and_no_scores(films: Path, model: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "screen.prom"
    assert run(films, tmp_path / "part", model, "--part", "1/3", "--metrics", metrics) in (0, 3)
    text = metrics.read_text()
    screened = summary(tmp_path / "part")["counts"]["status"]["screened"]
    assert f'files{{command="run",status="screened"}} {screened}\n' in text
    assert "probability_ratio" not in text


def test_an_empty_part_is_no_failure(model: Path, tmp_path: Path) -> None:
    films = png(tmp_path / "films" / "a.png", 1).parent
    one, out = tmp_path / "one", tmp_path / "out"
    assert run(films, one, model) == 0
    parts = folders(tmp_path)
    for number, part in enumerate(parts, 1):
        assert run(films, part, model, "--part", f"{number}/{N}") == 0
        assert run(films, part, model, "--part", f"{number}/{N}", "--fresh") == 0
    assert sorted(summary(part)["files"] for part in parts) == [0, 0, 1]
    assert merged(out, parts).exit_code == 0
    assert tables(out) == tables(one)
    # A listing without any file is another matter: a disk that is not mounted here.
    (films / "a.png").unlink()
    assert run(films, parts[0], model, "--part", f"1/{N}") == 1


def test_a_folder_belongs_to_one_part(parts: list[Path], whole: Path, films: Path, model: Path) -> None:
    assert run(films, parts[0], model, "--part", "2/3") == 2
    assert run(films, parts[0], model, "--part", "1/4") == 2
    assert run(films, parts[0], model) == 2
    assert run(films, whole, model, "--part", "1/3") == 2
    assert run(films, parts[0], model, "--part", "1/3") in (0, 3)


def test_each_part_has_a_folder_by_default(
    films: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = typed("run", films, "--model", model, "--device", "cpu", "--part", "2/3", "--workers", 1)
    assert done.exit_code in (0, 3), done.output
    assert [path.name for path in tmp_path.iterdir()] == ["films-screened-2-of-3"]


def refused(done: Result, code: int, *words: str) -> None:
    assert (done.exit_code, type(done.exception)) == (code, SystemExit), done.output
    for word in words:
        assert word in done.output


def test_what_is_not_all_parts_of_one_run_is_refused(
    parts: list[Path], one: Path, films: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    refused(merged(out, parts[:2]), 2, "missing", "3/3")
    refused(merged(out, [*parts, parts[1]]), 2, "both part 2/3")
    refused(merged(out, [*parts, tmp_path / "nowhere"]), 2, "nowhere")
    refused(merged(out, [*parts[:2], one]), 2, "without --part")
    refused(merged(parts[2], parts), 2, "of their own")
    other = tmp_path / "other"
    assert run(films, other, model, "--part", "3/4") in (0, 3)
    refused(merged(out, [*parts[:2], other]), 2, "not of one run")
    for number, (option, word) in enumerate(
        {"--heatmaps": "heatmaps", "--batch-size": "batch_size", "--threshold": "decision"}.items()
    ):
        other = tmp_path / f"other-{number}"
        value = "1" if option != "--threshold" else "0.25"
        assert run(films, other, model, "--part", "3/3", option, value) in (0, 3)
        refused(merged(out, [*parts[:2], other]), 2, word, str(other))
    elsewhere = tmp_path / "films"
    shutil.copytree(films, elsewhere, ignore=shutil.ignore_patterns("pipe"))
    other = tmp_path / "moved"
    assert run(elsewhere, other, model, "--part", "3/3") in (0, 3)
    refused(merged(out, [*parts[:2], other]), 2, "INPUT")
    assert not out.exists()


def test_a_file_in_two_parts_is_refused_and_nothing_is_changed(
    parts: list[Path], whole: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    double = shutil.copytree(parts[0], tmp_path / "double")
    with sqlite3.connect(parts[1] / "ledger.sqlite") as source:
        row = source.execute("SELECT * FROM rows LIMIT 1").fetchone()
    with sqlite3.connect(double / "ledger.sqlite") as db:
        db.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        db.execute("INSERT INTO listing VALUES (1000, ?, ?, NULL)", row[:2])
    db.close()
    before = content(out)
    refused(merged(out, [double, *parts[1:]]), 2, "another part", row[0])
    assert content(out) == before


def content(out: Path) -> tuple[dict[Path, bytes], list[str]]:
    """Reports, and what the ledger says."""
    files = {
        path: path.read_bytes() for path in out.rglob("*.*") if path.suffix in (".csv", ".json", ".html")
    }
    with sqlite3.connect(out / "ledger.sqlite") as db:
        dump = list(db.iterdump())
    db.close()
    return files, dump


def test_a_damaged_part_is_refused_by_name(parts: list[Path], tmp_path: Path) -> None:
    broken = shutil.copytree(parts[0], tmp_path / "broken")
    with sqlite3.connect(broken / "ledger.sqlite") as db:
        db.execute('UPDATE rows SET row = replace(row, \'"gate":\', \'"gate":null,"was":\')')
    db.close()
    refused(merged(tmp_path / "out", [broken, *parts[1:]]), 1, str(broken))


def test_a_film_out_of_reach_costs_its_picture(films: Path, model: Path, tmp_path: Path) -> None:
    here = tmp_path / "films"
    shutil.copytree(films, here, ignore=shutil.ignore_patterns("pipe"))
    parts, out = run_parts(here, tmp_path, model), tmp_path / "out"
    shutil.rmtree(here)
    assert merged(out, parts).exit_code == 3
    assert not any((out / "heatmaps").iterdir())
    assert summary(out)["cases_flagged"] > 0


def test_parts_that_listed_different_files_say_so(model: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    for seed in range(6):
        png(films / f"{seed}.png", seed)
    parts, out = folders(tmp_path), tmp_path / "out"
    for number, part in enumerate(parts, 1):
        assert run(films, part, model, "--part", f"{number}/{N}") == 0
        png(films / f"late-{number}.png", 10 + number)
    assert merged(out, parts).exit_code == 0
    assert summary(out)["counts"]["parts_listed_otherwise"] == 2
    assert "did not list the same files" in (out / "report.html").read_text()
    # The same commands once more, and nothing has been left out.
    one = tmp_path / "one"
    assert run(films, one, model) == 0
    for number, part in enumerate(parts, 1):
        assert run(films, part, model, "--part", f"{number}/{N}") == 0
    assert merged(out, parts).exit_code == 0
    assert tables(out)["results.csv"] == tables(one)["results.csv"]
    assert summary(out)["counts"]["parts_listed_otherwise"] == 0


def test_what_does_not_go_together_is_refused(whole: Path, parts: list[Path], tmp_path: Path) -> None:
    refused(merged(whole, parts, "--out", tmp_path / "x"), 2, "--out")
    refused(typed("report", whole, parts[0]), 2, "one DIR")
