"""Recipes measured by their out-of-fold predictions: made films with known answers, and the command."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from screen.errors import UsageError
from screen.evaluation.metrics import within_source_auc
from tests.places import SHARED
from tests.predicted import write_csv, write_predictions, write_readers, write_table
from train.cli.main import cli
from train.data.table import Columns
from train.measure.evaluation import BORNE_OUT, COMBINED, HEADLINE, READERS, Evaluation, evaluate
from train.measure.evaluation_card import model_card
from train.measure.plots import reader_rates
from train.measure.predictions import PREDICTION_COLUMNS, Cohort, read_cohort, read_recipe

GAINS = (("good", 1.5), ("again", 1.5), ("idle", 0.0))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def cohort(table: Path) -> Cohort:
    return read_cohort([table], Columns())


@pytest.fixture(scope="module")
def evaluation(table: Path, cohort: Cohort) -> Evaluation:
    recipes = [
        read_recipe(name, write_predictions(table, f"{name}.csv", gain, seeds=2), cohort)
        for name, gain in GAINS
    ]
    return evaluate(cohort, recipes, {}, "tumor")


def test_the_cohort_is_what_can_be_measured_on(cohort: Cohort) -> None:
    assert len(cohort.files) == 240  # the child's hospital has no tumor
    assert set(cohort.sources[~cohort.headline]) == {"jsrt"}
    assert set(cohort.slices["age"]) == {"0 to 39", "40 to 59", "60 to 74", "75 and over"}


def test_auc_of_shifted_noise(evaluation: Evaluation) -> None:
    # Two normal distributions a distance d apart: AUC = Phi(d / sqrt 2).
    expected = 0.5 * (1 + math.erf(1.5 / 2))
    headline = evaluation.figure(HEADLINE)
    assert headline.films == 160
    assert headline.low < expected < headline.high
    assert headline.value == pytest.approx(expected, abs=0.06)
    seeds = [f.value for f in evaluation.figures["good"] if f.group.startswith("seed")]
    assert headline.value == pytest.approx(np.mean(seeds))
    assert evaluation.figure("auc_jsrt").films == 80


def test_paired_differences(evaluation: Evaluation) -> None:
    found = {(c.other, c.figure): c for c in evaluation.comparisons}
    same, idle = found["again", HEADLINE], found["idle", HEADLINE]
    assert (same.difference, same.low, same.high, same.excludes_zero) == (0, 0, 0, False)
    assert idle.excludes_zero
    assert idle.difference == pytest.approx(0.86 - 0.5, abs=0.12)
    assert ("idle", "auc_jsrt") in found


def write_follow_ups(table: Path) -> Path:
    """Of eight films, the later ones of the first four have the same label, of the others the contrary.

    Patients of the first eight of sixteen have one later film, the others two.
    """
    listed = ["Image Index,Finding Labels,Follow-up #,Patient ID"]
    for index in range(240):
        positive = index % 4 == 0
        later = [positive == (index % 8 < 4)] * (1 + (index % 16 >= 8))
        for number, found in enumerate([positive, *later]):
            name = f"{index}-{number}.png" if number else f"{index}.png"
            listed.append(f"{name},{'Mass' if found else 'No Finding'},{number},P{index}")
    follow_ups = table.parent / "Data_Entry_2017.csv"
    follow_ups.write_text("\n".join(listed) + "\n")
    return follow_ups


def test_labels_that_other_films_bear_out_are_measured_apart(table: Path, cohort: Cohort) -> None:
    known = read_cohort([table], Columns(), write_follow_ups(table))
    recipes = [
        read_recipe(name, write_predictions(table, f"{name}.csv", gain), known) for name, gain in GAINS
    ]
    result = evaluate(known, recipes, {}, "tumor")
    figure = result.figure(BORNE_OUT)
    assert (figure.films, figure.positives) == (80, 20)
    numbers = np.array([int(Path(file).stem) for file in known.files])
    films = (numbers % 8 < 4) & known.headline
    alike = np.char.add(known.sources, np.where(numbers % 16 < 8, " one later", " two later"))
    expected = within_source_auc(recipes[0].logits[0][films], known.labels[films], alike[films])
    assert figure.value == pytest.approx(expected)
    assert {c.figure for c in result.comparisons} == {HEADLINE, BORNE_OUT, "auc_jsrt"}
    assert not any(cohort.borne_out)
    assert not any(f.name == BORNE_OUT for f in evaluate(cohort, recipes, {}, "tumor").figures["good"])


def test_what_radiologists_saw_judges_where_it_is_known(table: Path, tmp_path: Path) -> None:
    readers = write_readers(tmp_path / "readers")
    known = read_cohort([table], Columns(readers=readers), write_follow_ups(table))
    recipes = [
        read_recipe(name, write_predictions(table, f"{name}.csv", gain), known) for name, gain in GAINS
    ]
    result = evaluate(known, recipes, {}, "tumor")
    seen = known.verdicts["adjudicated"]
    films = ~np.isnan(seen)
    assert not films[known.sources == "jsrt"].any()
    flipped = np.array([int(Path(file).stem) % 10 == 0 for file in known.files])
    assert np.array_equal(seen[films] != known.labels[films], flipped[films])
    expected = within_source_auc(recipes[0].logits[0][films], seen[films], known.sources[films])
    figure = result.figure(READERS)
    assert (figure.value, figure.films, figure.positives) == (pytest.approx(expected), 160, seen[films].sum())
    parts = [result.figure(name).value for name in (READERS, BORNE_OUT, "auc_jsrt")]
    assert result.figure(COMBINED).value == pytest.approx(np.mean(parts))
    first, second = (c for c in result.comparisons if c.figure == COMBINED)
    assert (first.difference, first.low, first.high, second.excludes_zero) == (0, 0, 0, True)
    card = model_card(result, None)
    assert card.index("**AUC, pairs within one source, what radiologists saw") < card.index(
        "mined from reports"
    )
    with pytest.raises(UsageError, match="saw none of the films"):
        other = write_readers(tmp_path / "others", 0)
        read_cohort([table], Columns(readers=other))


def test_single_readers_are_points_beside_the_curve(table: Path, tmp_path: Path) -> None:
    readers = write_readers(tmp_path / "readers")
    result = CliRunner().invoke(cli, [
        "evaluate", str(table), "--readers", str(readers), "--out", str(tmp_path / "out"),
        "--predictions", f"good={write_predictions(table, 'good.csv', 1.5)}",
    ])  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/roc.png").stat().st_size > 10_000
    cohort = read_cohort([table], Columns(readers=readers))
    rates = {name: reader_rates(said, cohort.verdicts["adjudicated"]) for name, said in cohort.single.items()}
    assert rates == {"right": (0, 1), "wrong": (1, 0)}


def test_a_film_without_nihs_name_is_known_by_its_files(tmp_path: Path) -> None:
    rows = [[f"images/{index}.png", f"P{index}", index % 4 == 0] for index in range(240)]
    plain = write_csv(
        tmp_path / "labels.csv", ["file", "patient_id", "tumor"], [[*r[:2], int(r[2])] for r in rows]
    )
    follow_ups = write_follow_ups(plain)
    assert read_cohort([plain], Columns(), follow_ups).borne_out[:6].tolist() == ["2"] * 4 + [""] * 2
    other = write_csv(tmp_path / "other.csv", ["file", "patient_id", "tumor"], [["a", "A", 1], ["b", "B", 0]])
    with pytest.raises(UsageError, match="nothing of the films"):
        read_cohort([other], Columns(), follow_ups)


def test_a_model_on_the_test_split_knows_no_follow_ups(table: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", "model", table, "--follow-up-table", write_follow_ups(table), "--out", tmp_path]
    result = CliRunner().invoke(cli, [str(a) for a in arguments])
    assert isinstance(result.exception, UsageError)
    assert "--predictions" in str(result.exception)


def test_calibration_is_measured_out_of_fold(evaluation: Evaluation) -> None:
    # For normal noise around 0 and 1.5 the true line is 1.5 · logit + const.
    assert evaluation.calibration.slope == pytest.approx(1.5, abs=0.4)
    assert evaluation.calibration.prevalence == 0.25
    assert evaluation.figure("brier_skill").value > 0
    slope = evaluation.figure("calibration_slope")
    assert slope.low < 1 < slope.high
    names = [point.name for point in evaluation.calibration.operating_points]
    assert names == ["sensitive_95", "sensitive", "balanced", "specific", "specific_95"]
    points = {point.name: point for point in evaluation.calibration.operating_points}
    assert points["sensitive"].sensitivity == pytest.approx(0.9, abs=0.06)
    assert points["specific"].specificity == pytest.approx(0.9, abs=0.06)
    low, high = points["sensitive"].sensitivity_interval
    assert low < 0.9 < high
    thresholds = [point.threshold for point in evaluation.calibration.operating_points]
    assert thresholds == sorted(thresholds)


def test_pointing(evaluation: Evaluation, table: Path, cohort: Cohort) -> None:
    # The box covers a quarter by a half of the film, and (0.3, 0.6) lies in it; so does the fixed point.
    everything = evaluation.pointing[0]
    assert (everything.films, everything.hit, everything.fixed_point) == (30, 1.0, 1.0)
    assert everything.chance == pytest.approx(1 / 8, abs=0.01)
    missed = read_recipe("m", write_predictions(table, "missed.csv", 1.5, peak=(0.6, 0.3)), cohort)
    assert evaluate(cohort, [missed], {}, "tumor").pointing[0].hit == 0


def test_slices_say_when_they_are_too_small(tmp_path: Path) -> None:
    small = write_table(tmp_path, 60)
    few = read_cohort([small], Columns())
    result = evaluate(few, [read_recipe("r", write_predictions(small, "p.csv", 1.0), few)], {}, "tumor")
    old = next(f for f in result.figures["r"] if f.group == "age: 75 and over")
    assert old.note.startswith("too few: ")
    assert math.isnan(old.value)


def changed(table: Path, edit: str) -> list[list[str]]:
    with write_predictions(table, "whole.csv", 1.0, seeds=2).open(newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    match edit:
        case "seed without films":
            return rows[:-10]
        case "twice":
            return [*rows, rows[0]]
        case "other patient":
            rows[0][1] = "X"
        case "two folds":
            rows[0][2] = "9"
        case "no logit":
            rows[3][4] = ""
        case "no number":
            rows[3][4] = "nan"
        case "outside":
            rows[3][5] = "1.5"
        case "unknown":
            rows = [[f"other/{row[0]}", *row[1:]] for row in rows]
    return rows


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        ("seed without films", "same films"),
        ("twice", "already"),
        ("other patient", "line 2.*another patient"),
        ("two folds", "two folds"),
        ("no logit", "line 5: no logit"),
        ("no number", "line 5"),
        ("outside", "peak_x"),
        ("unknown", "names must be"),
    ],
)
def test_predictions_that_cannot_be_right(
    table: Path, cohort: Cohort, tmp_path: Path, edit: str, complaint: str
) -> None:
    path = write_csv(tmp_path / "p.csv", PREDICTION_COLUMNS, changed(table, edit))
    with pytest.raises(UsageError, match=complaint):
        read_recipe("r", path, cohort)


def test_a_missing_column_is_named(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="logit"):
        read_recipe("r", write_csv(tmp_path / "p.csv", ["file", "fold"], []), cohort)


def test_the_command_writes_everything(table: Path, tmp_path: Path) -> None:
    shipped = write_predictions(table, "shipped.csv", 1.5, seeds=2)
    start = write_predictions(table, "start.csv", 0.5)
    out = tmp_path / "evaluation"
    arguments = [
        "evaluate", table, "--predictions", f"shipped={shipped}", "--predictions", f"no | crop={start}",
        "--efficiency", f"simclr@10={start}", "--efficiency", f"simclr@100={shipped}",
        "--efficiency", f"random@10={start}", "--out", out,
    ]  # fmt: skip
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "shipped: auc_within_source: 0." in result.stdout
    assert {path.name for path in out.iterdir()} == {
        "metrics.csv", "metrics.json", "model-card.md", "results.png", "roc.png", "precision-recall.png",
        "reliability.png", "label-efficiency.png",
    }  # fmt: skip
    text = (out / "metrics.json").read_text()
    metrics = json.loads(text)
    assert str(tmp_path) not in text
    assert metrics["recipes"]["shipped"] | {"predictions_sha256": ""} == {
        "predictions_sha256": "", "seeds": ["0", "1"], "folds": 5, "films": 240, "positives": 60,
        "patients": 120,
    }  # fmt: skip
    assert [(p["start"], p["share"]) for p in metrics["label_efficiency"]] == [
        ("simclr", 0.1), ("simclr", 1.0), ("random", 0.1),
    ]  # fmt: skip
    compared = {(c["recipe"], c["other"]) for c in metrics["comparisons"]}
    assert compared == {
        ("shipped", "no | crop"),
        ("simclr 10 %", "simclr 100 %"),
        ("simclr 10 %", "random 10 %"),
    }
    with (out / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    headline = next(row for row in rows if row["recipe"] == "shipped")
    (same,) = (
        f for f in metrics["figures"] if f["recipe"] == "shipped" and f["name"] == HEADLINE and not f["group"]
    )
    assert float(headline["value"]) == pytest.approx(same["value"], abs=1e-4)
    card = (out / "model-card.md").read_text()
    assert f"{same['value']:.2f} [{same['low']:.2f}, {same['high']:.2f}]" in card
    assert "no \\| crop" in card
    assert "not for clinical use" in card


@pytest.mark.parametrize("given", ["simclr=x.csv", "simclr@0=x.csv", "@5=x.csv", "simclr@5"])
def test_a_start_without_its_share_is_refused(table: Path, tmp_path: Path, given: str) -> None:
    shipped = write_predictions(table, "shipped.csv", 1.5)
    arguments = ["evaluate", str(table), "--predictions", f"a={shipped}", "--efficiency", given, "--out"]
    result = CliRunner().invoke(cli, [*arguments, str(tmp_path)])
    assert isinstance(result.exception, UsageError)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_the_real_tables_cohort() -> None:
    cohort = read_cohort([SHARED / "cxr/labels.csv"], Columns())
    assert "kermany_walia" not in cohort.sources
    assert set(cohort.sources[~cohort.headline]) == {"jsrt", "nih_drpradeep"}
    assert int((cohort.sources == "jsrt").sum()) == 124
    assert sum(map(bool, cohort.boxes)) == 237
