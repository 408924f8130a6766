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
    "--others", multiple=True, required=True, type=click.Path(exists=True, path_type=Path),
    help="Folder of pictures that are no chest film, for the gate. Give several: each counts alike.",
)  # fmt: skip
@click.option(
    "--predictions", type=FILE,
    help="predictions.csv of 'crossvalidate', to calibrate on. Without it: the validation split.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Checkpoint to write.")
@click.option("--finding", default="tumor", show_default=True, help="Name of the finding in reports.")
@click.option("--name", default="cxr-screen-resnet18", show_default=True, help="Name of the model.")
@click.option("--model-version", default="1", show_default=True, help="Version of the model.")
@data_options
@table_options
def calibrate(
    checkpoint: Path, table: Path, others: tuple[Path, ...], predictions: Path | None, out: Path,
    finding: str, name: str, model_version: str, cache: Path | None, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Make a trained classifier ready for export: probabilities, thresholds, distance from normal, gate.

    To set thresholds for your site, use `screen calibrate`.
    """
    from screen.discover import discover
    from screen.preprocess import PreprocessSpec
    from train.data.films import check_learnable, labelled_films
    from train.data.others import greys
    from train.data.others import others as make_others
    from train.data.squares import cached_squares
    from train.data.table import read_table
    from train.measure.evaluation import evaluate as measure
    from train.measure.predictions import read_cohort, read_recipe
    from train.network.gate import MADE, collected_others
    from train.recipes import calibrate as engine

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
    found = [
        (
            "/".join(folder.parts[-2:]),
            cached_squares(discover([folder], None), spec, kept, progress_bar("reading other pictures")),
        )
        for folder in others
    ]
    sources = list(discover([row.path for row in read_table(table, columns)], None))
    made = list(make_others(min(MADE, len(films.values)), greys(sources, 400), seed))
    pictures = collected_others(found, made, spec)
    engine.calibrate(
        checkpoint, films, pictures, spec, finding, name, model_version, out, out_of_fold, progress_bar
    )
