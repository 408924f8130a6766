"""A site's own calibration: labels and scores to a decision file, another prevalence, and what to expect."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from screen.cli import cli
from screen.decide import decision_from, expected
from screen.errors import UsageError
from screen.evaluation.platt import Calibration
from screen.model import OperatingPoint
from screen.report.tables import RESULTS_COLUMNS
from tests.fake_rows import card
from tests.places import ROOT
from tests.predicted import write_csv
from train.measure.site import SiteDecision, decision_from_labels

CARD = card()


def write_run(folder: Path, films: int = 300, digest: str = CARD.weights_digest) -> tuple[Path, Path]:
    """`results.csv` with `summary.json` beside it, and labels by SOP Instance UID, or by file without one.

    Films with the finding score 1.5 higher; the true calibrated logit is 1.5 · logit − 1.125 + log(1/3).
    """
    generator = np.random.default_rng(0)
    results, labels = [], []
    for index in range(films):
        label = int(index % 4 == 0)
        logit = generator.normal() + 1.5 * label
        uid = f"1.2.{index}" if index % 2 else ""
        name = f"/archive/night/{index // 100}/{index:03}.dcm"
        line = dict.fromkeys(RESULTS_COLUMNS, "") | {
            "file": name, "status": "screened", "sop_instance_uid": uid,
            "study_instance_uid": f"9.{index // 2}", "finding": "tumor", "logit": f"{logit:.6f}",
        }  # fmt: skip
        results.append(list(line.values()))
        labels.append([uid, "" if uid else f"{index // 100}/{index:03}.dcm", label])
    again = dict(zip(RESULTS_COLUMNS, results[0], strict=True))
    again |= {"file": "/archive/night/again.dcm", "duplicate_of": again["file"], "logit": "99.0"}
    results.append(list(again.values()))
    labels += [["1.2.99999", "", 1], ["1.2.1", "", ""]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps({"digests": {"weights": digest}}))
    return (
        write_csv(folder / "results.csv", RESULTS_COLUMNS, results),
        write_csv(folder / "labels.csv", ["sop_instance_uid", "file", "tumor"], labels),
    )


def calibrate(scores: Path, labels: Path, prevalence: float | None = None) -> SiteDecision:
    return decision_from_labels(scores, labels, "tumor", None, prevalence)


def test_a_sites_labels_find_its_line(tmp_path: Path) -> None:
    decision = calibrate(*write_run(tmp_path, 4000))
    assert (decision.finding, decision.films, decision.unmatched) == ("tumor", 4000, 1)
    assert decision.weights_digest == CARD.weights_digest
    assert decision.calibration.slope == pytest.approx(1.5, abs=0.15)
    assert decision.calibration.intercept == pytest.approx(-1.125 + np.log(1 / 3), abs=0.15)
    points = {point.name: point for point in decision.calibration.operating_points}
    assert points["sensitive"].sensitivity == pytest.approx(0.9, abs=0.02)
    assert points["specific"].specificity == pytest.approx(0.9, abs=0.02)


def test_what_screen_makes_of_the_file(tmp_path: Path) -> None:
    decision = calibrate(*write_run(tmp_path), prevalence=0.01)
    (tmp_path / "decision.json").write_text(decision.to_json())
    applied = decision_from(CARD, None, None, tmp_path / "decision.json")
    finding = applied.card.findings[0]
    assert finding.prevalence == 0.01
    assert finding.heatmap_scale == CARD.findings[0].heatmap_scale
    assert Calibration.of(finding) == decision.calibration


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e-4, 0.999),
    st.lists(st.floats(-20, 20, allow_nan=False), min_size=2, max_size=30, unique=True),
)
def test_another_prevalence_reorders_nothing_and_flags_the_same(
    prevalence: float, logits: list[float]
) -> None:
    before = Calibration.of(CARD.findings[0])
    after = before.at(prevalence)
    rising = np.sort(np.array(logits))
    assert (np.diff(after.probabilities(rising)) >= 0).all()
    for old, new in zip(before.operating_points, after.operating_points, strict=True):
        # A film exactly at the threshold may fall either way by rounding.
        clear = np.abs(before.probabilities(rising) - old.threshold) > 1e-9
        flagged_before = before.probabilities(rising) >= old.threshold
        flagged_after = after.probabilities(rising) >= new.threshold
        assert np.array_equal(flagged_before[clear], flagged_after[clear])
    assert after.at(before.prevalence).intercept == pytest.approx(before.intercept)


def test_bayes() -> None:
    point = OperatingPoint("p", 0.5, 0.8, (0.7, 0.9), 0.9, (0.8, 0.95), "films")
    found = expected(point, 0.01)
    assert found is not None
    assert found.flags == pytest.approx(1000 * (0.8 * 0.01 + 0.1 * 0.99))
    assert found.ppv == pytest.approx(0.008 / 0.107)
    assert found.flags_range[0] < found.flags < found.flags_range[1]
    assert found.ppv_range[0] < found.ppv < found.ppv_range[1]
    assert expected(None, 0.01) is None
    assert expected(OperatingPoint("p", 0.5, 0, (0.0, 1.0), 0, (0.0, 1.0), "not measured"), 0.01) is None


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([["1.2.1", "", "maybe"]], "line 2"),
        ([["1.2.1", "", 0], ["1.2.1", "", 1]], "another label"),
        ([["1.2.1", "", 0], ["1.2.5", "", 1]], "1 labelled films with"),
        ([["1.2.77777", "", 0]], "1 labels have none"),
    ],
)
def test_labels_that_make_no_calibration(tmp_path: Path, rows: list[list[object]], complaint: str) -> None:
    scores, _ = write_run(tmp_path)
    labels = write_csv(tmp_path / "bad.csv", ["sop_instance_uid", "file", "tumor"], rows)
    with pytest.raises(UsageError, match=complaint):
        calibrate(scores, labels)


def test_a_name_that_several_films_have_is_refused(tmp_path: Path) -> None:
    scores, _ = write_run(tmp_path)
    lines = scores.read_text().splitlines()
    lines.append(lines[1].replace("/night/0/", "/night/other/"))
    scores.write_text("\n".join(lines) + "\n")
    labels = write_csv(tmp_path / "l.csv", ["file", "tumor"], [["000.dcm", 1]])
    with pytest.raises(UsageError, match="more of their path"):
        calibrate(scores, labels)


def test_without_a_digest_the_model_must_be_named(tmp_path: Path) -> None:
    scores, labels = write_run(tmp_path)
    (tmp_path / "summary.json").unlink()
    with pytest.raises(UsageError, match="--model"):
        calibrate(scores, labels)


def test_the_command_needs_no_torch(tmp_path: Path) -> None:
    scores, labels = write_run(tmp_path)
    code = "import sys\nfor name in ('torch', 'matplotlib', 'safetensors'): sys.modules[name] = None\n"
    code += "from screen.__main__ import main\nmain()\n"
    out = tmp_path / "decision.json"
    options = ["--scores", scores, "--labels", labels, "--prevalence", "0.01", "--out", out]
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "calibrate", *map(str, options)],
        capture_output=True, text=True, cwd=ROOT, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "300 labelled films" in done.stdout
    assert json.loads(out.read_text())["findings"]["tumor"]["prevalence"] == 0.01


def test_a_prevalence_alone_shifts_the_models_own(tmp_path: Path) -> None:
    out = tmp_path / "decision.json"
    result = CliRunner().invoke(cli, ["train", "calibrate", "--prevalence", "0.005", "--out", str(out)])
    assert result.exit_code == 0, result.output
    finding = json.loads(out.read_text())["findings"]["tumor"]
    assert finding["prevalence"] == 0.005
    assert all(0 < point["threshold"] < 1 for point in finding["operating_points"])


@pytest.mark.parametrize(
    "options",
    [
        ["--scores", "r.csv"],
        ["--prevalence", "1"],
        ["model", str(ROOT / "README.md"), "--prevalence", "0.1"],
        [],
    ],
)
def test_half_a_command_is_wrong_usage(tmp_path: Path, options: list[str]) -> None:
    arguments = ["train", "calibrate", *options, "--out", str(tmp_path / "d.json")]
    assert CliRunner().invoke(cli, arguments).exit_code == 2
