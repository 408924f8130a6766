"""`screen fetch`."""

from pathlib import Path

import click

from screen.cli.metrics import metrics_file, metrics_option
from screen.errors import UsageError


@click.command("fetch")
@click.argument("archive", metavar="ARCHIVE")
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FILMS",
    help="Folder for the films. Use the same one every night.",
)
@click.option(
    "--since",
    default="2d",
    show_default=True,
    metavar="DAYS|DATE",
    help="First study date: 2d (two days ago) or 2026-01-31.",
)
@click.option("--until", metavar="DAYS|DATE", help="Last study date. [default: no limit]")
@click.option(
    "--modality", default="DX,CR", show_default=True, metavar="NAMES", help="Modalities to ask for."
)
@metrics_option
@click.option("--allow-empty", is_flag=True, help="Do not fail if there is no film.")
def cli(
    archive: str,
    out: Path,
    since: str,
    until: str | None,
    modality: str,
    metrics: Path | None,
    *,
    allow_empty: bool,
) -> None:
    """Fetch the radiographs of ARCHIVE, a name in archives.toml, by study date.

    FILMS then holds films/, for `screen run`, and fetch.csv: a line for each film. Films that are there are
    not fetched again, unless the archive has moved them to another patient or study.

    Exit codes: 0 all is there; 3 complete, but some films could not be had; 2 wrong usage, unknown archive,
    refused credentials or certificate; 1 the archive cannot be reached, or gave nothing; 130 or 143 stopped.
    The same command goes on.
    """
    from datetime import date

    from screen.archive.fetch import fetch, study_dates
    from screen.archive.settings import archive_named
    from screen.runs.progress import progress_for_stderr

    with metrics_file(metrics, "fetch") as measured, progress_for_stderr() as progress:
        modalities = tuple(dict.fromkeys(modality.split(",")))
        if not all(name.isascii() and name.isalpha() and name.isupper() for name in modalities):
            raise UsageError("--modality takes names like DX,CR")
        dates = study_dates(since, until, date.today())
        measured.exit_code, counts = fetch(
            archive_named(archive), out, dates, modalities, progress, allow_empty=allow_empty
        )
        measured.files = {"fetched": counts.fetched, "present": counts.present, "failed": counts.failed}
    click.get_current_context().exit(measured.exit_code)
