"""What several commands ask for, and what they make of it."""

from pathlib import Path
from typing import Any

import click
from click.decorators import FC

FILE = click.Path(dir_okay=False, path_type=Path)


def table_options(command: FC) -> FC:
    """How a table of labels names what is needed."""
    for option in (
        click.option("--file-column", default="file", show_default=True, help="Path, relative to the table."),
        click.option("--patient-column", default="patient_id", show_default=True),
        click.option("--label-column", default="tumor", show_default=True, help="1, 0, or empty: unknown."),
        click.option(
            "--source-column", default="source", show_default=True, help="Collection; may be missing."
        ),
        click.option(
            "--findings-column",
            default="findings_raw",
            show_default=True,
            help="All findings, A|B|…; may be missing. They help to learn the label.",
        ),
        click.option(
            "--abnormal-column",
            default="abnormal",
            show_default=True,
            help="0 is a normal film; may be missing.",
        ),
        click.option(
            "--readers",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder with Google's tables of what radiologists saw on NIH's films: see train/README.md.",
        ),
        click.option(
            "--true-size-table",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="NIH's Data_Entry_2017*.csv[.gz]: squeezed pictures get their film's aspect back.",
        ),
    ):
        command = option(command)
    return command


def data_options(command: FC) -> FC:
    """Where squares are kept, and the seed."""
    for option in (
        click.option(
            "--cache", type=click.Path(path_type=Path),
            help="Folder for the films' squares, private: made once, and for several commands if it is the "
            "same. [default: --out with .cache behind it]",
        ),
        click.option("--seed", default=0, show_default=True, help="Of the split and of everything random."),
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
        help="Side of the square that the network gets, pixels.",
    )(command)  # fmt: skip


def head_option(command: FC) -> FC:
    """What learns."""
    return click.option(
        "--head-alone", is_flag=True,
        help="The network stays as pre-training left it, and its head is fitted at once: needs --weights.",
    )(command)  # fmt: skip


def compute_options(command: FC) -> FC:
    """On what, and in which precision, is trained."""
    for option in (
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
        ),
        click.option(
            "--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True,
            help="auto: bf16 on CUDA, and on CPUs that multiply it (AMX, AVX-512 BF16).",
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
