"""`screen evaluate`: which film a label means, figures that others agree with, nothing lost in silence."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import screen
from screen.cli import cli
from screen.errors import UsageError
from screen.evaluation.labels import LabelColumns, match_labels
from screen.evaluation.metrics import PatientDraws, auc, average_precision, patient_draws
from screen.evaluation.performance import AS_FLAGGED, measure
from screen.evaluation.results import read_results
from screen.report.tables import FINDINGS_COLUMNS, RESULTS_COLUMNS
from tests.places import EXAMPLES
from tests.predicted import write_csv

THRESHOLDS = {"sensitive": 0.3, "specific": 0.7}


def write_run(folder: Path, films: int = 240) -> Path:
    """A run's tables and summary: films of patients with up to three each, one in four with the finding."""
    generator = np.random.default_rng(5)
    lines, truth = [], []
    for index in range(films):
        label = int(generator.random() < 0.25)
        logit = round(float(generator.normal() + 1.2 * label), 2)  # ties, too
        p = 1 / (1 + np.exp(-logit))
        cells = dict.fromkeys(RESULTS_COLUMNS, "") | {
            "file": f"/archive/{index // 100}/{index:03}.dcm", "status": "screened", "finding": "tumor",
            "sop_instance_uid": f"1.2.{index}", "study_instance_uid": f"9.{index // 2}",
            "logit": f"{logit:.6f}", "probability": f"{p:.6f}", "flagged": int(p >= 0.3),
        }  # fmt: skip
        lines.append(list(cells.values()))
        truth.append([f"{index // 100}/{index:03}.dcm", label, f"P{index // 3}", "AB"[index % 2]])
    folder.mkdir(parents=True, exist_ok=True)
    points = [
        {"name": name, "threshold": threshold, "sensitivity": 0.8, "specificity": 0.6}
        for name, threshold in THRESHOLDS.items()
    ]
    summary = {
        "digests": {"weights": "ab" * 32, "decision": "cd" * 32},
        "operating_points": {"tumor": points},
        "thresholds": {"tumor": 0.3},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    write_csv(folder / "results.csv", RESULTS_COLUMNS, lines)
    write_csv(folder / "labels.csv", ["path", "nodule", "who", "device"], truth)
    return folder


COLUMNS = LabelColumns("path", "nodule", "who", "device")
OPTIONS = (
    "--file-column",
    "path",
    "--label-column",
    "nodule",
    "--patient-column",
    "who",
    "--source-column",
    "device",
)


def evaluate(*arguments: object) -> str:
    done = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def own_bootstrap(
    scores: Sequence[float], labels: Sequence[int], patients: Sequence[str]
) -> tuple[float, float]:
    """Another way to the interval: drawn lists of patients, and the AUC by counting pairs."""
    generator = np.random.default_rng(77)
    films: dict[str, list[tuple[float, int]]] = {}
    for score, label, patient in zip(scores, labels, patients, strict=True):
        films.setdefault(patient, []).append((score, label))
    names, values = list(films), []
    for _ in range(400):
        drawn = [film for name in generator.choice(names, len(names)) for film in films[name]]
        positive = np.array([score for score, label in drawn if label])
        negative = np.array([score for score, label in drawn if not label])
        above = (positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2
        values.append(float(above))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def check_with_others(folder: Path, evaluation: Path, labels: dict[str, tuple[int, str]]) -> None:
    """AUC, average precision and curves by scikit-learn, the interval by a bootstrap of our own.

    labels: of each labelled file with a score, its label and its patient.
    """
    sklearn = pytest.importorskip("sklearn.metrics")
    scored = {
        row["file"]: float(row["probability"]) for row in rows(folder / "results.csv") if row["probability"]
    }
    names = sorted(labels)
    truth, p = [labels[name][0] for name in names], [scored[name] for name in names]
    figures = {row["figure"]: row for row in rows(evaluation / "metrics.csv")}
    assert int(figures["auc"]["films"]) == len(names)
    assert int(figures["auc"]["positives"]) == sum(truth)
    assert float(figures["auc"]["value"]) == pytest.approx(sklearn.roc_auc_score(truth, p), abs=1e-6)
    expected = sklearn.average_precision_score(truth, p)
    assert float(figures["average_precision"]["value"]) == pytest.approx(expected, abs=1e-6)
    assert float(figures["brier"]["value"]) == pytest.approx(sklearn.brier_score_loss(truth, p), abs=1e-6)
    low, high = own_bootstrap(p, truth, [labels[name][1] for name in names])
    assert float(figures["auc"]["low"]) == pytest.approx(low, abs=0.02)
    assert float(figures["auc"]["high"]) == pytest.approx(high, abs=0.02)
    roc = [row for row in rows(evaluation / "curves.csv") if row["curve"] == "roc"]
    area = sklearn.auc([float(row["x"]) for row in roc], [float(row["y"]) for row in roc])
    assert area == pytest.approx(float(figures["auc"]["value"]), abs=1e-5)
    for point in rows(evaluation / "operating-points.csv"):
        if point["threshold"]:
            flagged = [value >= float(point["threshold"]) for value in p]
            assert float(point["sensitivity"]) == pytest.approx(
                sklearn.recall_score(truth, flagged), abs=1e-6
            )
            specificity = sklearn.recall_score(truth, flagged, pos_label=0)
            assert float(point["specificity"]) == pytest.approx(specificity, abs=1e-6)


def test_others_agree_with_the_figures(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    said = evaluate(run, "--labels", run / "labels.csv", *OPTIONS, "--out", tmp_path / "out")
    labels = {f"/archive/{row['path']}": (int(row["nodule"]), row["who"]) for row in rows(run / "labels.csv")}
    check_with_others(run, tmp_path / "out", labels)
    assert "tumor: 240 labelled films" in said
    figures = {row["figure"] for row in rows(tmp_path / "out" / "metrics.csv")}
    assert {"auc_within_source", "calibration_error", "calibration_slope"} <= figures


def test_on_real_films_others_agree_too(shared: Path, tmp_path: Path) -> None:
    """A sample of the labelled films: the way that a user goes, from pictures to the page."""
    table = rows(shared / "cxr" / "labels.csv")
    sample = [row for row in table if row["source"].startswith(("nih", "rsna")) and row["tumor"]][::11]
    files = [shared / "cxr" / row["file"] for row in sample]
    done = screen.run(files, out=tmp_path / "run", device="cpu", heatmaps=0)
    evaluate(done.folder, "--labels", shared / "cxr" / "labels.csv", "--out", tmp_path / "out")
    screened = {row["file"] for row in rows(done.folder / "results.csv") if row["probability"]}
    labels = {
        str(file): (int(float(row["tumor"])), row["patient_id"])
        for file, row in zip(files, sample, strict=True)
        if str(file) in screened
    }
    assert len(labels) > 300
    check_with_others(done.folder, tmp_path / "out", labels)


def test_the_examples_are_too_few_for_figures_and_say_so(tmp_path: Path) -> None:
    done = screen.run(EXAMPLES, out=tmp_path / "run", device="cpu", heatmaps=0)
    labels = write_csv(
        tmp_path / "labels.csv",
        ["file", "tumor"],
        [
            ["normal.png", 0], ["films/nodule.jpg", 1],
            ["study-1/film-1.dcm", "0.0"], ["study-1/film-2.dcm", ""],
            ["study-3/film-sent-twice.dcm", 1], ["study-3/film.dcm", 1], ["study-4/film-cut-short.dcm", 1],
            ["elsewhere.png", 0],
        ],
    )  # fmt: skip
    said = evaluate(done.folder, "--labels", labels, "--out", tmp_path / "out")
    assert "tumor: 4 labelled films, 2 with the finding" in said
    assert "2 labels without a score, 1 positive" in said
    assert "too few: 2 with, 2 without" in said
    unmatched = {row["file"]: row["why"] for row in rows(tmp_path / "out" / "unmatched.csv")}
    assert unmatched == {
        "study-4/film-cut-short.dcm": "failed: corrupt_pixels",
        "elsewhere.png": "no film of the run has this name",
    }
    points = {row["operating_point"]: row for row in rows(tmp_path / "out" / "operating-points.csv")}
    assert list(points) == ["sensitive_95", "sensitive", "balanced", "specific", "specific_95", AS_FLAGGED]
    assert points["balanced"]["sensitivity_hits"] == points[AS_FLAGGED]["sensitivity_hits"] == "2"
    assert float(points["balanced"]["promised_sensitivity"]) == pytest.approx(0.635, abs=1e-3)
    page = (tmp_path / "out" / "evaluation.html").read_text()
    for word in ("study-4/film-cut-short.dcm", "corrupt_pixels", "<svg", "Research use only", "too few"):
        assert word in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    plain = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (plain["labels_without_score"], plain["lines_without_label"], plain["films_without_label"]) == (
        2,
        1,
        3,
    )
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "out").iterdir())


def test_a_label_finds_its_film_by_uid_by_an_end_of_its_path_or_by_a_longer_one(tmp_path: Path) -> None:
    results = read_results(write_run(tmp_path))
    labels = write_csv(
        tmp_path / "l.csv",
        ["file", "tumor", "sop_instance_uid"],
        [
            ["", 1, "1.2.7"], ["0/008.dcm", 0, ""], ["009.dcm", 1, ""], ["/mnt//archive/0/010.dcm", 0, ""],
            ["/archive/0/011.dcm", 1, "9.9.9"], ["x/0/012.dcm", 1, ""],
        ],
    )  # fmt: skip
    found = match_labels(results, labels, LabelColumns())
    assert found.places.tolist() == [7, 8, 9, 10, 11]
    assert found.labels.tolist() == [1, 0, 1, 0, 1]
    assert [(each.line, each.name) for each in found.unused] == [(7, "x/0/012.dcm")]
    assert found.grouped_by == "study"
    assert found.patients[0] == "9.3"


@pytest.mark.parametrize(
    ("columns", "lines", "complaint"),
    [
        (["file", "mass"], [["a", 1]], "no column 'tumor'"),
        (["film", "tumor"], [["a", 1]], "--file-column"),
        (["file", "tumor"], [["000.dcm", "yes"]], "line 2: a label must be 0, 1 or empty"),
        (["file", "tumor"], [["000.dcm", 1], ["0/000.dcm", 0]], "line 3: this film has another label"),
        (["file", "tumor"], [["same.dcm", 1]], "give more of their path"),
        (["file", "tumor"], [], "no line in it"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    tmp_path: Path, columns: list[str], lines: list[list[object]], complaint: str
) -> None:
    run = write_run(tmp_path)
    with (run / "results.csv").open("a") as stream:
        for folder in "ab":
            stream.write(f"/archive/{folder}/same.dcm,screened,,,,,,,,tumor,0.5,0.0,,0,\n")
    with pytest.raises(UsageError, match=complaint):
        match_labels(read_results(run), write_csv(tmp_path / "l.csv", columns, lines), LabelColumns())


def test_another_finding_comes_from_findings_csv(tmp_path: Path) -> None:
    run = write_run(tmp_path, 30)
    names = [row["file"] for row in rows(run / "results.csv")]
    lines = [[name, finding, 0.25, 0.2, 1] for name in names for finding in ("tumor", "mass")]
    write_csv(run / "findings.csv", FINDINGS_COLUMNS, lines)
    mass = read_results(run, "mass")
    assert (mass.finding, len(mass.films), mass.films[3].probability) == ("mass", 30, 0.25)
    assert mass.by_uid["1.2.4"] == {4}
    assert read_results(run / "findings.csv", "mass").films == mass.films
    with pytest.raises(UsageError, match="tumor, mass: name one of them with --finding"):
        read_results(run / "findings.csv")
    with pytest.raises(UsageError, match="tumor, mass"):
        read_results(run, "pneumothorax")
    (run / "results.csv").unlink()
    alone = read_results(run / "findings.csv", "mass")
    assert alone.named("012.dcm") == {12}
    with pytest.raises(UsageError, match=r"no results\.csv or findings\.csv"):
        read_results(write_csv(tmp_path / "other.csv", ["file", "score"], [["a", 1]]))


def test_without_a_summary_the_runs_own_flags_are_measured(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    (run / "summary.json").unlink()
    results = read_results(run)
    performance = measure(results, match_labels(results, run / "labels.csv", COLUMNS), lambda what: None)
    assert [point.name for point in performance.points] == [AS_FLAGGED]
    assert performance.points[0].sensitivity.value == pytest.approx(
        np.mean(performance.labelled.flagged[performance.labelled.labels == 1])
    )


def test_a_threshold_of_the_command_line_has_a_row(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"thresholds": {"tumor": 0.45}}))
    results = read_results(run)
    performance = measure(results, match_labels(results, run / "labels.csv", COLUMNS), lambda what: None)
    assert [point.name for point in performance.points] == ["sensitive", "threshold", "specific", AS_FLAGGED]


def test_draws_come_in_parts_and_are_the_same() -> None:
    patients = np.array([str(index // 2) for index in range(5000)])
    parts = list(PatientDraws(patients, draws=1000))
    assert len(parts) > 1
    assert sum(map(len, parts)) == 1000
    assert np.array_equal(np.concatenate(parts), patient_draws(patients, 1000))


def test_ties_and_weights_in_average_precision() -> None:
    scores, labels = np.array([0.9, 0.5, 0.5, 0.1]), np.array([1.0, 0.0, 1.0, 0.0])
    assert average_precision(scores, labels, np.ones((1, 4)))[0] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    weighted = average_precision(scores, labels, np.array([[2.0, 1.0, 0.0, 1.0]]))[0]
    assert weighted == pytest.approx(
        average_precision(scores[[0, 0, 1, 3]], labels[[0, 0, 1, 3]], np.ones((1, 4)))[0]
    )
    assert auc(scores, labels) == pytest.approx(0.875)
