"""The measurements measure what they say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.cli import cli
from benchmarks.decisions.fit import Box, Shape, keeps_centre, kept_area, loss, measure, wilson
from benchmarks.memory import PeakMemory
from benchmarks.speed.plain_loop import PlainLoop
from benchmarks.speed.torch_backend import TorchBackend
from screen.backends import open_backend
from screen.discover import discover
from screen.model import model_from_bytes
from screen.preprocess import PreprocessSpec
from tests.places import EXAMPLES
from tests.tiny_model import tiny_model_bytes


def box(left: float, top: float, right: float, bottom: float) -> Box:
    return Box("film", left, top, right, bottom)


LANDSCAPE = Shape(2000, 1000)
"""Its central square is x 0.25 … 0.75, y 0 … 1."""


@pytest.mark.parametrize(
    ("lesion", "kept", "centre"),
    [
        (box(0.4, 0.0, 0.6, 1.0), 1.0, True),
        (box(0.25, 0.1, 0.75, 0.2), 1.0, True),
        (box(0.15, 0.1, 0.35, 0.2), 0.5, True),
        (box(0.70, 0.1, 0.90, 0.2), 0.25, False),
        (box(0.0, 0.1, 0.2, 0.2), 0.0, False),
    ],
)
def test_a_crop_keeps_what_lies_in_the_central_square(lesion: Box, kept: float, centre: bool) -> None:
    assert kept_area(lesion, LANDSCAPE) == pytest.approx(kept)
    assert keeps_centre(lesion, LANDSCAPE) is centre
    turned = box(lesion.top, lesion.left, lesion.bottom, lesion.right)
    assert kept_area(turned, Shape(1000, 2000)) == pytest.approx(kept)
    assert keeps_centre(turned, Shape(1000, 2000)) is centre


def test_a_square_film_loses_nothing_either_way() -> None:
    row = loss("square", [(box(0.0, 0.0, 0.1, 1.0), Shape(2021, 2021))])
    assert row.touched[0] == row.quarter_lost[0] == row.centre_lost[0] == 0
    assert row.resolution_kept_by_padding == 1


def test_the_interval_is_wilsons() -> None:
    # scipy.stats.binomtest(5, 100).proportion_ci(method="wilson")
    assert wilson(5, 100) == pytest.approx((0.05, 0.0215437, 0.1117505), abs=1e-6)


def test_boxes_are_put_back_on_the_true_films(shared: Path) -> None:
    rows = {row.films: row for row in measure(shared)}
    assert rows["NIH, true shapes, NIH's boxes"].lesions == 164
    assert rows["NIH and JSRT as if 2992 x 2991 (20% of NIH)"].touched[0] == 0
    assert rows["NIH and JSRT as if 2500 x 2048 (33% of NIH)"].touched[0] > 0


def test_peak_memory_counts_children_in_sessions_of_their_own() -> None:
    child = "import time; block = bytearray(b'1') * 40_000_000; time.sleep(1.5)"
    run = f"subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True)"
    process = subprocess.Popen([sys.executable, "-c", f"import subprocess, sys; {run}"])
    with PeakMemory(process) as peak:
        process.wait()
    assert peak.processes == 2
    assert 40e6 < peak.pss < 120e6


def test_the_plain_loop_scores_what_cv2_and_pydicom_read() -> None:
    loop = PlainLoop(PreprocessSpec())
    scores = {source.path.name: loop.score(source) for source in discover([EXAMPLES], None)}
    assert {"normal.png", "nodule.jpg", "film-1.dcm", "film-2.dcm"} <= {
        n for n, s in scores.items() if s is not None
    }
    assert scores["notes.txt"] is None
    assert scores["film-cut-short.dcm"] is None


def test_help_needs_no_torch() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    assert "pipeline" in result.output
    code = "import sys, benchmarks.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=EXAMPLES.parent.parent).returncode == 0


@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-4), (True, 1e-2)])
def test_torch_computes_what_the_model_file_says(half: bool, tolerance: float) -> None:
    model = model_from_bytes(tiny_model_bytes(), Path("tiny.onnx"))
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 64, 64), np.uint8)
    with open_backend(model, "cpu", 3, 1) as reference, TorchBackend(model, 3, "cpu", half=half) as backend:
        expected, found = reference.infer(images), backend.infer(images)
        assert (backend.device.provider, backend.device.precision) == (
            "torch, eager",
            "fp16" if half else "fp32",
        )
    for name in ("logits", "heatmap", "embedding", "distance", "gate"):
        apart = np.abs(getattr(found, name) - getattr(expected, name)).max()
        assert apart <= tolerance * max(1, np.abs(getattr(expected, name)).max()), name
