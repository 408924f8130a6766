"""`screen report`."""

from pathlib import Path

import click

from screen.cli.run import names


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--operating-point", metavar="NAME", help="One of the model's. [default: the model's own]")
@click.option("--threshold", type=float, metavar="P", help="Flag at this probability instead.")
@click.option(
    "--decision",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A site's own calibration and thresholds.",
)
@click.option(
    "--flag",
    callback=names,
    metavar="FINDING,…",
    help="Findings that flag a case. [default: the primary one]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR2",
    help="Write the reports there, new or with earlier reports in it. [default: DIR, in place of its own]",
)
@click.option(
    "--listed",
    is_flag=True,
    help="These reports will be read: later nights need not list their cases again.",
)
def cli(
    folder: Path,
    operating_point: str | None,
    threshold: float | None,
    decision: Path | None,
    flag: tuple[str, ...],
    out: Path | None,
    listed: bool,
) -> None:
    """Write the reports of DIR again, decided anew from what the run kept there.

    Nothing is screened again: films are opened for their pictures only, and one that is gone costs just that.
    Without an option the model's own operating point counts, whatever the run was told.

    Exit codes are those of `screen run`.
    """
    from contextlib import ExitStack

    from screen.decide import decision_from
    from screen.runs.finished import finished_run
    from screen.runs.folder import report_folder
    from screen.runs.reopen import reports_from_ledger
    from screen.runs.stopping import Stop, StoppedError

    with ExitStack() as stack:
        stop = stack.enter_context(Stop())
        run = stack.enter_context(finished_run(folder))
        decided = decision_from(run.card, operating_point, threshold, decision, flag)
        target = folder if out is None else report_folder(out)
        # Squares of a night that another version prepared cannot be made again: no pictures then.
        pool = None if run.card.preprocess.foreign else lambda: stack.enter_context(run.open_pool())
        try:
            code = reports_from_ledger(target, run.ledger, decided, run.facts, pool, stop, listed=listed)
        except StoppedError:  # the reports are as they were
            code = stop.exit_code
    click.get_current_context().exit(code)
