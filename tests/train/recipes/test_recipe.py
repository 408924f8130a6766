"""The recipe is the commands that a user could type, and each finds what an earlier one made."""

from dataclasses import fields
from pathlib import Path

import click
import pytest

from screen.errors import UsageError
from train.cli.main import cli
from train.recipes.recipe import Recipe
from train.recipes.settings import OF_HEAD, OF_LAYERS, FinetuneSettings, left_out


def test_every_command_is_one_and_finds_what_came_before(tmp_path: Path) -> None:
    table, extra, others = tmp_path / "labels.csv", tmp_path / "extra.csv", tmp_path / "others"
    for path in (table, extra):
        path.write_text("file,patient_id,tumor\n")
    others.mkdir()
    recipe = Recipe(table, (extra,), (others,), tmp_path / "out", 3, 2, 96, True, ("--seed", "7"))
    made: set[Path] = {table, extra, others}
    for name, *words in recipe.commands():
        for path in (Path(word.rpartition("=")[2]) for word in words if str(tmp_path) in word):
            if path.name == "predictions.csv":
                assert path.parent in made
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()  # which is what makes the next context
        context = cli.commands[name].make_context(name, list(words))
        assert context.params.get("seed") in (7, 0)
        if context.params["out"].name != "pretrained-coarse":
            assert context.params.get("size", 96) == 96
        inputs = [context.params.get(given) for given in ("weights", "checkpoint")]
        assert {path for path in inputs if isinstance(path, Path)} <= made
        made.add(context.params["out"])
    assert isinstance(cli.commands["recipe"], click.Command)
    assert tmp_path / "out" / "model" in made
    assert tmp_path / "out" / "evaluation" in made


def test_the_comparison_differs_in_the_start_alone(tmp_path: Path) -> None:
    commands = Recipe(tmp_path, (), (), tmp_path / "o", 1, 1, 224).commands()
    arms = {words[words.index("--out") + 1]: words for words in commands if words[0] == "crossvalidate"}
    ours, random = arms[str(tmp_path / "o" / "recipe")], arms[str(tmp_path / "o" / "random")]
    start = ours.index("--weights")
    without = ours[:start] + ours[start + 2 :]
    assert [w for w in without if w != ours[-1]] == [w for w in random if w != random[-1]]


def test_ablations_leave_out_one_ingredient_each(tmp_path: Path) -> None:
    commands = Recipe(tmp_path, (), (), tmp_path / "o", 1, 1, 224, ablations=True).commands()
    arms = {words[words.index("--out") + 1]: words for words in commands if words[0] == "crossvalidate"}
    ours = arms[str(tmp_path / "o" / "recipe")]
    for name in OF_LAYERS:
        out = str(tmp_path / "o" / f"without-{name}")
        words, leaving = arms[out], ["--without", name]
        at = words.index("--without")
        assert words[at : at + 2] == leaving
        assert [*words[:at], "--out", str(tmp_path / "o" / "recipe")] == ours
        assert f"without {name}={out}/predictions.csv" in commands[-1]


def test_an_ingredient_is_left_out_alone() -> None:
    for name, head_alone in [*((name, False) for name in OF_LAYERS), *((name, True) for name in OF_HEAD)]:
        whole = FinetuneSettings(head_alone=head_alone)
        less = left_out(whole, [name])
        changed = {
            field.name for field in fields(whole) if getattr(whole, field.name) != getattr(less, field.name)
        }
        assert len(changed) == (2 if name == "places" else 1), name
    with pytest.raises(UsageError, match="side-findings"):
        left_out(FinetuneSettings(), ["side findings"])
    with pytest.raises(UsageError, match="without --head-alone"):
        left_out(FinetuneSettings(head_alone=True), ["side-findings"])
    with pytest.raises(UsageError, match="with --head-alone"):
        left_out(FinetuneSettings(), ["shrinkage"])
