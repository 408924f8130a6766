"""How a command is told about a table of labels."""

from pathlib import Path

import click
from click.decorators import FC

FILE = click.Path(dir_okay=False, path_type=Path)


def label_options(command: FC) -> FC:
    """The columns of the table; the names are `LabelColumns`' fields with `_column` behind them."""
    for option in (
        click.option(
            "--source-column",
            default="source",
            show_default=True,
            help="Column of the device or hospital; may be missing.",
        ),
        click.option(
            "--patient-column",
            default="patient_id",
            show_default=True,
            help="Column of the patient; may be missing.",
        ),
        click.option(
            "--label-column",
            default="",
            metavar="NAME",
            help="Column of the label: 1, 0, or empty for unknown. [default: the finding's name]",
        ),
        click.option(
            "--file-column",
            default="file",
            show_default=True,
            help="Column of the film's file, or of the end of its path.",
        ),
    ):
        command = option(command)
    return command
