"""A site's own decision file: by a share of its cases, by labels, for a prevalence; and what to expect."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import screen
from screen.cli import cli
from screen.decide import decision_from, expected
from screen.errors import UsageError
from screen.evaluation.labels import LabelColumns
from screen.evaluation.platt import Calibration
from screen.evaluation.site import SiteDecision, decision_from_labels, expectation
from screen.model import OperatingPoint
from screen.report.tables import RESULTS_COLUMNS
from tests.fake_rows import card
from tests.films import dicom
from tests.micro_model import micro_bytes
from tests.places import EXAMPLES, ROOT
from tests.predicted import write_csv
from tests.tiny_model import tiny_model_file

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
            "probability": f"{1 / (1 + np.exp(-logit)):.6f}", "flagged": int(logit > 0),
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
    return decision_from_labels(scores, labels, LabelColumns(), None, prevalence)


def test_a_sites_labels_find_its_line(tmp_path: Path) -> None:
    decision = calibrate(*write_run(tmp_path, 4000))
    assert decision.finding == "tumor"
    assert "4,000 labelled films (1 labels have no film with a score)" in decision.story
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


def test_labels_the_wrong_way_round_are_noticed(tmp_path: Path) -> None:
    scores, labels = write_run(tmp_path)
    head, *rows = list(csv.reader(labels.read_text().splitlines()))
    turned = [[*who, str(1 - int(label)) if label else ""] for *who, label in rows]
    with pytest.raises(UsageError, match="1 must mean that a film has it"):
        calibrate(scores, write_csv(tmp_path / "turned.csv", head, turned))


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([["1.2.1", "", "maybe"]], "line 2"),
        ([["1.2.1", "", 0], ["1.2.1", "", 1]], "another label"),
        ([["1.2.1", "", 0], ["1.2.5", "", 1]], "1 labelled films with"),
        ([["1.2.77777", "", 0]], "1 labels have no film"),
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


def test_without_a_digest_nothing_is_bound(tmp_path: Path) -> None:
    scores, labels = write_run(tmp_path)
    (tmp_path / "summary.json").unlink()
    with pytest.raises(UsageError, match="does not say which model"):
        calibrate(scores, labels)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty films of 36 cases: four studies of two films, a film sent twice, one that failed, one known."""
    folder = tmp_path_factory.mktemp("night")
    for seed in range(40):
        study = f"1.2.{seed // 2}" if seed < 8 else f"1.3.{seed}"
        dicom(folder / "films" / f"{seed:02}.dcm", seed, study=study)
    (folder / "films" / "again.dcm").write_bytes((folder / "films" / "00.dcm").read_bytes())
    (folder / "films" / "cut.dcm").write_bytes((folder / "films" / "01.dcm").read_bytes()[:-6000])
    (folder / "micro.onnx").write_bytes(micro_bytes())
    run = partial(screen.run, model=folder / "micro.onnx", device="cpu", heatmaps=0)
    run(folder / "films" / "39.dcm", out=folder / "before")
    assert (
        run(folder / "films", out=folder / "run", known=[folder / "before" / "ledger.sqlite"]).exit_code == 3
    )
    return folder


@pytest.mark.parametrize(("rate", "flagged"), [(0.05, 1), (0.1, 3), (0.5, 17)])
def test_a_flag_rate_is_a_share_of_new_cases(night: Path, tmp_path: Path, rate: float, flagged: int) -> None:
    """35 cases: 36, and the known one does not count."""
    out = tmp_path / "decision.json"
    done = CliRunner().invoke(
        cli, ["calibrate", str(night / "run"), "--flag-rate", str(rate), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert f"would have flagged {flagged} of 35 cases" in done.output
    again = screen.run(
        night / "films", out=tmp_path / "again", model=night / "micro.onnx", device="cpu", decision=out,
        known=[night / "before" / "ledger.sqlite"],
    )  # fmt: skip
    lines = list(csv.DictReader((tmp_path / "again" / "flagged.csv").read_text().splitlines()))
    assert len([line for line in lines if "known" not in line["warnings"]]) == flagged
    assert again.summary["operating_point"] == "site"


def test_what_the_threshold_is_worth_is_an_expectation(night: Path, tmp_path: Path) -> None:
    """In the file, in the summary and on the page."""
    out = tmp_path / "decision.json"
    CliRunner().invoke(cli, ["calibrate", str(night / "run"), "--flag-rate", "0.1", "--out", str(out)])
    done = CliRunner().invoke(
        cli, ["report", str(night / "run"), "--decision", str(out), "--out", str(tmp_path / "report")]
    )
    assert done.exit_code == 3, done.output
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    basis = summary["expected"]["tumor"]["basis"]
    assert basis.startswith("an expectation, not measured at this threshold")
    assert summary["expected"]["tumor"]["sensitivity"] == 0.8
    assert "an expectation, not measured" in (tmp_path / "report" / "report.html").read_text()


def test_an_expectation_lies_between_the_measured_points_and_says_where_it_knows_nothing() -> None:
    points = CARD.findings[0].operating_points
    points = tuple(
        replace(point, sensitivity=s, sensitivity_interval=(s - 0.1, s + 0.05))
        for point, s in zip(points, (0.9, 0.7, 0.3), strict=True)
    )
    assert expectation(points, 0.5, "").sensitivity == pytest.approx(0.7)
    assert 0.3 < expectation(points, 0.6, "").sensitivity < 0.7
    high, low = expectation(points, 0.95, ""), expectation(points, 0.05, "")
    assert high.sensitivity_interval == (0.0, pytest.approx(0.35))
    assert low.sensitivity_interval == (pytest.approx(0.8), 1.0)
    assert (high.specificity_interval[1], low.specificity_interval[0]) == (1.0, 0.0)
    nothing = expectation((), 0.5, "1 of 30 cases")
    assert expected(nothing, 0.1) is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--flag-rate", "0.01"], "less than one case"),
        (["--flag-rate", "5"], "between 0 and 1"),
        (["--flag-rate", "0.1", "--finding", "mass"], "the model has tumor"),
        (["--flag-rate", "0.1", "--prevalence", "0.1"], "one or the other"),
        (["--prevalence", "1"], "between 0 and 1"),
        ([], "--flag-rate R, or --labels CSV"),
    ],
)
def test_half_a_command_is_wrong_usage(
    night: Path, tmp_path: Path, options: list[str], complaint: str
) -> None:
    done = CliRunner().invoke(cli, ["calibrate", str(night / "run"), *options, "--out", str(tmp_path / "d")])
    assert (done.exit_code, (tmp_path / "d").exists()) == (2, False)
    assert complaint in done.output


def test_labels_calibrate_a_second_finding(night: Path, tmp_path: Path) -> None:
    """`findings.csv` has no logits: they are the ledger's, as exact as those of `results.csv`."""
    two = tiny_model_file(tmp_path / "two.onnx", findings=("tumor", "abnormal"))
    run = tmp_path / "run"
    screen.run(night / "films", out=run, model=two, device="cpu", heatmaps=0)
    scores = list(csv.DictReader((run / "findings.csv").read_text().splitlines()))
    strongest = {
        finding: sorted(
            (line for line in scores if line["finding"] == finding), key=lambda line: line["probability"]
        )[20:]
        for finding in ("tumor", "abnormal")
    }
    found = {finding: {line["file"] for line in lines} for finding, lines in strongest.items()}
    lines = []
    for at, file in enumerate(
        sorted({line["file"] for line in scores} - {str(night / "films" / "again.dcm")})
    ):
        # One film in five is labelled against its score.
        lines.append(
            [file, *(int((file in found[finding]) != (at % 5 == 0)) for finding in ("tumor", "abnormal"))]
        )
    labels = write_csv(tmp_path / "labels.csv", ["file", "tumor", "abnormal"], lines)
    out = tmp_path / "decision.json"
    asked = ["calibrate", str(run), "--labels", str(labels), "--finding", "abnormal", "--out", str(out)]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 0, done.output
    assert "abnormal, 40 labelled films" in done.output
    assert list(json.loads(out.read_text())["findings"]) == ["abnormal"]
    report = [
        "report",
        str(run),
        "--decision",
        str(out),
        "--flag",
        "abnormal",
        "--out",
        str(tmp_path / "what-if"),
    ]
    assert CliRunner().invoke(cli, report).exit_code == 3
    given, looked_up = (
        decision_from_labels(run / name, labels, LabelColumns(), "tumor", None).calibration
        for name in ("results.csv", "findings.csv")
    )
    assert looked_up.slope == pytest.approx(given.slope, rel=1e-3)
    assert looked_up.intercept == pytest.approx(given.intercept, rel=1e-3)
    (tmp_path / "what-if" / "ledger.sqlite").symlink_to(night / "run" / "ledger.sqlite")
    with pytest.raises(UsageError, match="the model has tumor"):
        decision_from_labels(tmp_path / "what-if", labels, LabelColumns(), "abnormal", None)


def test_a_decision_is_bound_to_its_model(night: Path, tmp_path: Path) -> None:
    out = tmp_path / "decision.json"
    CliRunner().invoke(cli, ["calibrate", str(night / "run"), "--flag-rate", "0.1", "--out", str(out)])
    with pytest.raises(UsageError, match="made for another model"):
        screen.run(EXAMPLES, out=tmp_path / "other", device="cpu", decision=out)


def test_a_prevalence_alone_moves_the_models_own(night: Path, tmp_path: Path) -> None:
    out = tmp_path / "decision.json"
    result = CliRunner().invoke(
        cli, ["calibrate", str(night / "run"), "--prevalence", "0.005", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    finding = json.loads(out.read_text())["findings"]["tumor"]
    assert finding["prevalence"] == 0.005
    assert all(0 < point["threshold"] < 1 for point in finding["operating_points"])


def test_the_commands_need_no_torch(tmp_path: Path) -> None:
    scores, labels = write_run(tmp_path)
    code = (
        "import sys\nfor name in ('torch', 'matplotlib', 'safetensors', 'onnx'): sys.modules[name] = None\n"
    )
    code += "from screen.__main__ import main\nmain()\n"
    out = tmp_path / "decision.json"
    for arguments in (
        ["calibrate", tmp_path, "--labels", labels, "--prevalence", "0.01", "--out", out],
        ["evaluate", scores, "--labels", labels, "--out", tmp_path / "evaluation"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True, text=True, cwd=ROOT, env=os.environ,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "300 labelled films" in done.stdout
    assert json.loads(out.read_text())["findings"]["tumor"]["prevalence"] == 0.01
