"""`screen train finetune` and `screen train crossvalidate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from train.cli.options import (
    columns_of,
    compute_options,
    data_options,
    head_option,
    pretraining_of,
    say,
    size_option,
    squares_folder,
    table_options,
)
from train.progress import progress_bar

if TYPE_CHECKING:
    from train.data.films import LabelledFilms


def _films(
    table: Path,
    training_tables: tuple[Path, ...],
    size: int,
    squares: Path,
    seed: int,
    options: dict[str, Any],
) -> "LabelledFilms":
    """What both commands learn from, as squares of `size` pixels."""
    from screen.preprocess import PreprocessSpec
    from train.data.films import check_learnable, labelled_films

    spec = PreprocessSpec(size=size).judged()
    progress = progress_bar("reading films")
    check_learnable(table, columns_of(options))
    films = labelled_films(table, columns_of(options), spec, squares, seed, progress, training_tables)
    say(films.account())
    return films


@click.command()
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Checkpoint to write. If it is there, training goes on.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Checkpoint of `pretrain`, or a classifier's, to begin with. [default: random weights]",
)
@click.option(
    "--training-table", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="A table of more films to train on; they are never used to judge. May be given several times.",
)  # fmt: skip
@click.option(
    "--everything", is_flag=True,
    help="Train on all patients. Measure the recipe by `crossvalidate` first.",
)  # fmt: skip
@head_option
@size_option
@compute_options
@data_options
@table_options
def finetune(
    table: Path, out: Path, weights: Path | None, training_table: tuple[Path, ...], everything: bool,
    head_alone: bool, size: int, device: str, precision: str, cache: Path | None, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Train for one finding, with a table of labels or a folder as NIH publishes it."""
    from train.data.folds import Split
    from train.network.compute import Compute
    from train.recipes import finetune as engine
    from train.recipes.settings import FinetuneSettings

    films = _films(table, training_table, size, squares_folder(out, cache), seed, options)
    if everything:
        films = films.divided(lambda _: Split.TRAIN)
    encoder, provenance = encoder_of(films, films.of(Split.TRAIN), weights, options)
    say("learns from {films} films of {patients} patients, {positives} positive".format(**provenance))
    settings = FinetuneSettings(head_alone=head_alone, seed=seed).at(size)
    compute = Compute.choose(device, precision)
    about = {"provenance": {**provenance, **compute.described()}}
    engine.finetune(films, settings, encoder, out, about, say, compute)


@click.command()
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path),
    help="Folder for checkpoints and predictions.csv. If it is there, the command goes on.",
)  # fmt: skip
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Checkpoint of `pretrain`, or a classifier's, to begin with. [default: random weights]",
)
@click.option(
    "--training-table", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="A table of more films to train on; they are never used to judge. May be given several times.",
)  # fmt: skip
@click.option("--seeds", default=1, show_default=True, help="How often each fold is trained.")
@click.option(
    "--fold",
    "folds",
    multiple=True,
    type=click.IntRange(0, 4),
    help="Only this fold. May be given several times.",
)
@click.option(
    "--label-share", default=1.0, show_default=True, type=click.FloatRange(0, 1),
    help="Share of the patients whose labels are used. 0: no label, only what `pretrain` learned.",
)  # fmt: skip
@click.option(
    "--without", multiple=True, metavar="INGREDIENT",
    help="Leave a part of the recipe out, to see what it is worth (train/README.md has the names).",
)  # fmt: skip
@head_option
@size_option
@compute_options
@data_options
@table_options
def crossvalidate(
    table: Path, out: Path, weights: Path | None, training_table: tuple[Path, ...], seeds: int,
    folds: tuple[int, ...], label_share: float, without: tuple[str, ...], head_alone: bool, size: int,
    device: str, precision: str, cache: Path | None, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Measure a recipe: five times, train without a fifth of the patients, and judge these.

    predictions.csv has a row for each film, fold and seed, for `evaluate` and `calibrate`.
    """
    from train.network.compute import Compute
    from train.recipes.crossfit import CrossSettings, cross_validate
    from train.recipes.settings import FinetuneSettings, left_out

    settings = left_out(FinetuneSettings(head_alone=head_alone, seed=seed).at(size), without)
    films = _films(table, training_table, size, squares_folder(out, cache), seed, options)
    encoder, provenance = encoder_of(films, films.scorable(), weights, options)
    cross = CrossSettings(
        split_seed=seed,
        seeds=tuple(range(seed, seed + seeds)),
        label_share=label_share,
        **({"folds": folds} if folds else {}),
    )
    compute = Compute.choose(device, precision)
    about = {"provenance": {**provenance, **compute.described()}, "label_share": label_share}
    click.echo(cross_validate(films, settings, cross, encoder, out, about, say, compute))


def encoder_of(
    films: Any, used: Any, weights: Path | None, options: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The encoder to begin with (None: random weights), and what to write down about labels and start.

    films: `LabelledFilms`. used: mask of the films to train on.
    """
    import numpy as np

    from train.network.checkpoint import load_checkpoint
    from train.network.provenance import code_version
    from train.recipes.finetune import encoder_in

    used = used & films.scorable()
    provenance: dict[str, Any] = {
        "films": int(used.sum()),
        "positives": int((films.labels[used] == 1).sum()),
        "patients": len(np.unique(films.patients[used])),
        "label": options["label_column"],
        "side_findings": films.side_findings,
        "data_digest": films.digest,
        **code_version(),
    }
    if weights is None:
        return None, provenance
    tensors, about = load_checkpoint(weights)
    provenance["pretraining"] = pretraining_of(about)
    return encoder_in(tensors), provenance
