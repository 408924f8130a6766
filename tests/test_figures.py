"""What docs and model card say was measured stands in `metrics.json`, and is about the shipped model."""

import json
import re
from dataclasses import asdict
from typing import Any

import pytest

from screen.model import load_model
from screen.preprocess import PreprocessSpec
from tests.places import ROOT
from train.cli.main import cli
from train.recipes.settings import FinetuneSettings

README = (ROOT / "README.md").read_text()
PAGE = (ROOT / "docs/quality.md").read_text()
GATE_PAGE = (ROOT / "docs/decisions/gate.md").read_text()
METRICS: dict[str, Any] = json.loads((ROOT / "docs/evaluation/metrics.json").read_text())


def quoted(name: str, recipe: str = "") -> str:
    """A figure over all films as the docs write it."""
    recipe = recipe or METRICS["recipe"]
    (figure,) = (f for f in METRICS["figures"] if (f["recipe"], f["name"], f["group"]) == (recipe, name, ""))
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def test_the_figures_are_those_of_the_shipped_model() -> None:
    card = load_model(None).card
    assert METRICS["model"]["weights"] == card.weights_digest
    calibration = METRICS["calibration"]
    finding = card.finding(card.primary)
    assert finding.slope == pytest.approx(calibration["slope"])
    assert finding.intercept == pytest.approx(calibration["intercept"])
    assert [p.threshold for p in finding.operating_points] == pytest.approx(
        [p["threshold"] for p in calibration["operating_points"]]
    )


def test_training_makes_the_squares_that_the_shipped_model_takes() -> None:
    spec = load_model(None).card.preprocess
    assert PreprocessSpec().judged().digest() == spec.digest()
    assert {size for _, size, _ in FinetuneSettings().stages} == {spec.size}
    for name in ("finetune", "crossvalidate", "recipe"):
        (size,) = (option for option in cli.commands[name].params if option.name == "size")
        assert size.default == spec.size, name


def test_the_shipped_model_is_of_the_recipe_that_is_here() -> None:
    trained: Any = load_model(None).card.training
    here = json.loads(json.dumps(asdict(FinetuneSettings())))
    assert trained["settings"] == {name: here[name] for name in trained["settings"]}
    assert not here["head_alone"]  # which is newer than the model


@pytest.mark.parametrize(
    "name", ["auc_within_source", "auc_within_source_borne_out", "auc_jsrt", "auc_pooled"]
)
def test_the_docs_quote_every_recipe(name: str) -> None:
    for recipe in METRICS["recipes"]:
        assert quoted(name, recipe) in PAGE, recipe


def test_the_readme_quotes_the_shipped_model() -> None:
    said = set(re.findall(r"^\| (?:AUC|sensitivity|specificity).* \| (.*) \|$", README, re.M))
    (point,) = (p for p in METRICS["calibration"]["operating_points"] if p["name"] == "balanced")
    rates = {
        f"{point[kind]:.3f} [{low:.3f}, {high:.3f}]"
        for kind in ("sensitivity", "specificity")
        for low, high in [point[f"{kind}_interval"]]
    }
    aucs = {quoted(name) for name in ("auc_within_source", "auc_within_source_borne_out", "auc_jsrt")}
    assert said == aucs | rates
    assert f"measured, model version {load_model(None).card.version} " in README


def test_the_docs_quote_calibration_and_operating_points() -> None:
    for name in ("calibration_error", "calibration_slope", "brier_skill"):
        assert quoted(name) in PAGE, name
    for point in METRICS["calibration"]["operating_points"]:
        line = next(row for row in PAGE.splitlines() if row.startswith(f"| `{point['name']}` |"))
        for kind in ("sensitivity", "specificity"):
            low, high = point[f"{kind}_interval"]
            assert f"{point[kind]:.3f} [{low:.3f}, {high:.3f}]" in line


def test_the_docs_quote_differences_and_few_labels() -> None:
    for found in METRICS["comparisons"]:
        if found["figure"] == "auc_within_source":
            text = f"{found['difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
            assert text in PAGE, found["other"]
    for point in METRICS["label_efficiency"]:
        assert f"{point['value']:.3f} [{point['low']:.3f}, {point['high']:.3f}]" in PAGE, point["start"]


def test_the_experiment_quotes_the_ingredients() -> None:
    page = (ROOT / "docs/experiments/ingredients.md").read_text()
    measured = json.loads((ROOT / "docs/evaluation/at-128/metrics.json").read_text())
    rows = {row.split(" | ")[0].strip("| "): row for row in page.splitlines() if row.startswith("|")}
    for recipe in measured["recipes"]:
        (value,) = (
            f"{f['value']:.3f} [{f['low']:.3f}, {f['high']:.3f}]"
            for f in measured["figures"]
            if (f["recipe"], f["name"], f["group"]) == (recipe, "auc_within_source", "")
        )
        assert value in rows[recipe], recipe
    for found in measured["comparisons"]:
        if found["figure"] == "auc_within_source":
            text = f"{found['difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
            assert text in rows[found["other"]], found["other"]


def test_the_card_that_ships_is_that_of_the_evaluation() -> None:
    shipped = (ROOT / "screen/models/model-card.md").read_text()
    assert shipped == (ROOT / "docs/evaluation/model-card.md").read_text()
    assert load_model(None).card.weights_digest in shipped


def test_the_gate_keeps_what_the_docs_say() -> None:
    """All of hospitals, ways and kinds that the gates which judged them had not seen."""
    gate: Any = load_model(None).card.metrics["gate"]
    films, others = gate["films"], gate["others"]
    assert films["turned_away"] <= 0.005 * films["judged"]
    for hospital, ways in gate["films_by_hospital"].items():
        plain = ways["as they come"]
        assert plain["turned_away"] <= max(1, 0.005 * plain["judged"]), hospital
        assert f"{plain['turned_away']:,} of {plain['judged']:,}" in GATE_PAGE, hospital
    lateral, found = others["lateral/images"], others["pictures/not-chest"]
    assert lateral["turned_away"] >= 0.9 * lateral["judged"]
    for what in (films, lateral, found):
        assert f"{what['turned_away']:,} of {what['judged']:,}" in PAGE


def test_the_docs_quote_abnormal() -> None:
    card = load_model(None).card
    assert [finding.name for finding in card.findings] == ["tumor", "abnormal"]
    figures: Any = card.metrics["abnormal"]
    for name in ("auc_majority", "auc_within_source", "calibration_error", "calibration_error_majority"):
        value, (low, high) = figures[name]["value"], figures[name]["interval"]
        assert f"{value:.3f} [{low:.3f}, {high:.3f}]" in PAGE, name
    assert figures["calibration_error"]["value"] <= 0.03


def test_the_distance_tells_what_the_readme_says() -> None:
    distance: Any = load_model(None).card.metrics["distance"]
    low, high = distance["interval"]
    assert low > 0.6
    assert f"{distance['auc_within_source']:.3f} [{low:.3f}, {high:.3f}] ({distance['films']} films" in PAGE
    for source in ("shenzhen", "kermany_walia"):
        assert f"{distance['by_source'][source]:.3f}" in PAGE, source
