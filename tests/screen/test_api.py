"""What Python calls: the same numbers as the commands', in order, a few at a time, nothing left behind."""

import csv
import gc
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

import screen
from screen import api
from screen.cli import cli
from screen.codes import Status
from screen.decode import DecodePool
from screen.discover import discover
from screen.errors import InputError, UsageError
from screen.film import Film
from screen.model import Model, model_from_bytes
from screen.readers import read
from screen.report.tables import number
from tests.films import dicom, pixels, png
from tests.micro_model import micro_bytes, micro_model
from tests.places import EXAMPLES, ROOT

OF_SEVERAL_FILES = {"uid_reused", "identity_differs", "known"}
"""Warnings that a run gives, because it sees them all."""


def children() -> set[int]:
    """Processes that we have started and that are still there."""
    folder = Path(f"/proc/{os.getpid()}/task")
    return {int(pid) for task in folder.iterdir() for pid in (task / "children").read_text().split()}


def micro_screener(**options: Any) -> screen.Screener:
    return screen.Screener(micro_model(), "cpu", **options)


def test_the_same_numbers_as_the_run_and_inspect_on_every_example(tmp_path: Path) -> None:
    done = screen.run(EXAMPLES, out=tmp_path / "out", device="cpu", heatmaps=0)
    assert done.exit_code == done.summary["exit_code"] == 3
    assert done.folder == tmp_path / "out"
    results = (done.folder / "results.csv").read_text().splitlines()
    lines = {line["file"]: line for line in csv.DictReader(results)}
    with screen.Screener(device="cpu") as screener:
        verdicts = list(screener.predict(EXAMPLES))
    assert [verdict.file for verdict in verdicts] == list(lines)
    for verdict in verdicts:
        line = lines[verdict.file]
        assert (verdict.status, verdict.reason or "") == (line["status"], line["reason"])
        assert verdict.warnings == tuple(
            w for w in line["warnings"].split(";") if w and w not in OF_SEVERAL_FILES
        )
        assert line["probability"] == ("" if verdict.probability is None else number(verdict.probability))
        assert line["flagged"] == (str(int(verdict.flagged)) if verdict.findings else "")
        asked = CliRunner().invoke(cli, ["inspect", verdict.file, "--json"])
        said = json.loads(asked.stdout)
        assert said["status"] == verdict.status
        if verdict.probability is None:
            assert verdict.heatmap is None
        else:
            # One film in a batch of its own: within the bound for another batch size.
            assert said["tumor"]["probability"] == pytest.approx(verdict.probability, abs=1e-5)
            assert verdict.heatmap is not None
            assert verdict.heatmap.shape == screener.model.card.heatmap_grid
    assert sum(verdict.status is Status.SCREENED for verdict in verdicts) == 8


def test_arrays_are_what_a_file_of_the_same_pixels_is(tmp_path: Path) -> None:
    picture = EXAMPLES / "normal.png"
    grey = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    ds = pydicom.dcmread(EXAMPLES / "study-3" / "film.dcm")
    del ds.ImagerPixelSpacing  # an array's pixels are square
    ds.save_as(tmp_path / "film.dcm")
    film = read(next(discover([tmp_path / "film.dcm"], None)))
    assert grey is not None
    assert isinstance(film, Film)
    shown = film.pixels.lookup[film.pixels.values]  # MONOCHROME1, windowed: bone bright
    assert shown.dtype == np.uint16
    with screen.Screener(device="cpu", batch_size=2) as screener:
        before = children()
        wide = np.asarray(grey, np.uint16) * 257
        of_arrays = list(screener.predict([grey, wide, np.asfortranarray(grey), shown]))
        assert children() <= before  # no file, no process
        of_files = list(screener.predict([picture, tmp_path / "film.dcm"]))
    assert [verdict.file for verdict in of_arrays] == ["array 0", "array 1", "array 2", "array 3"]
    expected = [of_files[0].probability] * 3 + [of_files[1].probability]
    assert [verdict.probability for verdict in of_arrays] == expected
    assert of_arrays[0].row.decoder == "array"


def test_a_heat_map_lies_over_the_square() -> None:
    with micro_screener() as screener:
        ((verdict, square),) = screener.predict_with_squares(pixels(1))
    assert square is not None
    assert square.shape == (32, 32)
    assert verdict.heatmap is not None
    assert verdict.heatmap.shape == (2, 2)
    assert verdict.findings["tumor"].logit == pytest.approx(float(verdict.heatmap.mean()), abs=1e-3)


def test_whatever_is_given_comes_out_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow film is overtaken by others, but not on the way out."""
    monkeypatch.setattr(api, "DecodePool", partial(DecodePool, decode="tests.faulty_decode:faulty"))
    slow = png(tmp_path / "a-slow.png", 1)
    folder = [dicom(tmp_path / "study" / f"{seed}.dcm", seed) for seed in range(3)]
    source = [slow, pixels(5), str(tmp_path / "study"), folder[1], folder[1], pixels(6)]
    with micro_screener(workers=2) as screener:
        verdicts = list(screener.predict(each for each in source))
    again = str(folder[1])
    expected = [str(slow), "array 0", *map(str, folder), again, again, "array 1"]
    assert [verdict.file for verdict in verdicts] == expected
    assert {verdict.status for verdict in verdicts} == {Status.SCREENED}


def test_one_slow_film_is_overtaken_by_a_bounded_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "DecodePool", partial(DecodePool, decode="tests.faulty_decode:faulty"))
    monkeypatch.setattr(api, "_AHEAD", 2)
    slow, film = png(tmp_path / "slow.png", 1), png(tmp_path / "film.png", 2)
    asked = count()

    def films() -> Iterator[Path]:
        while True:
            yield film if next(asked) else slow

    with micro_screener(workers=2, batch_size=1) as screener:
        verdicts = screener.predict(films())
        assert next(verdicts).file == str(slow)
    assert next(asked) < 20


@pytest.mark.parametrize("of", ["files", "arrays"])
def test_an_endless_source_is_read_as_it_is_used_and_closing_leaves_no_process(
    tmp_path: Path, of: str
) -> None:
    before = children()
    film = png(tmp_path / "film.png", 1) if of == "files" else pixels(1)
    asked = count()

    def films() -> Iterator[Any]:
        for _ in asked:
            yield film

    with micro_screener() as screener:
        verdicts = screener.predict(films())
        first = [next(verdicts) for _ in range(40)]
        assert len({verdict.probability for verdict in first}) == 1
        assert next(asked) < 1000
        del verdicts
        gc.collect()
        # Midway: the next question is answered by its own film, not by what was on its way.
        assert [verdict.file for verdict in screener.predict(EXAMPLES / "nodule.jpg")] == [
            str(EXAMPLES / "nodule.jpg")
        ]
        list(screener.predict(film for _ in range(5)))
    assert children() <= before


def test_an_error_of_the_callers_own_ends_it_and_nothing_more() -> None:
    def films() -> Iterator[Any]:
        yield pixels(1)
        raise KeyError("the caller's")

    with micro_screener() as screener:
        with pytest.raises(KeyError, match="the caller's"):
            list(screener.predict(films()))
        assert len(list(screener.predict(pixels(2)))) == 1


def test_one_question_at_a_time_and_none_after_the_end() -> None:
    screener = micro_screener()
    first = screener.predict(pixels(seed) for seed in range(40))
    next(first)
    with pytest.raises(UsageError, match="still at work"):
        next(screener.predict(pixels(1)))
    screener.close()
    with pytest.raises(UsageError, match="is closed"):
        list(first)
    with pytest.raises(UsageError, match="is closed"):
        list(screener.predict(pixels(1)))


def test_a_path_that_is_not_there_is_said_at_once_or_is_a_failed_verdict(tmp_path: Path) -> None:
    gone = tmp_path / "gone.dcm"
    with micro_screener() as screener:
        with pytest.raises(InputError, match=r"gone\.dcm"):
            screener.predict(gone)
        with pytest.raises(InputError, match=r"gone\.dcm"):
            screener.predict([png(tmp_path / "a.png", 1), gone])
        (verdict,) = screener.predict(path for path in [gone])
    assert (verdict.status, verdict.reason, verdict.probability) == ("failed", "unreadable", None)
    assert not verdict.flagged


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (np.zeros((40, 40), np.float32), "float32"),
        (np.zeros((2, 40, 40), np.uint8), r"\(2, 40, 40\)"),
        (np.zeros((40, 40), ">u2"), ">u2"),
        ([pixels(1), 7], "int is no source"),
    ],
)
def test_what_is_no_source_is_said_at_once(source: Any, complaint: str) -> None:
    with micro_screener() as screener, pytest.raises(UsageError, match=complaint):
        screener.predict(source)


def test_an_array_meets_the_limits_of_a_file() -> None:
    with micro_screener() as screener:
        small, large, black = screener.predict(
            [
                np.ones((20, 40), np.uint8),
                np.broadcast_to(np.uint8(1), (9000, 9000)),
                np.zeros((64, 64), np.uint8),
            ]
        )
    assert (small.reason, large.reason) == ("too_small", "too_large")
    assert "blank" in black.warnings


def test_what_a_run_would_refuse_is_refused() -> None:
    def uncertified(card: dict[str, Any]) -> None:
        card["precision"] = "fp16"

    def drifting(card: dict[str, Any]) -> None:
        card["probes"][0]["logits"] = [0.9]

    def made(change: Any) -> Model:
        return model_from_bytes(micro_bytes(change), Path("micro.onnx"))

    with pytest.raises(UsageError, match="has no certificate"):
        screen.Screener(made(uncertified), "cpu")
    with pytest.raises(screen.ScreenError, match="computes logits that differ"):
        screen.Screener(made(drifting), "cpu")
    with pytest.raises(UsageError, match="no certificate"):
        screen.Screener(micro_model(), "openvino")
    with pytest.raises(UsageError, match="it is one of"):
        screen.Screener(micro_model(), "tpu")
    with pytest.raises(UsageError, match="1 to 4096"):
        screen.Screener(micro_model(), "cpu", workers=0)


def test_thresholds_are_the_callers_choice() -> None:
    with micro_screener(threshold=0.0) as all_of_them, micro_screener(threshold=1.0) as none:
        assert [v.flagged for v in all_of_them.predict(pixels(1))] == [True]
        assert [v.flagged for v in none.predict(pixels(1))] == [False]
    with pytest.raises(UsageError, match="no operating point"):
        micro_screener(operating_point="other")


def test_a_folder_of_earlier_reports_is_passed_over_aloud(tmp_path: Path) -> None:
    png(tmp_path / "films" / "a.png", 1)
    (tmp_path / "micro.onnx").write_bytes(micro_bytes())
    screen.run(
        tmp_path / "films", out=tmp_path / "films" / "night", model=tmp_path / "micro.onnx", device="cpu"
    )
    with micro_screener() as screener, pytest.warns(UserWarning, match="earlier run's reports"):
        assert [Path(v.file).name for v in screener.predict(tmp_path / "films")] == ["a.png"]


def test_a_run_resumes_and_takes_a_generator(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    films = [png(tmp_path / f"{seed}.png", seed) for seed in range(3)]
    (tmp_path / "micro.onnx").write_bytes(micro_bytes())
    once = partial(screen.run, out=str(tmp_path / "out"), model=str(tmp_path / "micro.onnx"), device="cpu")
    assert once(str(film) for film in films).summary["images_inferred"] == 3
    again = once(films)
    assert (again.exit_code, again.summary["images_reused"]) == (0, 3)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UsageError, match="give out"):
        screen.run(film for film in films)
    with pytest.raises(UsageError, match="nothing to screen"):
        screen.run([])
    with pytest.raises(UsageError, match="none called 'anonymous'"):
        once(films, identifiers="anonymous")


HEAVY = {"cv2", "onnxruntime", "openvino", "numpy", "screen.api"}


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import screen; screen.__version__; dir(screen)", "[]\n"),
        ("from screen import ScreenError", "[]\n"),
        (
            "import screen.runs.pipeline, screen; assert callable(screen.run)",
            "['cv2', 'numpy', 'screen.api']\n",
        ),
        (
            "import screen; assert callable(screen.run); import screen.runs.pipeline, screen.cli.run\n"
            "assert callable(screen.run) and screen.run.__module__ == 'screen.api'",
            "['cv2', 'numpy', 'screen.api']\n",
        ),
        (
            "from screen import *; assert callable(run) and Screener and Verdict",
            "['cv2', 'numpy', 'screen.api']\n",
        ),
    ],
)
def test_the_door_opens_when_somebody_comes(code: str, loaded: str) -> None:
    code = f"import sys\n{code}\nprint(sorted(sys.modules.keys() & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == (loaded, "")


def test_every_name_is_there_and_no_other() -> None:
    assert set(screen.__all__) <= set(dir(screen))
    assert all(getattr(screen, name) is not None for name in screen.__all__)
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = screen.predict  # type: ignore[attr-defined]


def test_a_probability_is_a_number(tmp_path: Path) -> None:
    with micro_screener() as screener:
        (verdict,) = screener.predict(str(dicom(tmp_path / "a.dcm", 3)))
    assert verdict.probability is not None
    assert math.isfinite(verdict.probability)
    assert verdict.findings["tumor"].probability == verdict.probability
    assert verdict.row.identity.patient_id == "PAT-77"
