"""`screen export onnx | certify | trt`."""

from collections.abc import Callable, Collection
from dataclasses import astuple
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from screen.cli.models import METAVAR, MODEL
from screen.errors import UsageError
from screen.model import Bounds, Model
from screen.model.certificates import DECODE_BOUNDS
from screen.model.engine_file import PROFILE
from screen.shortcuts import Shortcut

_MAX_FILMS = 32
_CALIBRATION_FILMS = 512
_OUT = click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="The model file to write.",
)

_BOUNDS = click.option(
    "--bounds",
    nargs=5,
    type=click.FloatRange(0, 1),
    metavar="MEAN FLIPS FARTHEST AUC MAX",
    help="How far scores may be from fp32's: mean difference of probabilities, share of verdicts that change "
    "at a threshold, how far from it the farthest of them lies, difference of AUC, largest difference of "
    "probabilities. [default: fp16 1 1 .002 1 .005, int8 .003 .005 .005 .003 1]",
)


@click.group()
def cli() -> None:
    """Make model files and engines of a trained model."""


@cli.command()
@click.argument("source", metavar="[SOURCE]", required=False, type=MODEL)
@_OUT
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="Precision of the file.",
)
@click.option(
    "--probes",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="For fp32: folder or file of real films; may be given several times. Up to 32 are compared with the "
    "trained network. The first four are stored in the model, scaled down: take films that may be passed on.",
)
@click.option(
    "--films",
    type=click.Path(exists=True, path_type=Path),
    help="For fp16 and int8: folder of films like those to be screened; they are compared. For int8 512 of "
    "them set the ranges, and the others are compared.",
)
@click.option(
    "--labels",
    type=click.Path(exists=True, path_type=Path),
    help="For fp16 and int8: table of labels; then AUCs are compared too.",
)
@_BOUNDS
def onnx(
    source: Path | None,
    out: Path,
    precision: str,
    probes: tuple[Path, ...],
    films: Path | None,
    labels: Path | None,
    bounds: tuple[float, float, float, float, float] | None,
) -> None:
    """Write a model file.

    fp32: SOURCE is a checkpoint of 'screen train calibrate'. The file is compared with it on the films of
    --probes, and not written if it differs.

    fp16 and int8: SOURCE is an fp32 model file (without it: the model in the package). The file is compared
    with it on --films, and not written beyond --bounds. OpenVINO and shortcuts need certificates of their
    own: 'screen export certify'.
    """
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the folder {out.parent} is not there")
    if precision == "fp32":
        if source is None or not probes or films is not None or labels is not None or bounds is not None:
            raise UsageError(
                "--precision fp32 needs a checkpoint and --probes FOLDER; --films, --labels and --bounds are "
                "for fp16 and int8"
            )
        _fp32(source, probes, out)
    elif films is None or probes:
        raise UsageError(
            f"--precision {precision} needs --films FOLDER; the probes are those of the fp32 file"
        )
    else:
        make = _half if precision == "fp16" else _int8
        _derived(make, source, films, labels, Bounds(*bounds) if bounds else None, out)


def _fp32(checkpoint: Path, probes: tuple[Path, ...], out: Path) -> None:
    from export.onnx import export_onnx
    from screen.discover import discover
    from screen.film import Film
    from screen.readers import read

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


def _derived(
    make: Callable[[Model, Path, Path], tuple[Model, Collection[str]]],
    source: Path | None,
    films: Path,
    labels: Path | None,
    bounds: Bounds | None,
    out: Path,
) -> None:
    """make: from the fp32 model, the folder of films and `out`, the model and the films that it has seen."""
    from export.certify import certified_precision
    from export.modelwriter import write_model
    from screen.model import load_model
    from train.progress import progress_bar

    model = load_model(source)
    draft, seen = make(model, films, out)
    made, verdict = certified_precision(draft, model, films, labels, bounds, progress_bar("films read"), seen)
    write_model(out, made.data)
    found = verdict.found
    click.echo(
        f"{out}: {len(made.data) / 1e6:.1f} MB, {verdict.name}, compared on {found.films} films: mean |Δp| "
        f"{found.mean_probability_difference:.5f}, largest {found.max_probability_difference:.5f}, flips "
        f"{', '.join(map(str, found.flips.values()))}",
        err=True,
    )


def _half(model: Model, films: Path, out: Path) -> tuple[Model, Collection[str]]:
    from export.half import half_from_model

    return half_from_model(model, out), ()


def _int8(model: Model, films: Path, out: Path) -> tuple[Model, Collection[str]]:
    from export import quantize
    from screen.discover import discover
    from train.data.squares import cached_squares
    from train.progress import progress_bar

    # All over the folder, so that every collection and every vendor in it has a part; half of it at most.
    found = list(discover([films], exclude=None))
    chosen = found[:: max(2, len(found) // _CALIBRATION_FILMS)][:_CALIBRATION_FILMS]
    with TemporaryDirectory() as cache:
        squares = cached_squares(chosen, model.card.preprocess, Path(cache), progress_bar("reading films"))
        if len(squares.values) < quantize.MIN_FILMS:
            raise UsageError(
                f"--films {films}: {len(squares.values)} readable films, it takes {quantize.MIN_FILMS} to "
                "set the ranges, and others to compare"
            )
        made = quantize.int8_from_model(model, squares.values, squares.digest, out)
    return made, {source.key for source in chosen}


@cli.command()
@click.argument("model", metavar="[MODEL]", required=False, type=MODEL)
@click.option(
    "--films",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of films, as many as you have.",
)
@click.option(
    "--labels",
    type=click.Path(exists=True, path_type=Path),
    help="Table of labels, as for 'screen train evaluate'; then AUCs are compared too.",
)
@_OUT
@click.option(
    "--policies",
    multiple=True,
    type=click.Choice(["all", *map(str, Shortcut)]),
    help="Decode shortcuts to certify. May be given several times.",
)
@click.option(
    "--devices",
    multiple=True,
    type=click.Choice(["openvino", "cuda"]),
    help="Devices to certify. May be given several times.",
)
@click.option(
    "--against",
    type=MODEL,
    metavar=METAVAR,
    help="The fp32 model that MODEL (fp16 or int8) was made from.",
)
@_BOUNDS
@click.option(
    "--decode-bounds",
    nargs=4,
    type=click.FloatRange(0, 1),
    default=astuple(DECODE_BOUNDS)[:4],
    show_default=True,
    metavar="MEAN FLIPS FARTHEST AUC",
    help="The same for decode shortcuts, without the last.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the films' squares, private: a model and its twin need them once. [default: not kept]",
)
def certify(
    model: Path | None,
    films: Path,
    labels: Path | None,
    out: Path,
    cache: Path | None,
    policies: tuple[str, ...],
    devices: tuple[str, ...],
    against: Path | None,
    bounds: tuple[float, float, float, float, float] | None,
    decode_bounds: tuple[float, float, float, float],
) -> None:
    """Measure what other devices, precisions and decode shortcuts do to MODEL's scores.

    MODEL (without it: the model in the package) is written to --out with what was measured: certificates.
    Weights stay as they are, and so do earlier results. Decode shortcuts are tried on films that are made as
    large and noisy as a detector's (about 0.3 s each). What is beyond the bounds has no certificate, and
    loses an earlier one.

    Exit code 1 if nothing that was asked for could be certified.
    """
    from rich.console import Console

    from export.certify import Request, certify, verdict_view
    from train.progress import progress_bar

    shortcuts = tuple(s for s in Shortcut if "all" in policies or s in policies)
    if not shortcuts and not devices and against is None:
        raise UsageError("say what to certify: --policies, --devices or --against")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the folder {out.parent} is not there")
    if bounds is not None and against is None:
        raise UsageError("--bounds are those of --against; decode shortcuts have --decode-bounds")
    request = Request(
        shortcuts,
        tuple(dict.fromkeys(devices)),
        against,
        Bounds(*decode_bounds),
        Bounds(*bounds) if bounds else None,
    )
    verdicts = certify(model, request, films, labels, out, progress_bar("films decoded"), cache=cache)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    console.print(verdict_view(verdicts))
    if all(verdict.complaints for verdict in verdicts):
        click.get_current_context().exit(1)


@cli.command()
@click.argument("model", metavar="[MODEL]", required=False, type=MODEL)
@click.option(
    "--films",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder of films that may be passed on, or a file with one path a line.",
)
@_OUT
def parity_set(model: Path | None, films: Path, out: Path) -> None:
    """Choose the squares on which engines of MODEL are checked where they run.

    Without MODEL it is the one in the package. Most squares are of films whose scores lie next to a
    threshold.
    """
    from export.choose_parity_set import write_parity_set
    from screen.discover import discover
    from screen.model import load_model
    from train.data.squares import cached_squares
    from train.progress import progress_bar

    loaded = load_model(model)
    listed = [films] if films.is_dir() else [Path(line) for line in films.read_text("utf-8").splitlines()]
    with TemporaryDirectory() as cache:
        squares = cached_squares(
            discover(listed, None), loaded.card.preprocess, Path(cache), progress_bar("reading films")
        )
        names = [Path(key).name for key in squares.keys]
        write_parity_set(loaded, squares.values, names, out)


def _targets(context: click.Context, option: click.Parameter, text: str) -> tuple[str, ...]:
    """`sm86,sm89`; each once."""
    return tuple(dict.fromkeys(filter(None, text.lower().replace(" ", "").split(","))))


def _profile(context: click.Context, option: click.Parameter, text: str) -> tuple[int, int, int]:
    """Three numbers."""
    numbers = text.split(",")
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() and len(n) < 5 for n in numbers):
        raise click.BadParameter(f"'{text}' is not three numbers, as 1,64,256")
    smallest, best, largest = map(int, numbers)
    return smallest, best, largest


@cli.command()
@click.argument("model", metavar="[MODEL]", required=False, type=MODEL)
@click.option(
    "--for",
    "targets",
    callback=_targets,
    default="",
    metavar="SM,…",
    help="GPUs to build for, by compute capability: sm75,sm86,sm89,sm120. This needs TensorRT-RTX and no "
    "GPU. [default: the GPU of this machine]",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Engine to write. What it says about itself is written beside it, as FILE.json.",
)
@click.option(
    "--batch",
    "profile",
    callback=_profile,
    default=",".join(map(str, PROFILE)),
    show_default=True,
    metavar="MIN,OPT,MAX",
    help="Films that the engine takes at a time: at least, best, at most.",
)
@click.option("--workspace", type=click.IntRange(1), metavar="MIB", help="Scratch memory, at most.")
@click.option(
    "--timing-cache",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File in which TensorRT keeps its timings. Not for TensorRT-RTX.",
)
@click.option(
    "--sign-key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="KEY",
    help="Ed25519 private key to sign with. Without it the engine works for you on this machine only.",
)
def trt(
    model: Path | None,
    targets: tuple[str, ...],
    out: Path,
    profile: tuple[int, int, int],
    workspace: int | None,
    timing_cache: Path | None,
    sign_key: Path | None,
) -> None:
    """Build a TensorRT engine in fp16 of MODEL (without it: the model in the package).

    If this machine can run it, its scores are compared with MODEL's first. Nothing is written if they differ.
    """
    from export.engine import EngineRequest, build_engine
    from screen.model import load_model
    from screen.model.engine_file import write_engine
    from screen.model.seals import PrivateKey, ThisMachine
    from train.progress import progress_bar

    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: the folder {out.parent} is not there")
    sealer = ThisMachine() if sign_key is None else PrivateKey(sign_key)
    request = EngineRequest(targets, profile, workspace, timing_cache)
    engine = build_engine(load_model(model), request, progress_bar("building"))
    write_engine(out, engine, sealer)
    manifest = engine.manifest
    about = ", ".join(manifest.targets) or manifest.gpu
    layers = ", ".join(f"{count} {name}" for name, count in (manifest.layers or {}).items()) or "not shown"
    proof = "certified here" if manifest.certificate else "not run here: the first run with it certifies it"
    click.echo(
        f"{out}: {len(engine.data) / 1e6:.1f} MB, {manifest.library} {manifest.version} for {about}, "
        f"{manifest.precision} (convolutions: {layers}), batches {', '.join(map(str, profile))}; {proof}",
        err=True,
    )


@cli.command()
@click.argument("model", metavar="MODEL", type=MODEL)
@click.option(
    "--against", type=MODEL, metavar=METAVAR, help="The fp32 model that it was made from. [default: default]"
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write (Markdown).",
)
def card(model: Path, against: Path | None, out: Path) -> None:
    """Write the model card of MODEL, in fp16 or int8: what it was made from, and its certificates."""
    from export.twin_card import twin_card
    from screen.files import write_whole
    from screen.model import load_model

    write_whole(out, twin_card(load_model(model), load_model(against)).encode())


@cli.command()
@click.argument("source", metavar="[SOURCE]", required=False, type=MODEL)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The checkpoint to write.")
def checkpoint(source: Path | None, out: Path) -> None:
    """Write the classifier in the fp32 model file SOURCE as a checkpoint, for 'screen train calibrate'.

    Without SOURCE it is that of the model that the package ships.
    """
    from export.classifier import checkpoint_from_model
    from screen.model import load_model

    checkpoint_from_model(load_model(source), out)
