"""`screen model show | verify`: what a model or an engine says about itself, and whether it is true."""

from pathlib import Path

import click

from screen.errors import UsageError

_FILE = click.argument("file", required=False, type=click.Path(path_type=Path))


@click.group("model")
def cli() -> None:
    """Show or verify a model file or an engine."""


@cli.command()
@_FILE
def show(file: Path | None) -> None:
    """What FILE, a model or an engine, says about itself (without FILE: the model that the package ships)."""
    from rich.console import Console

    from screen.engines import manifest_path, unverified_manifest
    from screen.model_view import card_view, engine_view
    from screen.modelfile import load_model

    console = Console(highlight=False)
    if not console.is_terminal:
        # Digests in a pipe or a log stay in one piece.
        console.width = 160
    if file is not None and manifest_path(file).is_file():
        console.print(engine_view(file, *unverified_manifest(file)))
    else:
        console.print(card_view(load_model(file)))


@cli.command()
@_FILE
@click.option(
    "--engine-key",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PUBLIC_KEY",
    help="For an engine: of who signed it; without it, it must be built by you on this machine.",
)
def verify(file: Path | None, engine_key: Path | None) -> None:
    """Check FILE: a model's structure, digests and probes (on the CPU); an engine's seal and bytes."""
    from screen.engines import manifest_path

    if file is not None and manifest_path(file).is_file():
        _verify_engine(file, engine_key)
    elif engine_key is not None:
        raise UsageError("--engine-key is for engines: FILE has no manifest (FILE.json) beside it")
    else:
        _verify_model(file)


def _verify_engine(file: Path, key: Path | None) -> None:
    from screen.engines import verified_engine

    manifest = verified_engine(file, key).manifest
    click.echo(f"{file}: {manifest.library} {manifest.version}, {manifest.precision}")
    click.echo(f"file     sha256 {manifest.engine_digest}")
    click.echo(f"weights  {manifest.weights_digest}  as its manifest says")
    click.echo(f"seal     {'of this machine' if key is None else f'signed by the owner of {key}'}")


def _verify_model(file: Path | None) -> None:
    from screen.backends import open_backend
    from screen.cpus import usable_cpus
    from screen.modelfile import load_model
    from screen.probe import check_probes

    model = load_model(file)
    probes = len(model.card.probes)
    with open_backend(model, "cpu", probes, usable_cpus()) as backend:
        drift = check_probes(model, backend)
        runtime = backend.device.runtime
    click.echo(f"{model.path}: {model.card.name} {model.card.version}")
    click.echo(f"file     sha256 {model.file_digest}")
    click.echo(f"weights  {model.card.weights_digest}  as its metadata say")
    if drift:
        click.echo(
            f"probes   {probes}, squares differ by one grey level here (preprocess_drift): scores are "
            "within the model's bound, but not equal to the byte to those of other machines"
        )
    else:
        click.echo(f"probes   {probes}, squares equal to the byte, logits within the bound ({runtime}, CPU)")
