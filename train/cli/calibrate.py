"""`screen train calibrate`."""

from pathlib import Path
from typing import Any

import click

from train.cli.options import FILE, columns_of, data_options, squares_folder, table_options
from train.progress import progress_bar


@click.command()
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.argument("table", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--others", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Pictures that are no chest film, for the gate; repeat it: each folder counts alike.",
)  # fmt: skip
@click.option(
    "--predictions", type=FILE,
    help="Calibrate on out-of-fold predictions of the table's films, not on the validation split.",
)  # fmt: skip
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The model's checkpoint or decision file."
)
@click.option("--finding", default="tumor", show_default=True, help="What reports call the finding.")
@click.option("--name", default="cxr-screen-resnet18", show_default=True)
@click.option("--model-version", default="1", show_default=True)
@click.option("--scores", type=FILE, help="results.csv of a finished run: calibrate it for your site.")
@click.option(
    "--labels", type=FILE, help="Your labels: sop_instance_uid or file, and a column of 1, 0, empty."
)
@click.option(
    "--prevalence", type=float, metavar="P", help="Share of films with the finding where the decision is for."
)
@click.option(
    "--model", type=FILE, help="Model file that made the scores. [default: the run's, or the shipped one]"
)
@data_options
@table_options
def calibrate(
    checkpoint: Path | None, table: Path | None, others: tuple[Path, ...], predictions: Path | None,
    out: Path, finding: str, name: str, model_version: str, scores: Path | None, labels: Path | None,
    prevalence: float | None, model: Path | None, cache: Path | None, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Probabilities and operating points: of a classifier, or of a model at your site.

    CHECKPOINT TABLE --others DIR makes a model's checkpoint of a classifier: calibration, normal distance,
    gate. --scores results.csv --labels L.csv [--prevalence P], or --prevalence P alone, writes a decision
    file for `screen run|report --decision`; it needs no torch.
    """
    from screen.errors import UsageError

    if scores or labels or prevalence is not None:
        if checkpoint or others or predictions:
            raise UsageError("CHECKPOINT TABLE and --scores, --labels, --prevalence exclude each other")
        _calibrate_site(scores, labels, options["label_column"], prevalence, model, out)
        return
    if checkpoint is None or table is None or not others:
        raise UsageError(
            "give CHECKPOINT TABLE --others DIR to make a model, or --scores results.csv --labels L.csv to "
            "calibrate one for your site"
        )
    from screen.discover import discover
    from screen.preprocess import PreprocessSpec
    from train.data.films import labelled_films
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
    kept = squares_folder(out, cache)
    films = labelled_films(table, columns, spec, kept, seed, progress_bar("reading films"))
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
    engine.calibrate(checkpoint, films, pictures, spec, finding, name, model_version, out, out_of_fold)


def _calibrate_site(
    scores: Path | None, labels: Path | None, label_column: str, prevalence: float | None, model: Path | None,
    out: Path,
) -> None:  # fmt: skip
    from screen.errors import UsageError
    from screen.files import write_whole
    from train.measure.site import decision_from_labels, decision_from_model

    if scores and labels:
        decision = decision_from_labels(scores, labels, label_column, model, prevalence)
    elif scores or labels or prevalence is None:
        raise UsageError("--scores results.csv and --labels L.csv belong together: give both")
    else:
        decision = decision_from_model(model, prevalence)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, decision.to_json().encode())
    calibration = decision.calibration
    click.echo(
        f"{out}: {decision.finding}, "
        + (f"{decision.films} labelled films" if decision.films else "the model's own calibration")
        + (f" ({decision.unmatched} labels without a scored film)" if decision.unmatched else "")
        + f", prevalence {calibration.prevalence:.4g}"
    )
