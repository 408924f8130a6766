"""`screen report`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from screen.cli.run import names, viewer_option
from screen.errors import UsageError

if TYPE_CHECKING:
    from screen.decide import Decision
    from screen.model import ModelCard


@click.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("more", metavar="", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--operating-point",
    metavar="NAME",
    help="A named threshold of the model. [default: the one that the model says]",
)
@click.option("--threshold", type=float, metavar="P", help="Flag cases from this probability on.")
@click.option(
    "--decision",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Your own thresholds, made by 'screen calibrate'.",
)
@click.option(
    "--flag",
    callback=names,
    metavar="FINDING,…",
    help="Findings that flag a case. [default: the model's main one]",
)
@viewer_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR2",
    help="Folder for these reports. [default: DIR, in place of its own]",
)
@click.option(
    "--parts",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR...",
    help="The folders of all parts of one run. DIR gets one report of the whole.",
)
@click.option(
    "--listed",
    is_flag=True,
    help="These are the reports that people read: later nights do not list their cases again.",
)
def cli(
    folder: Path,
    more: tuple[Path, ...],
    operating_point: str | None,
    threshold: float | None,
    decision: Path | None,
    flag: tuple[str, ...],
    viewer_url: str | None,
    out: Path | None,
    parts: tuple[Path, ...],
    listed: bool,
) -> None:
    """Write the reports of the finished run in DIR again.

    No score is computed again. Films are opened for their pictures only; a film that is gone has no picture.
    Without an option the threshold is the model's own, whatever the run used.

    With --parts, DIR gets one report of a run that was screened in parts ('screen run --part K/N'), and a
    ledger, as if one run had screened all: decided as the parts were told, unless options here say otherwise.

    Exit codes are those of `screen run`; 1 also if a part is not finished, 2 if one is missing.
    """
    from contextlib import ExitStack

    from screen.decide import decision_from
    from screen.report.viewer import viewer_from
    from screen.runs.finished import finished_run
    from screen.runs.folder import report_folder
    from screen.runs.merge import merged_run
    from screen.runs.reopen import reports_from_ledger
    from screen.runs.stopping import Stop, StoppedError

    if more and not parts:
        raise UsageError(f"one DIR at a time; {more[0]} is too much, unless it is one of --parts")
    if parts and out is not None:
        raise UsageError(f"--out is for a run's own reports; those of --parts go to {folder}")
    options = (operating_point, threshold, decision, flag)

    def decided(card: "ModelCard") -> "Decision":
        return decision_from(card, *options)

    with ExitStack() as stack:
        stop = stack.enter_context(Stop())
        try:
            if parts:
                said = decided if any(option not in (None, ()) for option in options) else None
                run, by = stack.enter_context(merged_run(folder, (*parts, *more), said, stop))
            else:
                run = stack.enter_context(finished_run(folder))
                by = decided(run.card)
            viewer = viewer_from(viewer_url, run.facts.identifiers)
            target = folder if out is None else report_folder(out)
            # Squares of a night that another version prepared cannot be made again: no pictures then.
            pool = None if run.card.preprocess.foreign else lambda: stack.enter_context(run.open_pool())
            listed = listed or bool(parts)
            code = reports_from_ledger(
                target, run.ledger, by, run.facts, pool, stop, listed=listed, viewer=viewer
            )
        except StoppedError:  # the reports are as they were
            code = stop.exit_code
    click.get_current_context().exit(code)
