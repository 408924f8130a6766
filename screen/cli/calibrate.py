"""`screen calibrate`."""

from pathlib import Path

import click

from screen.cli.labels import FILE, label_options
from screen.errors import UsageError


@click.command("calibrate")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--flag-rate", type=float, metavar="R", help="Share of cases to flag: 0.05 is one in twenty.")
@click.option("--labels", type=FILE, metavar="CSV", help="Table of labels: what is known of the films.")
@click.option("--prevalence", type=float, metavar="P", help="Share of films with the finding at your site.")
@click.option("--finding", metavar="F", help="A finding of the model. [default: the main one]")
@click.option("--out", required=True, type=FILE, metavar="FILE", help="The decision file to write.")
@label_options
def cli(
    folder: Path, flag_rate: float | None, labels: Path | None, prevalence: float | None, finding: str | None,
    out: Path, file_column: str, label_column: str, patient_column: str, source_column: str,
) -> None:  # fmt: skip
    """A site's decision file from the finished run in DIR, for `screen run|report --decision FILE`.

    --flag-rate needs no labels: the threshold that would have flagged that share of DIR's cases. --labels
    fits probabilities and every operating point to what is known of the films. --prevalence alone moves the
    model's own calibration. The file counts for the model of that run and for no other.
    """
    if flag_rate is not None and (labels or prevalence is not None):
        raise UsageError("--flag-rate goes without --labels and --prevalence: give one or the other")
    from screen.errors import ScreenError
    from screen.evaluation.labels import LabelColumns
    from screen.evaluation.site import decision_from_flag_rate, decision_from_labels, decision_from_prevalence
    from screen.files import write_whole
    from screen.runs.finished import finished_run

    if labels:
        columns = LabelColumns(file_column, label_column, patient_column, source_column)
        decision = decision_from_labels(folder, labels, columns, finding, prevalence)
    elif flag_rate is None and prevalence is None:
        raise UsageError("give --flag-rate R, or --labels CSV, or --prevalence P")
    else:
        with finished_run(folder) as run:
            if flag_rate is not None:
                decision = decision_from_flag_rate(run, finding, flag_rate)
            elif prevalence is not None:
                decision = decision_from_prevalence(run, finding, prevalence)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, decision.to_json().encode())
    except OSError as error:
        raise ScreenError(f"{out}: cannot be written ({error.strerror})") from error
    click.echo(f"{out}: {decision.finding}, {decision.story}")
