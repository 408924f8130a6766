"""How a command is told which model to take."""

from pathlib import Path
from typing import Any

import click


class _ModelType(click.ParamType[Path]):
    """A model file, or the name of one that the package ships."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """As `screen.model.model_path`."""
        from screen.model import model_path

        return model_path(value)


MODEL = _ModelType()
METAVAR = "FILE|default|fast"
model_option = click.option(
    "--model",
    type=MODEL,
    metavar=METAVAR,
    help="Model file, or one in the package: default, or fast, its int8 twin. [default: default]",
)
