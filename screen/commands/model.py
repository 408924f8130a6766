"""`screen model show | verify`: what a model file says about itself, and whether it tells the truth."""

from pathlib import Path

import click

_FILE = click.argument("file", required=False, type=click.Path(path_type=Path))


@click.group("model")
def cli() -> None:
    """Show or verify a model file."""


@cli.command()
@_FILE
def show(file: Path | None) -> None:
    """What FILE says about itself (without FILE: the model that the package ships)."""
    from rich.console import Console

    from screen.model_view import card_view
    from screen.modelfile import load_model

    console = Console(highlight=False)
    if not console.is_terminal:
        # Digests in a pipe or a log stay in one piece.
        console.width = 160
    console.print(card_view(load_model(file)))


@cli.command()
@_FILE
def verify(file: Path | None) -> None:
    """Check FILE: structure, digests, and what it makes of its probes on this machine's CPU."""
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
