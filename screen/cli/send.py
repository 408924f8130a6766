"""`screen send`."""

from pathlib import Path

import click

from screen.cli.metrics import metrics_file, metrics_option


@click.command("send")
@click.argument("night", metavar="NIGHT", type=click.Path(path_type=Path))
@click.argument("archive", metavar="ARCHIVE")
@metrics_option
@click.option(
    "--dry-run", is_flag=True, help="Only ask the archive. Nothing is sent; send.csv says what would be."
)
def cli(night: Path, archive: str, metrics: Path | None, *, dry_run: bool) -> None:
    """Send the DICOM objects of NIGHT, made by `screen dicom`, to ARCHIVE, a name in archives.toml.

    Objects that the archive has are not sent again. NIGHT/send.csv has a line for each object.

    Exit codes: 0 all are stored; 3 complete, but some are not, or no query finds them; 2 wrong usage, unknown
    archive, refused credentials or certificate; 1 the archive cannot be reached, or took nothing; 130 or 143
    stopped. The same command goes on.
    """
    from screen.archive.send import send
    from screen.archive.settings import archive_named
    from screen.runs.progress import progress_for_stderr

    with metrics_file(metrics, "send") as measured, progress_for_stderr() as progress:
        measured.exit_code, counts = send(archive_named(archive), night, progress, dry_run=dry_run)
        measured.files = {"stored": counts.stored, "present": counts.present, "failed": counts.failed}
    click.get_current_context().exit(measured.exit_code)
