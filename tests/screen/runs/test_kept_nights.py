"""Nights are kept for years: one of an earlier version is reported, decided anew and reused."""

import csv
import json
import lzma
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from screen.cli import cli
from screen.ledger import Ledger
from screen.model import load_model
from screen.preprocess import square
from tests.places import EXAMPLES, ROOT

KEPT = ROOT / "tests" / "fixtures" / "ledger-version-1.sqlite.xz"
FILMS = 7


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """The folder of the kept night; its films are not where they were."""
    folder = tmp_path / "night"
    folder.mkdir(mode=0o700)
    (folder / "ledger.sqlite").write_bytes(lzma.decompress(KEPT.read_bytes()))
    return folder


def screen(*arguments: object) -> int:
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code


def results(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "results.csv").open(newline="") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}


@pytest.mark.parametrize(("threshold", "flagged"), [(0.05, 8), (0.3, 3), (0, 8), (1, 0)])
def test_it_is_decided_anew(night: Path, tmp_path: Path, threshold: float, flagged: int) -> None:
    assert screen("report", night, "--threshold", threshold, "--out", tmp_path / "again") == 3
    found = results(tmp_path / "again")
    assert len(found) == 11
    assert found["films/nodule.jpg"]["logit"] == "-3.105952"
    assert found["films/study-4/film-cut-short.dcm"]["reason"] == "corrupt_pixels"
    assert sum(row["flagged"] == "1" for row in found.values()) == flagged
    summary = json.loads((tmp_path / "again" / "summary.json").read_text())
    assert summary["started"] < summary["decided"]
    assert sorted(path.name for path in night.iterdir()) == [".lock", "ledger.sqlite"]


def test_it_is_reported_by_a_version_that_prepares_films_otherwise(
    night: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(square, "judge_digest", lambda: "0" * 64)
    assert screen("report", night, "--threshold", 0.05) == 3
    assert results(night)["films/nodule.jpg"]["flagged"] == "1"


def test_it_is_known_to_a_later_night(night: Path, tmp_path: Path) -> None:
    ledger = night / "ledger.sqlite"
    out = tmp_path / "out"
    assert screen("run", EXAMPLES, "--out", out, "--known", ledger, "--workers", 1, "--device", "cpu") == 3
    summary = json.loads((out / "summary.json").read_text())
    with Ledger.open_readonly(ledger) as kept:
        same_weights = kept.settings()["weights_digest"] == load_model(None).card.weights_digest
    if same_weights:
        # Films whose pixels are not square were squeezed then: in their proportions they are other pictures.
        assert summary["images_inferred"] == 5
        assert summary["counts"]["warning"]["known"] == 2
    else:
        assert summary["counts"]["known_ignored"] == 8
    # It has no mark of what its report listed: what is flagged is listed once more.
    assert summary["cases_listed"] == summary["cases_flagged"] > 0


def test_its_ledger_is_as_it_was_after_others_have_read_it(night: Path, tmp_path: Path) -> None:
    ledger = night / "ledger.sqlite"
    before = ledger.read_bytes()
    ledger.chmod(0o400)
    films = tmp_path / "films"
    shutil.copytree(EXAMPLES / "study-3", films)
    args = ("--known", ledger, "--workers", 1, "--device", "cpu")
    assert screen("run", films, "--out", tmp_path / "out", *args) == 0
    assert ledger.read_bytes() == before
    assert sorted(path.name for path in night.iterdir()) == ["ledger.sqlite"]
