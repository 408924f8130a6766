"""`screen dicom`."""

from pathlib import Path

import click

_KINDS = ("sr", "sc")


def _kinds(context: click.Context, option: click.Parameter, text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(text.split(",")))
    if not set(kinds) <= set(_KINDS):
        raise click.BadParameter(f"'{text}' is not sr, sc or both with a comma between them")
    return kinds


@click.command("dicom")
@click.argument("night", metavar="NIGHT", type=click.Path(path_type=Path))
@click.option(
    "--kinds",
    callback=_kinds,
    default="sr,sc",
    show_default=True,
    metavar="KINDS",
    help="sr: a structured report for each case; sc: a picture of each flagged film.",
)
@click.option(
    "--cases",
    type=click.Choice(["flagged", "all"]),
    default="flagged",
    show_default=True,
    help="Which cases get a report.",
)
def cli(night: Path, kinds: tuple[str, ...], cases: str) -> None:
    """Make DICOM objects of the results in NIGHT, a finished run's folder: NIGHT/dicom and dicom.csv.

    Each flagged case gets a structured report, each flagged film a secondary capture (a picture with its heat
    map), in the films' own studies. Type it again to make what is missing: the objects are the same, byte for
    byte.

    Exit codes: 0 all were made; 3 some were not, because a film is gone or has changed; 2 wrong usage; 1 the
    run is not finished or has failed; 130 or 143 stopped.
    """
    from screen.archive.results import make_results
    from screen.runs.progress import progress_for_stderr

    with progress_for_stderr() as progress:
        code = make_results(night, kinds, all_cases=cases == "all", progress=progress)
    click.get_current_context().exit(code)
