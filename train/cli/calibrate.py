"""`screen train calibrate`."""

from pathlib import Path
from typing import Any

import click

from train.cli.options import FILE, columns_of, data_options, say, squares_folder, table_options
from train.progress import progress_bar


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--gate", required=True, type=click.Path(path_type=Path), help="Checkpoint of `screen train gate`."
)  # fmt: skip
@click.option(
    "--predictions", type=FILE,
    help="predictions.csv of 'crossvalidate', to calibrate on. Without it: the validation split.",
)  # fmt: skip
@click.option(
    "--abnormal", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of `crossvalidate`: adds the finding `abnormal`, measured by its folds' networks.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Checkpoint to write.")
@click.option("--finding", default="tumor", show_default=True, help="Name of the finding in reports.")
@click.option("--name", default="cxr-screen-resnet18", show_default=True, help="Name of the model.")
@click.option("--model-version", default="1", show_default=True, help="Version of the model.")
@data_options
@table_options
def calibrate(
    checkpoint: Path, table: Path, gate: Path, predictions: Path | None, abnormal: Path | None, out: Path,
    finding: str, name: str, model_version: str, cache: Path | None, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Make a trained classifier ready for export: probabilities, thresholds, distance from normal, gate.

    To set thresholds for your site, use `screen calibrate`.
    """
    from screen.preprocess import PreprocessSpec
    from train.data.films import check_learnable, labelled_films
    from train.data.readers import ABNORMAL
    from train.measure.evaluation import evaluate as measure
    from train.measure.predictions import read_cohort, read_recipe
    from train.recipes import calibrate as engine
    from train.recipes.abnormal import judge_out_of_fold, learnable

    columns = columns_of(options)
    spec = PreprocessSpec(size=engine.size_of(checkpoint)).judged()
    out_of_fold = None
    if predictions:
        cohort = read_cohort([table], columns)
        evaluation = measure(cohort, [read_recipe(name, predictions, cohort)], {}, finding)
        out_of_fold = evaluation.calibration, evaluation.for_model()
    check_learnable(table, columns)
    kept = squares_folder(out, cache)
    films = labelled_films(table, columns, spec, kept, seed, progress_bar("reading films"))
    say(films.account())
    second = None
    if abnormal and not learnable(films).any():
        say("the table has no source with normal and abnormal films: one finding only")
    elif abnormal:
        judged = judge_out_of_fold(films, abnormal, seed, progress_bar)
        cohort = read_cohort([table], columns, finding=ABNORMAL)
        evaluation = measure(cohort, [read_recipe(name, judged, cohort)], {}, ABNORMAL)
        second = evaluation.calibration, evaluation.for_model()
    engine.calibrate(
        checkpoint, films, gate, spec, finding, name, model_version, out, out_of_fold, second, progress_bar
    )
