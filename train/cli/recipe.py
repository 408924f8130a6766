"""`screen train recipe`."""

from pathlib import Path

import click

from train.cli.options import data_options, say, size_option, squares_folder


@click.command()
@click.pass_context
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--training-table", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="A table of more films to train on; they are never used to judge.",
)  # fmt: skip
@click.option(
    "--others", required=True, multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Folder of pictures that are no chest film, for the gate. May be given several times.",
)  # fmt: skip
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to write. If it is there, it goes on.",
)
@click.option("--epochs", default=3, show_default=True, help="Passes of pre-training at full size.")
@click.option("--seeds", default=1, show_default=True, help="How often each fold is trained.")
@click.option("--ablations", is_flag=True, help="Also measure the recipe without each of its parts.")
@size_option
@data_options
def recipe(
    context: click.Context,
    table: Path, training_table: tuple[Path, ...], others: tuple[Path, ...], out: Path,
    epochs: int, seeds: int, ablations: bool, size: int, cache: Path | None, seed: int,
) -> None:  # fmt: skip
    """Make a model as the shipped one was made, and measure it.

    Pre-training; five folds, beside a random start, with all labels, a tenth of them and none; then the model
    from all patients, calibrated on the folds. Columns must have their usual names. Every command is printed
    before it runs.
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
