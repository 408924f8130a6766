"""`screen inspect`."""

import json
from pathlib import Path
from typing import Any

import click

from screen.cli.models import model_option

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("inspect")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--out", type=_FILE, metavar="PNG", help="Write the picture that the network gets, as PNG.")
@model_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def cli(file: Path, out: Path | None, model: Path | None, as_json: bool) -> None:
    """Show what was read from FILE, what was decided, and the picture that the network gets.

    Names, dates and numbers of patients are left out. Exit code 3 if the file could not be read.
    """
    from screen.cli.inspection import inspect, write_png
    from screen.codes import Status
    from screen.text import printable

    facts, square = inspect(file, model)
    if out is not None:
        if square is None:
            click.echo("there is no picture: the file is not screened", err=True)
        else:
            write_png(out, square)
            facts["picture"] = str(out)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        for name, value in facts.items():
            click.echo(f"{name:26}{printable(_text(value))}")
    click.get_current_context().exit(3 if facts["status"] == Status.FAILED else 0)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
