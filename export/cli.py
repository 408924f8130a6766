"""`screen export onnx | trt`."""

from itertools import islice
from pathlib import Path

import click

from screen.errors import UsageError

_MAX_FILMS = 32


@click.group()
def cli() -> None:
    """Make model files and engines from checkpoints."""


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="The model file to write.",
)
@click.option(
    "--probes",
    required=True,
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder or file with real films (repeatable). Up to 32 are compared with the trained network; the "
    "first four are stored in the model, scaled down: take films that may be passed on.",
)
def onnx(checkpoint: Path, out: Path, probes: tuple[Path, ...]) -> None:
    """Write the one-file model of CHECKPOINT, which 'screen train calibrate' made.

    The file is compared with the trained network on the films of --probes, and not written if it differs.
    """
    from export.onnx import export_onnx
    from screen.discover import discover
    from screen.film import Film
    from screen.readers import read

    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the folder {out.parent} is not there")
    results = (read(source) for source in discover(probes, exclude=None))
    films = [film.pixels for film in islice((r for r in results if isinstance(r, Film)), _MAX_FILMS)]
    if not films:
        raise UsageError("--probes: no film in there that can be read: 'screen inspect FILE' says why")
    exported = export_onnx(checkpoint, films, out)
    worst = max(exported.certificate["largest_relative_difference"].values())
    click.echo(
        f"{out}: {len(exported.model.data) / 1e6:.1f} MB, compared on {exported.certificate['films']} "
        f"squares, largest difference {worst:.1e} of an output's range",
        err=True,
    )


@cli.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("model", required=False, type=click.Path(path_type=Path))
def trt(model: Path | None) -> None:
    """Build a TensorRT engine of MODEL (not in this version)."""
    raise UsageError(
        "TensorRT engines are not in this version, with or without the extra 'trt': use the ONNX file as it "
        "is, with screen run --device cpu or --device cuda"
    )
