"""`screen train evaluate`."""

from pathlib import Path
from typing import Any

import click

from train.cli.options import FILE, columns_of, data_options, say, squares_folder, table_options
from train.progress import progress_bar


@click.command()
@click.argument(
    "inputs", metavar="[CHECKPOINT] TABLE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--predictions", multiple=True, metavar="NAME=FILE",
    help="predictions.csv of 'crossvalidate'. The first is the recipe to judge; others are compared with it.",
)  # fmt: skip
@click.option(
    "--efficiency", multiple=True, metavar="NAME@PERCENT=FILE",
    help="Predictions of the start NAME with the labels of PERCENT of the patients.",
)  # fmt: skip
@click.option("--model", type=FILE, help="Model file of the first recipe, for the model card.")
@click.option(
    "--follow-up-table",
    type=FILE,
    help="NIH's Data_Entry_2017*.csv[.gz]: also measure on labels that the patient's other films confirm.",
)
@click.option("--finding", default="tumor", show_default=True, help="Name of the finding in reports.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for figures, plots and card."
)
@data_options
@table_options
def evaluate(
    inputs: tuple[Path, ...], predictions: tuple[str, ...], efficiency: tuple[str, ...], model: Path | None,
    follow_up_table: Path | None, finding: str, out: Path, cache: Path | None, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Measure recipes on patients that they never saw, or one model on the test split.

    TABLE... --predictions NAME=FILE [--predictions …] compares recipes, by what 'crossvalidate' wrote.
    CHECKPOINT TABLE measures a calibrated checkpoint on the patients of the test split.
    """
    from screen.errors import UsageError
    from screen.model import load_model
    from train.measure.evaluation import efficiency_name
    from train.measure.evaluation import evaluate as measure
    from train.measure.evaluation_files import headlines, pictures_from_files, write_evaluation
    from train.measure.predictions import read_cohort, read_recipe

    if predictions:
        say("reading the table and the predictions")
        cohort = read_cohort(inputs, columns_of(options), follow_up_table, finding)
        recipes = [read_recipe(name, file, cohort) for name, file in map(_named, predictions)]
        starts = {}
        for given in efficiency:
            name, file = _named(given)
            start, share = _start(name)
            starts[start, share] = read_recipe(efficiency_name(start, share), file, cohort)
        say(f"measuring {len(recipes) + len(starts)} recipes on {len(cohort.files):,} films")
        evaluation = measure(cohort, recipes, starts, finding)
        pictures = pictures_from_files(cohort.paths)
    elif len(inputs) == 2 and not efficiency:
        if follow_up_table:
            raise UsageError("--follow-up-table goes with --predictions")
        from train.data.films import labelled_films
        from train.recipes.held_out import evaluate_test_split, spec_of

        checkpoint, table = inputs
        spec = spec_of(checkpoint)
        kept = squares_folder(out, cache)
        films = labelled_films(table, columns_of(options), spec, kept, seed, progress_bar("reading films"))
        say(films.account())
        evaluation, pictures = evaluate_test_split(checkpoint, films, progress_bar("network over films"))
    else:
        raise UsageError("give TABLE... --predictions NAME=FILE, or CHECKPOINT TABLE")
    say("writing figures, plots and the model card")
    write_evaluation(evaluation, pictures, load_model(model).card if model else None, out)
    for line in headlines(evaluation):
        click.echo(line)


def _named(given: str) -> tuple[str, Path]:
    """NAME=FILE."""
    from screen.errors import UsageError

    name, _, file = given.partition("=")
    if not name or not file:
        raise UsageError(f"'{given}' is not NAME=FILE")
    return name, Path(file)


def _start(name: str) -> tuple[str, float]:
    """NAME@PERCENT as name and share."""
    from screen.errors import UsageError

    start, _, percent = name.rpartition("@")
    try:
        share = float(percent) / 100
    except ValueError:
        share = 0.0
    if not start or not 0 < share <= 1:
        raise UsageError(f"'{name}' is not NAME@PERCENT, as in simclr@10")
    return start, share
