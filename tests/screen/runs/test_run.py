"""`screen run` end to end, with a random network, on films made in code: what an operator relies on."""

import csv
import io
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from screen.backends import Backend, open_backend
from screen.cli import cli
from screen.codes import Reason
from screen.decide import Decision, decision_from
from screen.discover import Pause, Source
from screen.errors import InputError, LedgerError, ScreenError, UsageError
from screen.ledger import Ledger
from screen.model import load_model
from screen.readers import Limits
from screen.runs import RunSettings, Wiring, inputs, reopen, run
from screen.runs.folder import locked_folder
from screen.runs.progress import JsonLines
from screen.runs.stream import Screening
from tests.films import dicom, png
from tests.nights import FAULTY_SCREEN
from tests.places import ROOT
from tests.tiny_model import tiny_model_file

CSVS = ("results.csv", "flagged.csv")
FAULTY = Wiring(decode="tests.faulty_decode:faulty")
REPORTS = (*CSVS, "summary.json", "report.html", "heatmaps")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_file(tmp_path_factory.mktemp("model") / "tiny.onnx")


def screen(
    inputs: Path | Sequence[Path], out: Path, model: Path, parts: Wiring | None = None, **options: Any
) -> int:
    given = (inputs,) if isinstance(inputs, Path) else tuple(inputs)
    settings = RunSettings(
        inputs=given, out=out, model=model, **{"device": "cpu", "workers": 1, "threshold": 0.99, **options}
    )
    return run(settings, JsonLines(), parts)


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def results(out: Path) -> dict[str, dict[str, str]]:
    rows = read_csv(out / "results.csv")
    assert len({row["file"] for row in rows}) == len(rows)
    return {Path(row["file"]).name: row for row in rows}


def summary(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "summary.json").read_text()))


def tables(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in CSVS]


def process(args: Sequence[object], **environment: str) -> subprocess.Popen[str]:
    """The command in a process of its own, its workers prone to accidents."""
    return subprocess.Popen(
        [*FAULTY_SCREEN, *map(str, args)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def until_rows_are_committed(running: subprocess.Popen[str], out: Path) -> None:
    assert running.stderr is not None
    assert json.loads(running.stderr.readline())["event"] == "start"
    log = out / "ledger.sqlite-wal"
    before = log.stat().st_size
    for _ in range(600):
        if log.stat().st_size > before:
            return
        assert running.poll() is None
        time.sleep(0.05)
    raise AssertionError("no row was committed")


def until_larger(log: Path, before: int) -> None:
    for _ in range(600):
        if log.stat().st_size > before:
            return
        time.sleep(0.05)
    raise AssertionError(f"{log} does not grow")


def test_every_file_has_its_row_in_input_order(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    png(films / "b.png", 1)
    dicom(films / "a" / "film.dcm", 2)
    (films / "notes.txt").write_text("no film")
    (films / "empty").touch()
    (films / "cut.png").write_bytes((films / "b.png").read_bytes()[:60])
    code = screen([films, films / "b.png"], out, model)
    assert code == 3
    found = results(out)
    assert list(found) == ["film.dcm", "b.png", "cut.png", "empty", "notes.txt"]
    assert found["film.dcm"]["status"] == found["b.png"]["status"] == "screened"
    assert found["empty"]["reason"] == "empty_file"
    assert found["cut.png"]["status"] == "failed"
    assert found["notes.txt"]["status"] == "skipped"
    assert "upscaled" not in found["b.png"]["warnings"]
    said = summary(out)
    assert (said["exit_code"], said["files"], said["images_inferred"]) == (3, 5, 2)
    assert said["device"]["provider"] == "CPUExecutionProvider"
    for path in [out, *out.rglob("*")]:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_any_number_of_workers_and_any_batches_give_equal_bytes(tmp_path: Path, model: Path) -> None:
    films = tmp_path / "in"
    for seed in range(23):
        # Every third film twice, in files far apart, so that twins meet in one batch and in several.
        dicom(films / f"{seed:02}.dcm", seed, study=f"1.2.{seed // 4}")
        if seed % 3 == 0:
            dicom(films / f"{(seed * 7) % 23:02}-again.dcm", seed, study=f"1.2.{seed // 4}")
    for count in (1, 3):
        screen(films, tmp_path / f"out{count}", model, workers=count, batch_size=4, threshold=0.01)
    backwards = sorted(films.iterdir(), reverse=True)
    screen(backwards, tmp_path / "backwards", model, batch_size=4)
    assert tables(tmp_path / "out1") == tables(tmp_path / "out3")
    scores = {n: r["logit"] for n, r in results(tmp_path / "out1").items()}
    assert scores == {n: r["logit"] for n, r in results(tmp_path / "backwards").items()}
    assert summary(tmp_path / "out1")["images_inferred"] == 23


def test_duplicates_and_reused_uids(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    dicom(films / "1.dcm", 5)
    dicom(films / "2.dcm", 5)
    dicom(films / "3.dcm", 6, sop="1.2.3.6")
    dicom(films / "4.dcm", 5, photometric="MONOCHROME1")
    assert screen(films, out, model) == 0
    found = results(out)
    assert found["2.dcm"]["duplicate_of"] == found["1.dcm"]["file"]
    assert found["2.dcm"]["logit"] == found["1.dcm"]["logit"]
    assert found["3.dcm"]["warnings"] == found["4.dcm"]["warnings"] == "uid_reused"
    assert summary(out)["images_inferred"] == 3


def test_a_second_run_reuses_adds_and_redoes(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    for seed in range(4):
        png(films / f"{seed}.png", seed)
    screen(films, out, model)
    first = tables(out)
    screen(films, out, model)
    assert tables(out) == first
    assert (summary(out)["images_inferred"], summary(out)["images_reused"]) == (0, 4)
    before = results(out)
    png(films / "1.png", 11)
    os.utime(films / "1.png", ns=(1, 1))
    png(films / "new.png", 12)
    (films / "3.png").unlink()
    screen(films, out, model)
    after = results(out)
    assert list(after) == ["0.png", "1.png", "2.png", "new.png"]
    assert after["0.png"] == before["0.png"]
    assert after["1.png"]["logit"] != before["1.png"]["logit"]
    assert summary(out)["images_inferred"] == 2


def test_kill_9_costs_nothing_but_time(tmp_path: Path, model: Path) -> None:
    films = tmp_path / "in"
    for seed in range(24):
        png(films / f"slow-{seed:02}.png", seed)
    screen(films, tmp_path / "whole", model, batch_size=2, threshold=0.01)
    out = tmp_path / "killed"
    args = [
        "run",
        films,
        "--out",
        out,
        "--model",
        model,
        "--batch-size",
        2,
        "--workers",
        1,
        "--threshold",
        0.01,
    ]
    running = process(args)
    until_rows_are_committed(running, out)
    running.kill()
    running.communicate()
    assert not any((out / name).exists() for name in REPORTS)
    screen(films, out, model, batch_size=2, threshold=0.01)
    assert tables(out) == tables(tmp_path / "whole")
    assert summary(out)["images_reused"] > 0
    assert summary(out)["images_inferred"] < 24


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_in_order(tmp_path: Path, model: Path, number: int, code: int) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    for seed in range(24):
        png(films / f"slow-{seed:02}.png", seed)
    running = process(["run", films, "--out", out, "--model", model, "--batch-size", 2, "--workers", 1])
    until_rows_are_committed(running, out)
    running.send_signal(number)
    _, log = running.communicate(timeout=60)
    assert running.returncode == code, log
    assert json.loads(log.splitlines()[-1])["event"] == "stopped"
    assert not any((out / name).exists() for name in REPORTS)
    assert sorted(p.name for p in out.iterdir()) == [".lock", "ledger.sqlite"]
    with Ledger.open_readonly(out / "ledger.sqlite") as ledger:
        assert 0 < ledger.count_screened() < 24
        assert ledger.meta("facts") is None


def test_a_signal_while_reports_are_written_leaves_none(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    png(tmp_path / "in" / "0.png", 0)
    write_reports = reopen.write_reports

    def interrupted(*args: Any) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return write_reports(*args)

    monkeypatch.setattr(reopen, "write_reports", interrupted)
    assert screen(tmp_path / "in", tmp_path / "out", model, threshold=0.01) == 143
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".lock", "ledger.sqlite"]
    with Ledger.open(tmp_path / "out" / "ledger.sqlite") as ledger:
        assert ledger.decision() is None


def test_a_folder_keeps_how_its_reports_were_decided(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    dicom(films / "a.dcm", 1)

    def kept() -> tuple[Decision, str] | None:
        with Ledger.open(out / "ledger.sqlite") as ledger:
            decided = ledger.decision()
        return None if decided is None else (Decision.from_json(decided[0]), decided[1])

    def reported(*options: object) -> None:
        done = CliRunner().invoke(cli, ["report", str(out), *map(str, options)])
        assert done.exit_code == 0, done.output

    screen(films, out, model, threshold=0.99)
    first = kept()
    assert first == (decision_from(load_model(model).card, None, 0.99, None), first and first[1])
    reported("--operating-point", "specific", "--out", tmp_path / "elsewhere")
    screen(films, out, model, threshold=0.99)
    assert kept() == first, "the same decision, made when it was first made"
    reported("--operating-point", "specific")
    again = kept()
    assert again is not None
    assert again[0] == decision_from(load_model(model).card, "specific", None, None)


def test_two_runs_cannot_share_a_folder(tmp_path: Path, model: Path) -> None:
    png(tmp_path / "in" / "0.png", 0)
    with (
        locked_folder(tmp_path / "out", create=True),
        pytest.raises(LedgerError, match=f"another run.*process {os.getpid()} on "),
    ):
        screen(tmp_path / "in", tmp_path / "out", model)


def test_accidents_are_rows_and_are_repeated_only_when_asked(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    for seed, name in enumerate(("0", "1-crash", "2-hang", "3")):
        png(films / f"{name}.png", seed)
    assert screen(films, out, model, FAULTY, limits=Limits(seconds=3.0)) == 3
    found = results(out)
    assert found["1-crash.png"]["reason"] == "decoder_crashed"
    assert found["2-hang.png"]["reason"] == "timed_out"
    assert found["0.png"]["status"] == found["3.png"]["status"] == "screened"
    assert screen(films, out, model) == 3
    assert screen(films, out, model, retry_failed=True) == 0
    assert summary(out)["images_inferred"] == 2


def test_what_may_come_back_is_tried_again_unasked(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    png(films / "0.png", 0)
    (films / "link.png").symlink_to(tmp_path / "later.png")
    assert screen(films, out, model) == 3
    assert results(out)["link.png"]["reason"] == "unreadable"
    png(tmp_path / "later.png", 1)
    assert screen(films, out, model) == 0
    assert results(out)["link.png"]["status"] == "screened"


def test_an_input_that_vanishes_ends_the_run_before_its_files_fail(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    for seed in range(30):
        png(films / f"{seed:02}.png", seed)
    is_new = Screening._is_new

    def vanishing(self: Screening, source: Source, place: int) -> bool:
        if source.path.name == "07.png":
            films.rename(tmp_path / "elsewhere")
        return is_new(self, source, place)

    with monkeypatch.context() as patched:
        patched.setattr(Screening, "_is_new", vanishing)
        with pytest.raises(InputError, match="vanished"):
            screen(films, out, model, batch_size=1)
    assert not any((out / name).exists() for name in REPORTS)
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT count(*) FROM listing").fetchone()[0] < 30
    (tmp_path / "elsewhere").rename(films)
    assert screen(films, out, model, batch_size=1) == 0
    assert len(results(out)) == 30


def test_a_list_is_screened_and_what_is_gone_has_a_row(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    png(films / "0.png", 0)
    listed = iter([films / "0.png", films / "gone.png", films / "0.png"])
    assert screen((), out, model, listed=listed) == 3
    assert {name: row["reason"] for name, row in results(out).items()} == {
        "0.png": "",
        "gone.png": "unreadable",
    }


def test_a_list_whose_disk_is_gone_ends_the_run(tmp_path: Path, model: Path) -> None:
    png(tmp_path / "in" / "0.png", 0)
    listed = [tmp_path / "in" / "0.png", *(tmp_path / "gone" / f"{n}.png" for n in range(200))]
    with pytest.raises(InputError, match="gone"):
        screen((), tmp_path / "out", model, listed=iter(listed))
    assert not (tmp_path / "out" / "summary.json").exists()


def test_an_unreadable_folder_is_a_row(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not with chmod: tests may run as root, who can read everything.
    def found(inputs: Sequence[Path], exclude: Path | None) -> Iterator[Source]:
        yield Source(tmp_path / "in" / "closed", "in/closed", 0, 0, Reason.FOLDER_UNREADABLE)

    (tmp_path / "in").mkdir()
    monkeypatch.setattr(inputs, "discover_in_steps", found)
    assert screen(tmp_path / "in", tmp_path / "out", model) == 3
    assert results(tmp_path / "out")["closed"]["reason"] == "folder_unreadable"


def test_a_fault_of_ours_is_that_files_row_and_tried_again(
    tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    for name in ("0", "1-bug", "2"):
        png(films / f"{name}.png", ord(name[0]))
    assert screen(films, out, model, FAULTY) == 3
    assert {name: row["reason"] for name, row in results(out).items()} == {
        "0.png": "", "1-bug.png": "reader_error", "2.png": "",
    }  # fmt: skip
    log = map(json.loads, capfd.readouterr().err.splitlines())
    (said,) = [line for line in log if line["event"] == "failed"]
    assert said["file"].endswith("1-bug.png")
    assert said["detail"].startswith("KeyError in tests/faulty_decode.py:")
    # Never believed by a later night either: the film is read again.
    assert screen(films, tmp_path / "next", model, known=(out / "ledger.sqlite",)) == 0
    assert results(tmp_path / "next")["1-bug.png"]["status"] == "screened"
    assert screen(films, out, model) == 0  # a plain rerun tries it again


def test_an_installation_that_is_broken_ends_the_run(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    for number in range(21):
        png(films / f"{number:02}-bug.png", number)
    png(films / "a.png", 99)
    with pytest.raises(ScreenError, match="21 of 22 files met a fault of this program"):
        screen(films, out, model, FAULTY)
    assert not any((out / name).exists() for name in REPORTS)
    (films / "00-bug.png").unlink()
    assert screen(films, tmp_path / "few", model, FAULTY) == 3  # 20 may be the files' fault


def test_a_few_faults_among_many_films_end_no_run_and_no_second_start(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    for number in range(21):
        png(films / f"{number:02}-bug.png", number)  # first in the order
    for number in range(400):
        png(films / f"a{number:03}.png", number)
    for _ in range(2):
        assert screen(films, out, model, FAULTY) == 3
        assert len(results(out)) == 421


def pretend_other_weights(out: Path) -> None:
    with Ledger.open(out / "ledger.sqlite") as ledger:
        ledger.set_settings(ledger.settings() | {"weights_digest": "other"})
        ledger.commit()


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"known": (Path("no-such.sqlite"),)}, UsageError),
        ({"known": (Path("out/ledger.sqlite"),)}, UsageError),
        ({"identifiers": "pseudonym", "identities": Path("out/identities.csv")}, UsageError),
        ({"gpu_decoders": 1}, UsageError),
    ],
)
def test_a_fresh_start_that_is_refused_takes_nothing_away(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], refusal: type
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXR_SCREEN_KEY", "a key for tests only")
    png(Path("in/0.png"), 0)
    assert screen(Path("in"), Path("out"), model) == 0
    before = {path.name: path.read_bytes() for path in Path("out").iterdir() if path.is_file()}
    with pytest.raises(refusal):
        screen(Path("in"), Path("out"), model, fresh=True, **options)
    assert {path.name: path.read_bytes() for path in Path("out").iterdir() if path.is_file()} == before


def test_a_fresh_start_over_nothing_takes_nothing_away(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    png(films / "0.png", 0)
    assert screen(films, out, model) == 0
    (films / "0.png").unlink()
    with pytest.raises(InputError, match="no file found"):
        screen(films, out, model, fresh=True)
    assert summary(out)["files"] == 1
    assert screen(films, out, model, fresh=True, allow_empty=True) == 0
    assert summary(out)["files"] == 0


def test_a_fresh_start_that_is_stopped_takes_nothing_away(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    png(films / "0.png", 0)
    assert screen(films, out, model) == 0

    def stopped(*arguments: Any) -> Backend:
        os.kill(os.getpid(), signal.SIGTERM)
        return open_backend(*arguments)

    assert screen(films, out, model, Wiring(open_backend=stopped), fresh=True) == 143
    assert summary(out)["files"] == 1


def test_other_settings_need_another_folder_or_a_fresh_start(tmp_path: Path, model: Path) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    png(films / "0.png", 0)
    screen(films, out, model)
    for options in ({"batch_size": 8}, {"identifiers": "none"}):
        with pytest.raises(UsageError, match="--fresh"):
            screen(films, out, model, **options)
    assert (out / "summary.json").exists()
    assert screen(films, out, model, threshold=0.9) == 0  # another decision is no reason
    pretend_other_weights(out)
    with pytest.raises(UsageError, match="weights_digest"):
        screen(films, out, model)
    assert screen(films, out, model, fresh=True, batch_size=8) == 0
    assert summary(out)["images_reused"] == 0
    assert screen(films, out, model) == 0  # auto keeps what the ledger says
    assert summary(out)["batch_size"] == 8


def test_nothing_to_screen(tmp_path: Path, model: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="no file found"):
        screen(tmp_path / "in", tmp_path / "out", model)
    assert not (tmp_path / "out" / "summary.json").exists()
    assert screen(tmp_path / "in", tmp_path / "out", model, allow_empty=True) == 0
    assert summary(tmp_path / "out")["files"] == 0


def test_chest_films_of_which_none_was_screened_fail_the_run(tmp_path: Path, model: Path) -> None:
    film = dicom(tmp_path / "in" / "0.dcm", 0)
    film.write_bytes(film.read_bytes()[:-5000])
    assert screen(tmp_path / "in", tmp_path / "out", model) == 1


def test_an_input_that_vanishes_fails_the_run(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    png(films / "0.png", 0)
    screening = Screening.run

    def unmounted(self: Screening, sources: Iterator[Source]) -> None:
        screening(self, sources)
        films.rename(tmp_path / "unmounted")
        films.mkdir()  # the empty mount point stays

    monkeypatch.setattr(Screening, "run", unmounted)
    with pytest.raises(InputError, match="vanished"):
        screen(films, out, model)
    assert not (out / "summary.json").exists()


def test_the_folder_is_no_input_and_nobody_elses(tmp_path: Path, model: Path) -> None:
    films = tmp_path / "in"
    png(films / "0.png", 0)
    out = films / "out"
    for _ in range(2):
        assert screen(films, out, model) == 0
        assert (out / "heatmaps").is_dir()
        assert list(results(out)) == ["0.png"]
    theirs = tmp_path / "theirs"
    png(theirs / "results.csv", 1)
    with pytest.raises(UsageError, match="choose another --out"):
        screen(films, theirs, model)
    with pytest.raises(UsageError, match="in the way"):
        screen(films, films / "0.png", model)


def test_hostile_names(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films, out = tmp_path / "in", tmp_path / "out"
    films.mkdir()
    for seed, name in enumerate((b"=1+1.png", b"caf\xe9.png", b"a\nb.png", b"[bold]x.png", b"caf%E9.png")):
        os.link(png(tmp_path / "one.png", seed), os.fsencode(films) + b"/" + name)
        (tmp_path / "one.png").unlink()
    assert screen([Path(f"{films}/./")], out, model) == 0
    text = (out / "results.csv").read_text()
    assert len(list(csv.reader(io.StringIO(text)))) == 6
    assert "caf%E9.png" in text
    assert "caf%25E9.png" in text
    (films / "=1+1.png").rename(tmp_path / "=2.png")
    monkeypatch.chdir(tmp_path)
    screen([Path("=2.png")], tmp_path / "out2", model)
    assert (tmp_path / "out2" / "results.csv").read_text().splitlines()[1].startswith("'=2.png,")


def test_a_list_on_standard_input(tmp_path: Path, model: Path) -> None:
    names = [png(tmp_path / f"{seed}.png", seed) for seed in (2, 1)]
    args = [sys.executable, "-m", "screen", "run", "-", "--out", tmp_path / "out", "--model", model]
    done = subprocess.run(
        [str(arg) for arg in args], input="\n".join(map(str, names)), text=True, capture_output=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["start", "finished"]
    assert list(results(tmp_path / "out")) == ["2.png", "1.png"]
    assert summary(tmp_path / "out")["inputs"] == ["-"]


def test_a_producer_may_wait_for_the_rows_of_what_it_listed(tmp_path: Path, model: Path) -> None:
    """And a signal that comes while we wait for it stops in order."""
    out = tmp_path / "out"
    running = subprocess.Popen(
        [
            *FAULTY_SCREEN,
            "run",
            "-",
            "--out",
            str(out),
            "--model",
            str(model),
            "--device",
            "cpu",
            "--workers",
            "1",
        ],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=ROOT,
    )
    assert running.stdin is not None
    assert running.stderr is not None
    assert json.loads(running.stderr.readline())["event"] == "start"
    log = out / "ledger.sqlite-wal"
    for number in range(3):
        before = log.stat().st_size
        running.stdin.write(f"{png(tmp_path / f'{number}.png', number)}\n")
        until_larger(log, before)
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 143
    with Ledger.open(out / "ledger.sqlite") as ledger:
        assert ledger.count_screened() == 3
    running.communicate()


def test_a_signal_is_heeded_where_folders_hold_no_file(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(given: Sequence[Path], exclude: Path | None) -> Iterator[Pause]:
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            yield Pause.WALKING

    (tmp_path / "in").mkdir()
    monkeypatch.setattr(inputs, "discover_in_steps", endless)
    assert screen(tmp_path / "in", tmp_path / "out", model) == 143


def test_a_current_folder_that_is_gone_is_said(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match="the current folder is gone"):
        screen(Path(), tmp_path / "out", model)
    film = png(tmp_path / "in" / "0.png", 0)
    with pytest.raises(InputError, match="the current folder is gone"):
        screen((), tmp_path / "out", model, listed=iter([film]))
    assert screen(film, tmp_path / "out", model) == 0


def test_lists_that_cannot_be_read(tmp_path: Path, model: Path) -> None:
    args = [sys.executable, "-m", "screen", "run", "-", "--out", str(tmp_path / "out"), "--model", str(model)]
    for shell, code, said in (("<&-", 1, "no file found"), (f"0>{tmp_path / 'f'}", 1, "cannot be read")):
        done = subprocess.run(
            ["bash", "-c", f'"$@" {shell}', "bash", *args], text=True, capture_output=True, cwd=ROOT
        )
        assert done.returncode == code, done.stderr
        assert said in json.loads(done.stderr.splitlines()[-1])["message"]


@pytest.mark.parametrize("handles", [8, 11, 14, 17])
def test_few_file_handles_end_in_an_error_and_never_in_a_traceback(
    tmp_path: Path, model: Path, handles: int
) -> None:
    png(tmp_path / "in" / "0.png", 0)
    args = [sys.executable, "-m", "screen", "run", "in", "--model", str(model), "--workers", "2"]
    done = subprocess.run(
        ["bash", "-c", f'ulimit -n {handles}; exec "$@"', "bash", *args],
        text=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode in (0, 1), done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["event"] in ("error", "finished")


def test_the_folders_of_earlier_runs_are_no_input_and_that_is_said_once(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    films = tmp_path / "in"
    png(films / "0.png", 0)
    for name in ("a-screened", "b-screened"):
        assert screen(films, films / name, model, threshold=0.0001) == 0
    capsys.readouterr()
    assert screen(films, tmp_path / "out", model) == 0
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["folder"] for line in said if line["event"] == "passed_over"] == [str(films / "a-screened")]
    assert summary(tmp_path / "out")["counts"]["folders_passed_over"] == 2
    assert list(results(tmp_path / "out")) == ["0.png"]


def test_the_default_folder(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    png(tmp_path / "films" / "0.png", 0)
    monkeypatch.chdir(tmp_path)
    settings = RunSettings(inputs=(Path("./films"),), model=model, device="cpu", workers=1)
    assert run(settings, JsonLines()) == 0
    assert (tmp_path / "films-screened" / "results.csv").is_file()


def test_findings_beside_the_primary_one_flag_only_if_they_are_asked_to(tmp_path: Path) -> None:
    two = tiny_model_file(tmp_path / "two.onnx", findings=("tumor", "abnormal"))
    films = tmp_path / "films"
    for seed in range(3):
        png(films / f"{seed}.png", seed)
    out = tmp_path / "out"
    assert screen(films, out, two, threshold=None) == 0
    said = {(row["file"], row["finding"]): row["flagged"] for row in read_csv(out / "findings.csv")}
    for row in read_csv(out / "results.csv"):
        assert (row["finding"], row["flagged"]) == ("tumor", said[row["file"], "tumor"])
    assert summary(out)["flagging"] == ["tumor"]
    first = summary(out)["digests"]["decision"]

    report = ["report", str(out), "--flag", "abnormal", "--threshold"]
    for threshold, flagged in (("0", "1"), ("1", "0")):
        assert CliRunner().invoke(cli, [*report, threshold]).exit_code == 0
        assert {row["flagged"] for row in read_csv(out / "results.csv")} == {flagged}
    assert CliRunner().invoke(cli, [*report, "0"]).exit_code == 0
    assert {row["finding"] for row in read_csv(out / "flagged.csv")} == {"abnormal"}
    assert summary(out)["flagging"] == ["abnormal"]
    assert summary(out)["digests"]["decision"] != first
    refused = CliRunner().invoke(cli, ["report", str(out), "--flag", "tumor,stone"])
    assert (refused.exit_code, "stone" in refused.output) == (2, True)


def test_timings(tmp_path: Path, model: Path) -> None:
    png(tmp_path / "in" / "0.png", 0)
    screen(tmp_path / "in", tmp_path / "out", model, timings=True)
    header, line = csv.reader(io.StringIO((tmp_path / "out" / "timings.csv").read_text()))
    assert header == ["file", "read_seconds", "preprocess_seconds"]
    assert float(line[1]) > 0
    assert float(line[2]) > 0


def two_nights(folder: Path) -> tuple[Path, Path]:
    """Two films of two studies; both again under other names, and a new film of the second study."""
    first, second = folder / "night1", folder / "night2"
    dicom(first / "a.dcm", 1, study="1.2.1")
    dicom(first / "b.dcm", 2, study="1.2.2")
    dicom(second / "a-sent-again.dcm", 1, study="1.2.1")
    dicom(second / "b-sent-again.dcm", 2, study="1.2.2")
    dicom(second / "b-new.dcm", 3, study="1.2.2")
    return first, second


def listed(out: Path) -> list[str]:
    return sorted(row["study_instance_uid"] for row in read_csv(out / "flagged.csv"))


def test_known_films_are_not_inferred_again(tmp_path: Path, model: Path) -> None:
    first, second = two_nights(tmp_path)
    out1, out2, out3 = (tmp_path / f"out{number}" for number in (1, 2, 3))
    screen(first, out1, model, threshold=0.01)
    ledger = out1 / "ledger.sqlite"
    screen(second, out2, model, known=(ledger,), threshold=0.01)
    found = results(out2)
    assert summary(out2)["images_inferred"] == 1
    assert [row["warnings"] for row in found.values()] == ["known", "", "known"]
    assert found["a-sent-again.dcm"]["logit"] == results(out1)["a.dcm"]["logit"]
    assert listed(out2) == ["1.2.2"]
    # The third night reaches back through the second, and lists nothing of the first again.
    screen(first, out3, model, known=(out2 / "ledger.sqlite",), threshold=0.01)
    assert summary(out3)["images_inferred"] == 0
    assert listed(out3) == []
    with pytest.raises(UsageError, match="own ledger"):
        screen(first, out1, model, known=(ledger,))
    pretend_other_weights(out1)
    screen(second, tmp_path / "out4", model, known=(ledger,))
    assert summary(tmp_path / "out4")["counts"]["known_ignored"] == 2
    assert summary(tmp_path / "out4")["images_inferred"] == 3


def test_what_no_finished_report_listed_is_listed(tmp_path: Path, model: Path) -> None:
    first, _ = two_nights(tmp_path)
    out1, out2, out3 = (tmp_path / f"out{number}" for number in (1, 2, 3))
    screen(first, out1, model, threshold=0.99)
    assert listed(out1) == []
    # Another decision flags what that night did not; once it is listed, the next night need not repeat it.
    screen(first, out2, model, known=(out1 / "ledger.sqlite",), threshold=0.01)
    assert listed(out2) == ["1.2.1", "1.2.2"]
    screen(first, out3, model, known=(out2 / "ledger.sqlite",), threshold=0.01)
    assert listed(out3) == []


def test_a_what_if_report_hides_nothing_and_one_that_is_read_does(tmp_path: Path, model: Path) -> None:
    first, _ = two_nights(tmp_path)
    out = tmp_path / "out"
    screen(first, out, model, threshold=0.99)
    for options, expected in (([], ["1.2.1", "1.2.2"]), (["--listed"], [])):
        args = ["report", str(out), "--threshold", "0.01", "--out", str(tmp_path / "what-if"), *options]
        assert CliRunner().invoke(cli, args).exit_code == 0
        assert listed(tmp_path / "what-if") == ["1.2.1", "1.2.2"]
        later = tmp_path / f"later{len(options)}"
        screen(first, later, model, known=(out / "ledger.sqlite",), threshold=0.01)
        assert listed(later) == expected
    assert listed(out) == []  # DIR's own reports are as they were


def test_a_night_that_was_stopped_has_listed_nothing(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_nights(tmp_path)
    out = tmp_path / "out"
    screen(first, out, model, threshold=0.01)
    # A film came later; the run over it is stopped when its reports are written: the earlier ones are gone.
    dicom(first / "c.dcm", 5, study="1.2.3")
    write_reports = reopen.write_reports

    def interrupted(*args: Any) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return write_reports(*args)

    with monkeypatch.context() as patched:
        patched.setattr(reopen, "write_reports", interrupted)
        assert screen(first, out, model, threshold=0.01) == 143
    screen(second, tmp_path / "later", model, known=(out / "ledger.sqlite",), threshold=0.01)
    assert listed(tmp_path / "later") == ["1.2.1", "1.2.2"]
    assert summary(tmp_path / "later")["images_inferred"] == 1


def test_a_film_that_a_killed_night_found_is_listed_though_its_study_was(tmp_path: Path, model: Path) -> None:
    films, out1, out2, out3 = tmp_path / "in", *(tmp_path / f"out{number}" for number in (1, 2, 3))
    dicom(films / "a.dcm", 1, study="1.2.1")
    screen(films, out1, model, threshold=0.01)
    dicom(films / "b.dcm", 2, study="1.2.1")
    screen(films, out2, model, threshold=0.01, known=(out1 / "ledger.sqlite",))
    with closing(sqlite3.connect(out2 / "ledger.sqlite")) as ledger, ledger:
        ledger.execute("DELETE FROM listed_case")  # as if killed before its reports
    screen(films, out3, model, threshold=0.01, known=(out2 / "ledger.sqlite",))
    assert listed(out3) == ["1.2.1"]


def test_a_resend_under_another_patient_is_a_case_of_its_own(tmp_path: Path, model: Path) -> None:
    night, later = tmp_path / "in", tmp_path / "later"
    dicom(night / "wrong.dcm", 1, study="1.2.1", patient="MIX-UP")
    screen(night, tmp_path / "out1", model, threshold=0.01)
    dicom(later / "right.dcm", 1, study="1.2.1", patient="RIGHT")
    # In a later night: its result is reused, and it is new.
    screen(later, tmp_path / "out2", model, known=(tmp_path / "out1/ledger.sqlite",), threshold=0.01)
    (row,) = read_csv(tmp_path / "out2" / "flagged.csv")
    assert (row["patient_id"], row["warnings"]) == ("RIGHT", "identity_differs")
    assert summary(tmp_path / "out2")["images_inferred"] == 0
    # In one night: two cases, and both say so; the film goes through the network once.
    screen([night, later], tmp_path / "out3", model, threshold=0.01)
    rows = read_csv(tmp_path / "out3" / "flagged.csv")
    assert {row["patient_id"] for row in rows} == {"MIX-UP", "RIGHT"}
    assert {row["warnings"] for row in rows} == {"identity_differs"}
    assert all(row["duplicate_of"] == "" for row in results(tmp_path / "out3").values())
    assert summary(tmp_path / "out3")["images_inferred"] == 1
    # A third night that has seen both knows each under its own name.
    screen([night, later], tmp_path / "out4", model, known=(tmp_path / "out3/ledger.sqlite",), threshold=0.01)
    assert listed(tmp_path / "out4") == []


def test_failures_of_earlier_nights_are_told_apart(tmp_path: Path, model: Path) -> None:
    films = tmp_path / "in"
    png(films / "0.png", 0)
    (films / "old.png").write_bytes((films / "0.png").read_bytes()[:60])
    assert screen(films, tmp_path / "out1", model) == 3
    counts = summary(tmp_path / "out1")["counts"]
    assert (counts["failed_new"], counts["failed_known"]) == (1, 0)
    (films / "xnew.png").write_bytes((films / "0.png").read_bytes()[:70])
    assert screen(films, tmp_path / "out2", model, known=(tmp_path / "out1" / "ledger.sqlite",)) == 3
    counts = summary(tmp_path / "out2")["counts"]
    assert (counts["failed_new"], counts["failed_known"]) == (1, 1)
    warnings = {name: row["warnings"] for name, row in results(tmp_path / "out2").items()}
    assert warnings == {"0.png": "known", "old.png": "known", "xnew.png": ""}
    page = (tmp_path / "out2" / "report.html").read_text()
    assert page.index("xnew.png") < page.index("old.png")
    # Mended, it is a film like any other.
    png(films / "old.png", 7)
    assert screen(films, tmp_path / "out3", model, known=(tmp_path / "out2" / "ledger.sqlite",)) == 3
    assert results(tmp_path / "out3")["old.png"]["warnings"] == ""


def test_files_that_were_never_opened_can_be_found_again(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_SCREEN_KEY", "a key for tests only")
    films, identities = tmp_path / "in", tmp_path / "identities.csv"
    png(films / "0.png", 0)
    (films / "gone.png").symlink_to(tmp_path / "nowhere")
    options: dict[str, Any] = {"identifiers": "pseudonym", "identities": identities}
    assert screen(films, tmp_path / "out", model, **options) == 3
    (failed,) = [row for row in read_csv(tmp_path / "out" / "results.csv") if row["status"] == "failed"]
    named = {row["file_pseudonym"]: row["file"] for row in read_csv(identities)}
    assert named[failed["file"]].endswith("gone.png")


SECRETS = (b"PAT-77", b"ACC-55", b"DOE", b"1.2.840.99", b"jane", b"20260102")


def holds_a_secret(folder: Path) -> list[tuple[str, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [(path.name, secret) for path in files for secret in SECRETS if secret in path.read_bytes()]


DAMAGE = {
    "a view that loops": "CREATE VIEW v AS WITH RECURSIVE n AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT 1",
    "a score that is none": 'UPDATE rows SET row = replace(row, \'"gate":\', \'"gate":NaN,"g":\')',
    "no score": "UPDATE rows SET row = replace(row, '\"logits\":[', '\"logits\":[1.0,')",
    "an identity that is none": "UPDATE rows SET sop_instance_uid = '', row = json_set(row, '$.identity', 5)",
    "no row": "DELETE FROM rows",
    "a row of bytes": "UPDATE rows SET row = zeroblob(100000000)",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_ledger_is_refused_by_who_knows_it_and_by_who_reports_it(
    tmp_path: Path, model: Path, damage: str
) -> None:
    dicom(tmp_path / "in" / "a.dcm", 1)
    screen(tmp_path / "in", tmp_path / "night", model)
    ledger = tmp_path / "night" / "ledger.sqlite"
    with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
        db.execute(damage)
    if "DELETE" not in damage:
        with pytest.raises(UsageError, match=f"--known {ledger}: "):
            screen(tmp_path / "in", tmp_path / "out", model, known=(ledger,))
        assert not (tmp_path / "out" / "results.csv").exists()
    done = CliRunner().invoke(cli, ["report", str(tmp_path / "night")])
    assert done.exit_code == 1
    assert str(ledger) in done.stderr
    assert "traceback" not in done.stderr


@pytest.mark.parametrize("mode", ["pseudonym", "none"])
def test_hidden_identifiers(
    tmp_path: Path, model: Path, mode: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXR_SCREEN_KEY", "a key for tests only")
    films, out = tmp_path / "jane", tmp_path / "out"
    dicom(films / "jane-1.dcm", 1, sop="1.2.840.99.1", study="1.2.840.99")
    dicom(films / "jane-2.dcm", 2, sop="1.2.840.99.2", study="1.2.840.99")
    (films / "jane-cut.dcm").write_bytes((films / "jane-1.dcm").read_bytes()[:-7000])
    mapping = tmp_path / "identities.csv"
    extra = {"identities": mapping} if mode == "pseudonym" else {}
    assert screen(films, out, model, identifiers=mode, threshold=0.01, timings=True, **extra) == 3
    assert holds_a_secret(out) == []
    log = capfd.readouterr().err.encode()
    assert [secret for secret in SECRETS if secret in log] == []
    found = results(out)
    assert len({row["study_instance_uid"] for row in found.values()}) == 1
    assert len(list((out / "heatmaps").iterdir())) == (2 if mode == "pseudonym" else 0)
    if mode == "pseudonym":
        assert stat.S_IMODE(mapping.stat().st_mode) == 0o600
        kept = {row["file_pseudonym"]: row for row in read_csv(mapping)}
        assert set(kept) == set(found)
        assert {row["patient_id"] for row in kept.values()} == {"PAT-77"}
        assert {row["study_instance_uid"] for row in kept.values()} == {"1.2.840.99"}
        with pytest.raises(UsageError, match="outside"):
            screen(films, out, model, identifiers=mode, identities=out / "identities.csv")
    screen(films, out, model, identifiers=mode)
    assert summary(out)["images_reused"] == 2
    monkeypatch.setenv("CXR_SCREEN_KEY", "another key for tests")
    with pytest.raises(UsageError, match="identifiers"):
        screen(films, out, model, identifiers=mode)
