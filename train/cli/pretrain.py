"""`screen train pretrain`."""

from pathlib import Path
from typing import Any

import click

from train.cli.options import (
    columns_of,
    compute_options,
    data_options,
    pretraining_of,
    say,
    squares_folder,
    table_options,
)
from train.progress import progress_bar, quiet


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Checkpoint to write. If it is there, training goes on.",
)
@click.option("--epochs", default=20, show_default=True, help="Passes over the films.")
@click.option(
    "--batch-size", default=128, show_default=True, help="Films in a batch, of all processes together."
)
@click.option(
    "--size", default=128, show_default=True, help="Side of the square that the network gets, in pixels."
)
@click.option("--method", default="simclr", show_default=True, help="simclr or planted (drawn lesions).")
@click.option(
    "--method-option", "method_options", multiple=True, metavar="NAME=NUMBER",
    help="Setting of the method: temperature=0.1 (simclr), faintest=0.06 (planted).",
)  # fmt: skip
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Checkpoint of `pretrain` to begin with. [default: random weights]",
)
@click.option(
    "--source-power", default=0.5, show_default=True, type=click.FloatRange(0, 1),
    help="How collections share an epoch: 1 by their films, 0 all alike, .5 by the square root.",
)  # fmt: skip
@click.option(
    "--same-patient", default=0.5, show_default=True, type=click.FloatRange(0, 1),
    help="How often the second view is another film of the same patient.",
)  # fmt: skip
@compute_options
@click.option(
    "--compile/--no-compile",
    "compiled",
    default=None,
    help="Use torch.compile. [default: on CUDA, with one process]",
)
@click.option("--leave-out-test", is_flag=True, help="Leave out films of the test split's patients.")
@data_options
@table_options
def pretrain(
    inputs: tuple[Path, ...], out: Path, epochs: int, batch_size: int, size: int, method: str,
    method_options: tuple[str, ...], weights: Path | None, source_power: float, same_patient: float,
    device: str, precision: str, compiled: bool | None, leave_out_test: bool, cache: Path | None, seed: int,
    **options: Any,
) -> None:  # fmt: skip
    """Train without labels, on folders and files as for `screen run`, or on tables of labels.

    With several processes: `torchrun --nproc-per-node N -m train pretrain …`.
    """
    import numpy as np

    from screen.errors import UsageError
    from screen.preprocess import PreprocessSpec
    from train.data.films import unlabelled_films
    from train.data.folds import Split, split_of
    from train.data.squares import dropped_in_words
    from train.network.checkpoint import load_checkpoint
    from train.network.compute import Compute
    from train.network.provenance import code_version
    from train.parallel import first_goes_first, team
    from train.recipes import pretrain as engine

    settings = engine.PretrainSettings(
        epochs=epochs, batch_size=batch_size, size=size, method=method, source_power=source_power,
        method_options=dict(map(_number_named, method_options)), same_patient=same_patient, seed=seed,
    )  # fmt: skip
    start, before = load_checkpoint(weights) if weights else (None, {})
    # Views are cut from what is screened, and from larger squares only if they are larger themselves.
    spec = PreprocessSpec(size=max(size, PreprocessSpec().size)).judged()
    with team() as part:
        compute = Compute.choose(device, precision, compiled, part.world)
        report = say if part.rank == 0 else lambda line: None
        kept = squares_folder(out, cache)
        with first_goes_first(part):
            films = unlabelled_films(inputs, columns_of(options), spec, kept, progress_bar("reading films"))
        progress = progress_bar if part.rank == 0 else lambda what: quiet
        if leave_out_test:
            if not films.patients.all():
                raise UsageError(
                    "--leave-out-test needs a patient for every film: PatientID, or a table of labels"
                )
            films = films.only(
                np.array([split_of(patient, seed) != Split.TEST for patient in films.patients], np.bool_)
            )
        provenance = {
            "films": len(films.values),
            "data_digest": films.digest,
            "test_patients_left_out": leave_out_test,
            **({"begun_with": pretraining_of(before)} if before else {}),
            "dropped": films.dropped,
            **compute.described(part.world),
            **code_version(),
        }
        dropped = f" ({dropped_in_words(films.dropped)})" if films.dropped else ""
        report(f"{len(films.values)} films, {sum(films.dropped.values())} dropped{dropped}")
        engine.pretrain(films, settings, out, provenance, report, compute, part, start, progress)


def _number_named(given: str) -> tuple[str, float]:
    """NAME=NUMBER."""
    from screen.errors import UsageError

    name, _, number = given.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise UsageError(f"'{given}' is not NAME=NUMBER") from None
