"""`screen train recipe`."""

from pathlib import Path

import click

from train.cli.options import data_options, say, size_option, squares_folder


@click.command()
@click.pass_context
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--training-table", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="One more table, to train on but never to be judged on.",
)  # fmt: skip
@click.option(
    "--others", required=True, multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Pictures that are no chest film, for the gate.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder; resumed if it is there.")
@click.option("--epochs", default=3, show_default=True, help="Of pre-training at full size.")
@click.option("--seeds", default=1, show_default=True, help="Fine-tunings in each fold.")
@click.option("--ablations", is_flag=True, help="The recipe without each of its ingredients, too.")
@size_option
@data_options
def recipe(
    context: click.Context,
    table: Path, training_table: tuple[Path, ...], others: tuple[Path, ...], out: Path,
    epochs: int, seeds: int, ablations: bool, size: int, cache: Path | None, seed: int,
) -> None:  # fmt: skip
    """The shipped model from a table of labels, and what proves it: pre-training, five folds beside a random
    start, all labels, a tenth of them and none, the model from all patients, calibrated on the folds.

    Columns must have their usual names. Every command is printed before it runs.
    """
    import shlex

    from train.recipes.recipe import Recipe

    train = context.parent.command if context.parent else None
    assert isinstance(train, click.Group)
    out.mkdir(parents=True, exist_ok=True)
    common = ("--cache", str(squares_folder(out, cache)), "--seed", str(seed))
    stages = Recipe(table, training_table, others, out, epochs, seeds, size, ablations, common)
    for command in stages.commands():
        say(shlex.join(["screen", "train", *command]))
        train.main(command, standalone_mode=False)
