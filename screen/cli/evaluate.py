"""`screen evaluate`."""

from pathlib import Path

import click

from screen.cli.labels import FILE, label_options


@click.command("evaluate")
@click.argument("results", metavar="RESULTS", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--labels", required=True, type=FILE, metavar="CSV", help="Table of labels: what is known of the films."
)
@click.option("--finding", metavar="NAME", help="A finding of the model. [default: that of results.csv]")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder for the figures."
)
@label_options
def cli(
    results: Path, labels: Path, finding: str | None, out: Path,
    file_column: str, label_column: str, patient_column: str, source_column: str,
) -> None:  # fmt: skip
    """Say how good a finished run is, on films with labels.

    RESULTS is the run's folder, its results.csv or its findings.csv. A label finds its film by the column
    sop_instance_uid, if there is one, else by its file: the name in results.csv, or an end of either's path.
    Labels that find no film with a score are counted, named, and part of no figure.

    DIR then holds evaluation.html, evaluation.json, metrics.csv, operating-points.csv, curves.csv and
    unmatched.csv.
    """
    from screen.evaluation.files import write_evaluation
    from screen.evaluation.labels import LabelColumns, match_labels
    from screen.evaluation.performance import measure
    from screen.evaluation.results import read_results

    run = read_results(results, finding)
    columns = LabelColumns(file_column, label_column, patient_column, source_column)
    labelled = match_labels(run, labels, columns)
    performance = measure(run, labelled, lambda what: click.echo(f"measuring {what}", err=True))
    write_evaluation(performance, out)
    films = len(labelled.labels)
    click.echo(f"{run.finding}: {films:,} labelled films, {performance.positives:,} with the finding")
    if labelled.unused:
        lost = sum(each.label == 1 for each in labelled.unused)
        first = "; ".join(f"{each.name} ({each.why})" for each in labelled.unused[:3])
        more = "; …" if len(labelled.unused) > 3 else ""
        click.echo(f"{len(labelled.unused):,} labels without a score, {lost:,} positive: {first}{more}")
    for figure in performance.figures:
        click.echo(str(figure))
    for point in performance.points:
        threshold = "" if point.threshold is None else f" (threshold {point.threshold:.4f})"
        click.echo(
            f"{point.name}{threshold}: sensitivity {point.sensitivity.hits} of {point.sensitivity.films}, "
            f"specificity {point.specificity.hits} of {point.specificity.films}"
        )
    click.echo(str(out / "evaluation.html"))
