"""What several commands ask for, and what they make of it."""

from pathlib import Path
from typing import Any

import click
from click.decorators import FC

FILE = click.Path(dir_okay=False, path_type=Path)


def table_options(command: FC) -> FC:
    """How a table of labels names what is needed."""
    for option in (
        click.option(
            "--file-column",
            default="file",
            show_default=True,
            help="Column of the film's path, relative to the table.",
        ),
        click.option(
            "--patient-column", default="patient_id", show_default=True, help="Column of the patient."
        ),
        click.option(
            "--label-column",
            default="tumor",
            show_default=True,
            help="Column of the label: 1, 0, or empty for unknown.",
        ),
        click.option(
            "--source-column",
            default="source",
            show_default=True,
            help="Column of the collection; may be missing.",
        ),
        click.option(
            "--findings-column",
            default="findings_raw",
            show_default=True,
            help="Column of all findings, A|B|…; may be missing. They help to learn the label.",
        ),
        click.option(
            "--abnormal-column",
            default="abnormal",
            show_default=True,
            help="Column that is 0 for a normal film; may be missing.",
        ),
        click.option(
            "--readers",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder with Google's tables of what radiologists saw on NIH's films (train/README.md).",
        ),
        click.option(
            "--true-size-table",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="NIH's Data_Entry_2017*.csv[.gz]: gives squeezed pictures their film's shape back.",
        ),
    ):
        command = option(command)
    return command


def data_options(command: FC) -> FC:
    """Where squares are kept, and the seed."""
    for option in (
        click.option(
            "--cache", type=click.Path(path_type=Path),
            help="Folder for the films' squares (pictures of patients). Commands with the same folder share "
            "them. [default: --out with .cache behind it]",
        ),
        click.option(
            "--seed", default=0, show_default=True, help="Start of all random numbers, of the split too."
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def squares_folder(out: Path, cache: Path | None) -> Path:
    """Where squares are kept: pictures of patients, so never where nobody named anything."""
    return cache or out.parent / f"{out.name}.cache"


def size_option(command: FC) -> FC:
    """What the network gets."""
    return click.option(
        "--size", default=224, show_default=True, type=click.IntRange(32, 2048),
        help="Side of the square that the network gets, in pixels.",
    )(command)  # fmt: skip


def head_option(command: FC) -> FC:
    """What learns."""
    return click.option(
        "--head-alone", is_flag=True,
        help="Leave the network as pre-training left it, and fit its last layer only: needs --weights.",
    )(command)  # fmt: skip


def compute_options(command: FC) -> FC:
    """On what, and in which precision, is trained."""
    for option in (
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
            help="Where to train.",
        ),
        click.option(
            "--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True,
            help="auto: bf16 on CUDA and on CPUs that have it (AMX, AVX-512 BF16), else fp32.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def columns_of(options: dict[str, Any]) -> Any:
    from train.data.table import Columns

    names = ("file", "patient", "label", "source", "abnormal", "findings")
    return Columns(
        **{name: options[f"{name}_column"] for name in names},
        true_sizes=options["true_size_table"],
        readers=options["readers"],
    )


def pretraining_of(about: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint of pre-training says of itself, for the provenance of what was made from it."""
    return {
        "kind": about["kind"],
        "settings": about["settings"],
        "epochs": about["epoch"],
        "sha256": about["tensors_sha256"],
        **about["provenance"],
    }


def say(line: str) -> None:
    click.echo(line, err=True)
