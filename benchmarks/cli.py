"""The commands of `screen bench`."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

json_option = click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the figures here, too.",
)


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures if a file was asked for."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n")


@click.group()
def cli() -> None:
    """Measure speed, memory, survival, and the decisions that rest on data."""


@cli.command()
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def fit(data: Path, json_file: Path | None) -> None:
    """Padding or cropping: lesions that a centre crop would lose, on the films of DATA.

    DATA holds nih-labels/, cxr/labels.csv and dicom/MANIFEST.csv.
    """
    from benchmarks import fit as measurement

    losses = measurement.measure(data)
    measurement.report(losses, Console())
    write_json(json_file, measurement.as_json(losses))


@cli.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--sample", type=click.IntRange(min=1), default=200, show_default=True, help="Files for the plain loop."
)
@click.option(
    "--repeats", type=click.IntRange(min=1), default=3, show_default=True, help="Turns of all parts."
)
@click.option(
    "--model",
    "model_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Default: the shipped one.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="As of screen run; the plain loop is always on the CPU.",
)
@json_option
def pipeline(
    inputs: tuple[Path, ...],
    sample: int,
    repeats: int,
    model_file: Path | None,
    device: str,
    json_file: Path | None,
) -> None:
    """Files to report: speed and memory of `screen run` beside a plain loop over the same films.

    INPUTS are what `screen run` takes. Needs the extras cpu and train.
    """
    from benchmarks import pipeline as measurement

    figures = measurement.measure(inputs, sample, repeats, model_file, device)
    measurement.report(figures, Console())
    write_json(json_file, measurement.as_json(figures))


@cli.command()
@click.argument("corpora", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--count", type=click.IntRange(min=1), default=20_000, show_default=True, help="Damaged files.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one makes other files.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop after so long.")
@click.option("--workers", type=click.IntRange(min=1), help="Default: one for each processor.")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("fuzz-findings"),
    show_default=True,
    help="Folder for files that broke the rule, crashed a decoder or took too long.",
)
@json_option
def fuzz(
    corpora: tuple[Path, ...],
    count: int,
    seed: int,
    seconds: float | None,
    workers: int | None,
    keep: Path,
    json_file: Path | None,
) -> None:
    """Damage the files of CORPORA in many ways, and decode them: each must end as exactly one result.

    Exit code 1 if one did not.
    """
    from benchmarks import fuzz as measurement
    from screen.cpus import usable_cpus

    figures = measurement.fuzz(corpora, count, seed, seconds, workers or usable_cpus(), keep)
    measurement.report(figures, Console())
    write_json(json_file, measurement.as_json(figures))
    click.get_current_context().exit(1 if figures.broken else 0)


@cli.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--kills", type=click.IntRange(min=1), default=20, show_default=True, help="Kills in all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another one kills at other moments.")
@click.option(
    "--model",
    "model_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Default: the shipped one.",
)
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the runs' folders go; those that differ stay. Default: a temporary folder.",
)
@json_option
def chaos(
    folder: Path, kills: int, seed: int, model_file: Path | None, work: Path | None, json_file: Path | None
) -> None:
    """Kill `screen run FOLDER` at random moments, resume it, and compare its tables with a run left alone.

    A FOLDER that takes some seconds is best. Exit code 1 if anything differs.
    """
    import tempfile

    from benchmarks import chaos as measurement

    options = ["--model", str(model_file)] if model_file else []
    with tempfile.TemporaryDirectory() as temporary:
        place = work or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        figures = measurement.chaos(folder, kills, seed, place, options)
    measurement.report(figures, Console())
    write_json(json_file, measurement.as_json(figures))
    click.get_current_context().exit(1 if figures.broken else 0)
