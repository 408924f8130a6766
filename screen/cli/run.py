"""`screen run`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from screen.cli.metrics import metrics_file, metrics_option
from screen.cli.models import model_option
from screen.errors import UsageError
from screen.machine import MOST_AT_ONCE


def number_or_auto(context: click.Context, option: click.Parameter, text: str) -> int | None:
    """A positive number, or `auto`: None."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MOST_AT_ONCE):
        raise click.BadParameter(f"'{text}' is neither a number from 1 to {MOST_AT_ONCE} nor auto")
    return int(text)


def names(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    """`a,b` -> ("a", "b"); none if the option was not given."""
    found = () if text is None else tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise click.BadParameter("give names, separated by commas")
    return found


viewer_option: Callable[[Any], Any] = click.option(
    "--viewer-url",
    metavar="TEMPLATE",
    help="Link each case to your viewer: its address, with {study_instance_uid} or {accession_number} in it.",
)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("run")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the reports. [default: INPUT-screened]",
)
@model_option
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="DEVICE",
    help="Where the network runs: auto, cpu, openvino, cuda[:N,…] or tensorrt[:N,…].",
)
@click.option(
    "--engine",
    type=_FILE,
    metavar="FILE",
    help="TensorRT engine, made by 'screen export trt'. Without it one is built here on first use.",
)
@click.option(
    "--engine-key",
    type=_FILE,
    metavar="PUBLIC_KEY",
    help="Public key of who signed the engine. Without it you must have built it on this machine.",
)
@click.option(
    "--batch-size",
    callback=number_or_auto,
    metavar="N|auto",
    default="auto",
    show_default=True,
    help="Films that the network gets at a time.",
)
@click.option(
    "--workers",
    callback=number_or_auto,
    metavar="N|auto",
    default="auto",
    show_default=True,
    help="Processes that read films.",
)
@click.option(
    "--gpu-decoders",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    metavar="N",
    help="More processes that read films. They use a GPU for lossless films, where it is faster.",
)
@click.option(
    "--operating-point",
    metavar="NAME",
    help="A named threshold of the model. [default: the one that the model says]",
)
@click.option("--threshold", type=float, metavar="P", help="Flag cases from this probability on.")
@click.option(
    "--decision", type=_FILE, metavar="FILE", help="Your own thresholds, made by 'screen calibrate'."
)
@click.option(
    "--flag",
    callback=names,
    metavar="FINDING,…",
    help="Findings that flag a case. [default: the model's main one]",
)
@click.option(
    "--known",
    multiple=True,
    type=_FILE,
    metavar="LEDGER",
    help="ledger.sqlite of an earlier night: reuse its results. May be given several times.",
)
@click.option(
    "--part",
    metavar="K/N",
    help="Screen part K of N. 'screen report OUT --parts DIR...' puts the parts together.",
)
@click.option(
    "--identifiers",
    type=click.Choice(["full", "pseudonym", "none"]),
    default="full",
    show_default=True,
    help="Patients' identifiers in the reports: as they are, replaced, or left out.",
)
@click.option(
    "--identities",
    type=_FILE,
    metavar="FILE",
    help="Write who is behind each pseudonym into FILE. It must not lie in DIR.",
)
@click.option(
    "--heatmaps",
    type=click.IntRange(min=0),
    default=500,
    show_default=True,
    metavar="N",
    help="How many heat maps to write, at most.",
)
@click.option(
    "--file-seconds",
    type=click.FloatRange(1, 86_400),
    default=120,
    show_default=True,
    metavar="S",
    help="Seconds that one file may take. Then it has failed (timed_out), and the run goes on.",
)
@click.option(
    "--file-memory",
    type=click.IntRange(256, 1 << 20),
    default=4096,
    show_default=True,
    metavar="MIB",
    help="MiB of memory that one file may take (too_large).",
)
@click.option(
    "--file-pixels",
    type=click.IntRange(1, 10_000),
    default=80,
    show_default=True,
    metavar="MILLIONS",
    help="Million pixels that one film may have (too_large).",
)
@viewer_option
@metrics_option
@click.option("--timings", is_flag=True, help="Write timings.csv: how long each file took.")
@click.option("--retry-failed", is_flag=True, help="Try files that failed before again.")
@click.option("--allow-empty", is_flag=True, help="Do not fail if there is no file.")
@click.option("--dry-run", is_flag=True, help="Say how many files would be read or reused. Write nothing.")
@click.option("--fresh", is_flag=True, help="Delete the results in DIR and start again.")
def cli(
    inputs: tuple[Path, ...], out: Path | None, metrics: Path | None, dry_run: bool, **options: Any
) -> None:
    """Screen every file in INPUT (folders, files, or - for a list of paths on standard input).

    Type the same command again to go on: finished files are kept, new and changed ones are screened. DIR then
    holds flagged.csv (flagged cases in reading order), results.csv (every file), report.html, summary.json
    and heatmaps/.

    Exit codes: 0 every file was screened or skipped for a reason; 3 complete, but somebody must look: some
    files could not be read, or the tags of all radiographs leave open what they show; 2 wrong usage; 1 the
    run failed; 130 or 143 it was stopped, type it again.
    """
    listed = inputs == (Path("-"),)
    if Path("-") in inputs and not listed:
        raise UsageError("- stands for all of INPUT: give nothing beside it")
    if listed and out is None:
        raise UsageError("with - as INPUT there is no name to go by: give --out DIR")
    # Python's word for a descriptor that was closed before it started.
    if listed and sys.stdin is None:
        raise UsageError("with - as INPUT paths come by standard input, which is closed")
    from screen.discover import paths_from_list
    from screen.readers import Limits
    from screen.runs import RunSettings, Wiring, run
    from screen.runs.identifiers import identifiers_for
    from screen.runs.pipeline import folder_of
    from screen.runs.progress import progress_for_stderr

    limits = Limits(
        max_values=options.pop("file_pixels") * 1_000_000,
        memory=options.pop("file_memory") << 20,
        seconds=options.pop("file_seconds"),
    )
    if listed:
        settings = RunSettings(out=out, listed=paths_from_list(sys.stdin.buffer), limits=limits, **options)
    else:
        settings = RunSettings(inputs=inputs, out=out, limits=limits, **options)
    context = click.get_current_context()
    if dry_run:
        from screen.runs.dry import dry_run as found

        click.echo(found(settings))
        return
    with metrics_file(metrics, "run") as measured, progress_for_stderr() as progress:
        # Tests hand in workers that have accidents.
        measured.exit_code = run(settings, progress, context.find_object(Wiring))
        measured.night = folder_of(settings, identifiers_for(settings.identifiers))
    context.exit(measured.exit_code)
