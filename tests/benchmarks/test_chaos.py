"""Killed at any moment, a run loses and doubles nothing: the same command brings the same bytes."""

from pathlib import Path

import pytest

from benchmarks.survival.chaos import chaos
from tests.micro_model import micro_bytes
from tests.nights import FAULTY_SCREEN, night


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "micro.onnx"
    path.write_bytes(micro_bytes())
    return path


def test_killed_runs_resume_to_the_same_bytes(tmp_path: Path, model: Path) -> None:
    films = night(tmp_path / "in", 56, slow=6)
    options = ["--model", str(model), "--workers", "1", "--threshold", "0.65"]
    figures = chaos(films, kills=3, seed=4, work=tmp_path, options=options, command=FAULTY_SCREEN)
    assert figures.broken == []
    assert figures.files == 60
    assert figures.kills >= 3
    assert figures.reused > 0
