"""The commands of `screen bench`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from screen.cli.models import METAVAR, MODEL
from screen.files import write_whole

_FILMS = Path(__file__).resolve().parent.parent / "examples" / "films"

folder_type = click.Path(exists=True, file_okay=False, path_type=Path)
new_file_type = click.Path(dir_okay=False, path_type=Path)

json_option = click.option("--json", "json_file", type=new_file_type, help="Write the figures as JSON, too.")
plot_option = click.option("--plot", "plot_file", type=new_file_type, help="Draw the figures as PNG.")
model_option = click.option(
    "--model",
    "model_file",
    type=MODEL,
    metavar=METAVAR,
    help="Model file, or the name of one in the package. [default: default]",
)
models_option = click.option(
    "--model",
    "models",
    type=MODEL,
    multiple=True,
    metavar=METAVAR,
    help="Model file or name; may be given several times. [default: default]",
)
films_option = click.option(
    "--from",
    "films_folder",
    type=folder_type,
    default=_FILMS,
    help="Folder of real films to start from. [default: the examples]",
)
folders_argument = click.argument("folders", nargs=-1, required=True, type=folder_type)


Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def sample_option(default: int, text: str) -> Decorator:
    """How many films."""
    return click.option("--sample", type=click.IntRange(1), default=default, show_default=True, help=text)


def repeats_option(default: int, text: str) -> Decorator:
    """How many turns."""
    return click.option("--repeats", type=click.IntRange(1), default=default, show_default=True, help=text)


def seconds_option(default: float, text: str) -> Decorator:
    """How long a part lasts."""
    return click.option(
        "--seconds", type=click.FloatRange(0.1), default=default, show_default=True, help=text
    )


batch_sizes_option = click.option(
    "--batch-size",
    "batch_sizes",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 4, 16, 32),
    show_default=True,
    help="Films at a time. May be given several times.",
)


device_option = click.option("--device", default="cpu", show_default=True, help="Device, as for screen run.")
device_batch_sizes_option = click.option(
    "--batch-size",
    "batch_sizes",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 8, 32, 128, 256),
    show_default=True,
    help="Films at a time. May be given several times.",
)
alone_option = click.option(
    "--alone", is_flag=True, help="Leave out the comparison with ONNX Runtime and torch."
)


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures if a file was asked for."""
    if path is not None:
        write_whole(path, json.dumps(figures, indent=2).encode() + b"\n")


@click.group()
def cli() -> None:
    """Measure speed and memory, damage films, kill runs, and make films to measure with."""


@cli.command()
@click.argument("data", type=folder_type)
@json_option
def fit(data: Path, json_file: Path | None) -> None:
    """Count the lesions that a centre crop would cut off, on the films of DATA.

    DATA holds nih-labels/, cxr/labels.csv and dicom/MANIFEST.csv.
    """
    from benchmarks.decisions import fit as measurement

    losses = measurement.measure(data)
    measurement.report(losses, Console())
    write_json(json_file, measurement.as_json(losses))


@cli.command()
@films_option
@sample_option(500, "Films.")
@click.option("--reports", type=click.IntRange(1), default=100, show_default=True, help="Of each kind.")
@json_option
def drift(films_folder: Path, sample: int, reports: int, json_file: Path | None) -> None:
    """`screen monitor` on real films: is a new device told once, and how often is chance an alarm?

    Needs the extra train.
    """
    from benchmarks.decisions import drift as measurement

    figures = measurement.measure(films_folder, sample, reports)
    measurement.report(figures, Console())
    write_json(json_file, figures)


@cli.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@films_option
@click.option("--count", type=click.IntRange(min=1), default=24, show_default=True, help="How many films.")
@click.option(
    "--syntax",
    "names",
    multiple=True,
    help="Encoding, a folder of OUT each. May be given several times. [default: all, and png]",
)
@click.option(
    "--size", type=click.IntRange(min=32), default=3056, show_default=True, help="Longer side in pixels."
)
@json_option
def films(
    out: Path, films_folder: Path, count: int, names: tuple[str, ...], size: int, json_file: Path | None
) -> None:
    """Make realistic films of full size in OUT/SYNTAX: 12 bits, a detector's noise, every transfer syntax.

    Made from small real ones. Needs the extra train.
    """
    from benchmarks.material import make_films as maker

    unknown = set(names) - set(maker.NAMES)
    if unknown:
        raise click.BadParameter(
            f"{min(unknown)}: it is one of {', '.join(maker.NAMES)}", param_hint="--syntax"
        )
    figures = maker.make(out, films_folder, count, names or maker.NAMES, size)
    maker.report(figures, Console())
    write_json(json_file, figures)


@cli.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@films_option
@click.option(
    "--count", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="How many films."
)
def small(out: Path, films_folder: Path, count: int) -> None:
    """Make small films (64 × 64, 12 bits) in OUT, a thousand to a folder, no two of them alike."""
    from benchmarks.material import make_small

    make_small.make(out, films_folder, count)


@cli.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--from", "packages", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of unpacked Debian packages, each under its name (benchmarks/README.md has them).",
)  # fmt: skip
def pictures(out: Path, packages: Path) -> None:
    """Put pictures that are no chest film into OUT, a folder for each kind: to train or try the gate."""
    from benchmarks.material import make_pictures

    for kind, count in make_pictures.make(out, packages).items():
        click.echo(f"{kind}: {count}")


@cli.command()
@folders_argument
@sample_option(24, "How many films of each folder.")
@repeats_option(3, "How often each film is read.")
@json_option
def decode(folders: tuple[Path, ...], sample: int, repeats: int, json_file: Path | None) -> None:
    """Time from file to pixels and to square on one processor: screen's way, and pydicom's.

    FOLDERS hold one syntax's films each. Needs the extra train.
    """
    from benchmarks.speed import decode as measurement

    figures = measurement.measure(folders, sample, repeats)
    measurement.report(*figures, Console())
    write_json(json_file, measurement.as_json(*figures))


@cli.command()
@folders_argument
@sample_option(24, "How many films of each folder.")
@repeats_option(3, "How often each square is made.")
@json_option
def preprocess(folders: tuple[Path, ...], sample: int, repeats: int, json_file: Path | None) -> None:
    """Time from pixels in memory to the square on one processor, step by step.

    FOLDERS hold one syntax's films each.
    """
    from benchmarks.speed import preprocess as measurement

    figures = measurement.measure(folders, sample, repeats)
    measurement.report(*figures, Console())
    write_json(json_file, measurement.as_json(*figures))


@cli.command()
@models_option
@batch_sizes_option
@repeats_option(3, "How often all is measured.")
@seconds_option(2, "Seconds for each row, each time.")
@json_option
def model(
    models: tuple[Path, ...],
    batch_sizes: tuple[int, ...],
    repeats: int,
    seconds: float,
    json_file: Path | None,
) -> None:
    """Images a second of the network alone on the CPU, by runtime, threads and batch size.

    OpenVINO if it is installed. Needs the extras cpu and train.
    """
    from benchmarks.speed import model as measurement

    figures = measurement.measure(models or (None,), batch_sizes, repeats, seconds)
    measurement.report(*figures, Console())
    write_json(json_file, measurement.as_json(*figures))


@cli.command()
@model_option
@device_option
@device_batch_sizes_option
@seconds_option(10, "Seconds for each engine at each batch size.")
@alone_option
@json_option
@plot_option
def latency(
    model_file: Path | None,
    device: str,
    batch_sizes: tuple[int, ...],
    seconds: float,
    alone: bool,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Time of a batch in the network (p50, p95, p99), beside ONNX Runtime and torch.

    Needs the extras cpu or gpu, and train.
    """
    from benchmarks.gpu import latency as measurement

    figures = measurement.measure(model_file, device, batch_sizes, seconds, alone=alone)
    measurement.report(*figures, Console())
    write_json(json_file, measurement.as_json(*figures))
    if plot_file is not None:
        from benchmarks.plots import plot_latency

        plot_latency(figures[0], plot_file)


@cli.command()
@click.argument("inputs", nargs=-1, type=click.Path(exists=True, path_type=Path))
@model_option
@device_option
@device_batch_sizes_option
@repeats_option(3, "How often all is measured.")
@seconds_option(5, "Seconds for each engine at each batch size, and for each way to make squares.")
@alone_option
@json_option
@plot_option
def throughput(
    inputs: tuple[Path, ...],
    model_file: Path | None,
    device: str,
    batch_sizes: tuple[int, ...],
    repeats: int,
    seconds: float,
    alone: bool,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Images a second on a device: the engine alone, from pixels in memory, and from INPUTS to report.

    Beside ONNX Runtime, torch, and what the GPU can do by its data sheet. Needs the extras cpu or gpu,
    and train.
    """
    from benchmarks.gpu import throughput as measurement

    figures = measurement.measure(model_file, device, batch_sizes, inputs, repeats, seconds, alone=alone)
    measurement.report(figures, Console())
    write_json(json_file, measurement.as_json(figures))
    if plot_file is not None:
        from benchmarks.plots import plot_throughput

        plot_throughput(figures, plot_file)


@cli.command()
@folders_argument
@model_option
@device_option
@device_batch_sizes_option
@sample_option(256, "How many films.")
@json_option
def parity(
    folders: tuple[Path, ...],
    model_file: Path | None,
    device: str,
    batch_sizes: tuple[int, ...],
    sample: int,
    json_file: Path | None,
) -> None:
    """Compare a device's scores with the CPU's, on the films of FOLDERS, at every batch size.

    Needs the extras cpu or gpu, and export.
    """
    from benchmarks.gpu import parity as measurement

    figures = measurement.measure(folders, model_file, device, batch_sizes, sample)
    measurement.report(figures, Console())
    write_json(json_file, measurement.as_json(figures))


@cli.command("gpu-frames")
@folders_argument
@sample_option(24, "How many films of each folder.")
@repeats_option(3, "How often each film is read.")
@json_option
def gpu_frames(folders: tuple[Path, ...], sample: int, repeats: int, json_file: Path | None) -> None:
    """Compare nvImageCodec with the CPU's decoders on lossless films. Needs gpu-decode and a GPU."""
    from benchmarks.gpu import gpu_frames as measurement

    try:
        figures = measurement.measure(folders, sample, repeats)
    except (ImportError, RuntimeError) as error:
        raise click.ClickException(f"nvImageCodec does not open: {error}") from error
    measurement.report(*figures, Console())
    write_json(json_file, measurement.as_json(*figures))


@cli.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@model_option
@click.option(
    "--device",
    "devices",
    multiple=True,
    default=("cuda",),
    show_default=True,
    help="Device, as for screen run. May be given several times.",
)
@click.option(
    "--minutes", type=click.FloatRange(0.1), default=9.5, show_default=True, help="Time for everything."
)
@click.option("--quick", is_flag=True, help="A little of everything, to try it.")
def gpu(out: Path, model_file: Path | None, devices: tuple[str, ...], minutes: float, quick: bool) -> None:
    """Run all measurements that need a GPU, and write logs, JSON and plots into OUT.

    Exit code 1 if a step failed. Needs the extras export, gpu and gpu-decode; CuPy if it is installed.
    """
    from benchmarks.gpu import gpu_session as measurement

    done = measurement.session(out, devices, model_file, minutes, quick=quick)
    measurement.report(done, Console())
    click.get_current_context().exit(any(step.exit_code not in {0, 3} for step in done))


@cli.command()
@click.option(
    "--size", type=click.IntRange(32), default=224, show_default=True, help="Side of the square in pixels."
)
@click.option("--cached-size", type=click.IntRange(32), help="Side of the squares on disk. [default: --size]")
@click.option(
    "--batch-size", type=click.IntRange(2), default=128, show_default=True, help="Films in a batch."
)
@click.option("--method", default="simclr", show_default=True, help="Method, as for screen train pretrain.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="As for screen train pretrain.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="As for screen train pretrain.",
)
@click.option(
    "--compile/--no-compile", "compiled", default=None, help="Use torch.compile. [default: on CUDA]"
)
@repeats_option(3, "How often all is measured.")
@seconds_option(5, "Seconds for each part, each time.")
@json_option
def train(
    size: int,
    cached_size: int | None,
    batch_size: int,
    method: str,
    device: str,
    precision: str,
    compiled: bool | None,
    repeats: int,
    seconds: float,
    json_file: Path | None,
) -> None:
    """Images a second of pre-training: each part alone, and all together.

    Needs the extra train.
    """
    from benchmarks.speed import train as measurement
    from train.network.compute import Compute
    from train.recipes.pretrain import PretrainSettings

    settings = PretrainSettings(batch_size=batch_size, size=size, method=method)
    compute = Compute.choose(device, precision, compiled)
    figures = measurement.measure(settings, compute, cached_size or size, repeats, seconds)
    measurement.report(*figures, Console())
    write_json(json_file, measurement.as_json(*figures))


@cli.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@sample_option(200, "How many files the plain loop reads.")
@repeats_option(3, "How often all is measured.")
@model_option
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="Device, as for screen run. The plain loop is always on the CPU.",
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
    """Speed and memory of `screen run`, beside a plain loop over the same films.

    INPUTS are what `screen run` takes. Needs the extras cpu and train.
    """
    from benchmarks.speed import pipeline as measurement

    figures = measurement.measure(inputs, sample, repeats, model_file, device)
    measurement.report(figures, Console())
    write_json(json_file, measurement.as_json(figures))


@cli.command()
@folders_argument
@models_option
@click.option("--openvino", is_flag=True, help="Measure --device openvino, too.")
@repeats_option(3, "How often all is measured.")
@seconds_option(20, "Seconds for each other program and each step, about: they get a part of the films.")
@json_option
@plot_option
def compare(
    folders: tuple[Path, ...],
    models: tuple[Path, ...],
    openvino: bool,
    repeats: int,
    seconds: float,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Speed of `screen run`, beside other programs and beside each of its steps alone.

    `--model default --model fast` holds the two shipped models against each other. FOLDERS hold one syntax's
    films each. Needs the extras cpu and train.
    """
    from benchmarks.plots import plot_compare
    from benchmarks.speed import compare as measurement

    ways = measurement.ways(models or (None,), openvino=openvino)
    figures = measurement.measure(folders, ways, repeats, seconds)
    measurement.report(figures, Console())
    write_json(json_file, measurement.as_json(figures))
    if plot_file is not None:
        plot_compare(figures, plot_file)


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def older_processor(command: tuple[str, ...]) -> None:
    """Run `screen COMMAND` with ONNX Runtime as on a processor without AVX-512 and VNNI.

    For certificates of int8, which such a processor adds up otherwise. On x86-64, with cc and objdump.
    """
    import os
    import subprocess
    import sys
    import tempfile

    from benchmarks.material.older_processor import older_runtime

    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **older_runtime(Path(folder))}
        done = subprocess.run([sys.executable, "-m", "screen", *command], env=environment, check=False)
    click.get_current_context().exit(done.returncode)


@cli.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@films_option
@click.option(
    "--count",
    "counts",
    type=click.IntRange(1, 1_000_000),
    multiple=True,
    default=(1000, 10_000),
    show_default=True,
    help="How many films, a run for each. May be given several times.",
)
@click.option(
    "--parts",
    type=click.IntRange(2, 500),
    metavar="N",
    help="Also screen in N parts, one after the other, and merge them.",
)
@json_option
@plot_option
def scale(
    folder: Path,
    films_folder: Path,
    counts: tuple[int, ...],
    parts: int | None,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Time and memory of `screen run` without a network, by the number of files.

    Small films that FOLDER lacks are made there first, as by `screen bench small`.
    """
    from benchmarks.speed import scale as measurement

    figures = measurement.measure(folder, films_folder, counts, parts or 0)
    measurement.report(figures, Console())
    write_json(json_file, measurement.as_json(figures))
    if plot_file is not None:
        from benchmarks.plots import plot_scale

        plot_scale(figures, plot_file)


@cli.command()
@click.argument("corpora", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--count", type=click.IntRange(min=1), default=20_000, show_default=True, help="How many damaged files."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another number makes other files.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop after so many seconds.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes. [default: one for each processor]")
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("fuzz-findings"),
    show_default=True,
    help="Folder for files with no result or several, that crashed a decoder, or took too long.",
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
    """Damage the files of CORPORA in many ways and read them: each must have exactly one result.

    Exit code 1 if one did not.
    """
    from benchmarks.survival import fuzz as measurement
    from screen.machine import usable_cpus

    figures = measurement.fuzz(corpora, count, seed, seconds, workers or usable_cpus(), keep)
    measurement.report(figures, Console())
    write_json(json_file, measurement.as_json(figures))
    click.get_current_context().exit(1 if figures.broken else 0)


@cli.command()
@films_option
@click.option("--count", type=click.IntRange(min=1), default=60, show_default=True, help="How many films.")
@click.option(
    "--size", type=click.IntRange(min=256), default=1024, show_default=True, help="Longer side in pixels."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another number damages other places.")
@json_option
def damage(films_folder: Path, count: int, size: int, seed: int, json_file: Path | None) -> None:
    """Damage the pixels of films in every encoding, and count what is noticed."""
    from benchmarks.survival import damage as measurement
    from screen.machine import usable_cpus
    from screen.model import load_model

    figures = measurement.measure(films_folder, count, size, seed, usable_cpus(), load_model(None))
    measurement.report(figures, Console())
    write_json(json_file, measurement.as_json(figures))


@cli.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--kills", type=click.IntRange(min=1), default=20, show_default=True, help="How many kills.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another number kills at other moments.")
@model_option
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the runs; those that differ stay. [default: a temporary folder]",
)
@json_option
def chaos(
    folder: Path, kills: int, seed: int, model_file: Path | None, work: Path | None, json_file: Path | None
) -> None:
    """Kill `screen run FOLDER` at random moments, resume it, and compare its tables with a run left alone.

    Best with a FOLDER that takes some seconds. Exit code 1 if anything differs.
    """
    import tempfile

    from benchmarks.survival import chaos as measurement

    options = ["--model", str(model_file)] if model_file else []
    with tempfile.TemporaryDirectory() as temporary:
        place = work or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        figures = measurement.chaos(folder, kills, seed, place, options)
    measurement.report(figures, Console())
    write_json(json_file, measurement.as_json(figures))
    click.get_current_context().exit(1 if figures.broken else 0)
