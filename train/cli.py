"""`screen train pretrain | finetune | calibrate | evaluate`."""

from pathlib import Path
from typing import Any

import click
from click.decorators import FC

from train.progress import progress_bar


@click.group()
def cli() -> None:
    """Train on your own films: pre-train without labels, fine-tune with few, calibrate, measure."""


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
            "--cache", type=click.Path(path_type=Path), default=Path("cache"), show_default=True,
            help="Folder for the squares: they are made once.",
        ),
        click.option("--seed", default=0, show_default=True, help="Of the split and of everything random."),
    ):  # fmt: skip
        command = option(command)
    return command


def _columns(options: dict[str, Any]) -> Any:
    from train.table import Columns

    names = ("file", "patient", "label", "source", "abnormal", "findings")
    return Columns(
        **{name: options[f"{name}_column"] for name in names}, true_sizes=options["true_size_table"]
    )


def _start(
    films: Any, used: Any, weights: Path | None, options: dict[str, str]
) -> tuple[Any, dict[str, Any]]:
    """The encoder to begin with (None: random weights), and what to write down about labels and start.

    films: `LabelledFilms`. used: mask of the films to train on.
    """
    import numpy as np

    from train.checkpoint import load_checkpoint, under
    from train.provenance import code_version

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
    provenance["pretraining"] = {
        "kind": about["kind"],
        "settings": about["settings"],
        "epochs": about["epoch"],
        "sha256": about["tensors_sha256"],
        **about["provenance"],
    }
    return under(tensors, "network."), provenance


def _report(line: str) -> None:
    click.echo(line, err=True)


@cli.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Checkpoint; resumed if it is there."
)
@click.option("--epochs", default=20, show_default=True)
@click.option("--batch-size", default=128, show_default=True, help="Films, of all processes together.")
@click.option("--size", default=128, show_default=True, help="Side of a view, pixels.")
@click.option("--method", default="simclr", show_default=True, help="simclr, barlow-twins or vicreg.")
@click.option(
    "--source-power", default=0.5, show_default=True, type=click.FloatRange(0, 1),
    help="A source of n films has a share ~ n ** POWER of an epoch; 1 takes films as they come.",
)  # fmt: skip
@click.option(
    "--same-patient", default=0.5, show_default=True, type=click.FloatRange(0, 1),
    help="How often the second view is of another film of the patient.",
)  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True,
    help="auto: bf16 on CUDA.",
)  # fmt: skip
@click.option("--compile/--no-compile", "compiled", default=None, help="Default: on CUDA, with one process.")
@click.option(
    "--leave-out-test", is_flag=True, help="Keep the films of the test split's patients out (needs patients)."
)
@data_options
@table_options
def pretrain(
    inputs: tuple[Path, ...], out: Path, epochs: int, batch_size: int, size: int, method: str,
    source_power: float, same_patient: float, device: str, precision: str, compiled: bool | None,
    leave_out_test: bool, cache: Path, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Learn from films without labels: folders and files as `screen run` takes them, or tables of labels.

    Several processes: `torchrun --nproc-per-node N -m train pretrain …`.
    """
    import numpy as np

    from screen.errors import UsageError
    from screen.preprocess import PreprocessSpec
    from train import pretrain as engine
    from train.films import unlabelled_films
    from train.folds import Split, split_of
    from train.parallel import first_goes_first, team
    from train.provenance import code_version

    settings = engine.PretrainSettings(
        epochs=epochs, batch_size=batch_size, size=size, method=method, source_power=source_power,
        same_patient=same_patient, seed=seed,
    )  # fmt: skip
    with team() as part:
        compute = engine.Compute.choose(device, precision, compiled, part.world)
        report = _report if part.rank == 0 else lambda line: None
        with first_goes_first(part):
            films = unlabelled_films(
                inputs, _columns(options), PreprocessSpec(), cache, progress_bar("reading films")
            )
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
            "dropped": films.dropped,
            **compute.described(part.world),
            **code_version(),
        }
        report(f"{len(films.values)} films, {sum(films.dropped.values())} dropped {films.dropped or ''}")
        engine.pretrain(films, settings, out, provenance, report, compute, part)


@cli.command()
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Checkpoint; resumed if it is there."
)
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Checkpoint of `pretrain`; else random weights."
)
@click.option(
    "--training-table", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="One more table, to train on but never to be judged on.",
)  # fmt: skip
@click.option(
    "--everything", is_flag=True,
    help="Train on all patients: for a recipe that `crossvalidate` has measured.",
)  # fmt: skip
@data_options
@table_options
def finetune(
    table: Path, out: Path, weights: Path | None, training_table: tuple[Path, ...], everything: bool,
    cache: Path, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Learn one finding from a table of labels, or from a folder in the NIH's layout."""
    from screen.preprocess import PreprocessSpec
    from train import finetune as engine
    from train.films import labelled_films
    from train.folds import Split

    films = labelled_films(
        table, _columns(options), PreprocessSpec(), cache, seed, progress_bar("reading films"), training_table
    )
    if everything:
        films = films.divided(lambda _: Split.TRAIN)
    encoder, provenance = _start(films, films.of(Split.TRAIN), weights, options)
    _report("{films} films of {patients} patients, {positives} positive".format(**provenance))
    settings = engine.FinetuneSettings(seed=seed)
    engine.finetune(films, settings, encoder, out, {"provenance": provenance}, _report)


@cli.command()
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path),
    help="Folder for the folds' checkpoints and predictions.csv; resumed if it is there.",
)  # fmt: skip
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Checkpoint of `pretrain`; else random weights."
)
@click.option(
    "--training-table", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="One more table, to train on but never to be judged on.",
)  # fmt: skip
@click.option("--seeds", default=1, show_default=True, help="Fine-tunings in each fold.")
@click.option(
    "--fold", "folds", multiple=True, type=click.IntRange(0, 4), help="Hold out this fold only; repeatable."
)
@click.option(
    "--label-share", default=1.0, show_default=True, type=click.FloatRange(0, 1, min_open=True),
    help="Share of the patients whose labels are used.",
)  # fmt: skip
@data_options
@table_options
def crossvalidate(
    table: Path, out: Path, weights: Path | None, training_table: tuple[Path, ...], seeds: int,
    folds: tuple[int, ...], label_share: float, cache: Path, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Measure a recipe: fine-tune once for every fold of patients, judge the fold that was held out.

    predictions.csv has a row for each film, fold and seed, for `evaluate` and `calibrate`.
    """
    from screen.preprocess import PreprocessSpec
    from train.crossfit import CrossSettings, cross_validate
    from train.films import labelled_films
    from train.finetune import FinetuneSettings

    films = labelled_films(
        table, _columns(options), PreprocessSpec(), cache, seed, progress_bar("reading films"), training_table
    )
    encoder, provenance = _start(films, films.scorable(), weights, options)
    cross = CrossSettings(
        split_seed=seed,
        seeds=tuple(range(seed, seed + seeds)),
        label_share=label_share,
        **({"folds": folds} if folds else {}),
    )
    about = {"provenance": provenance, "label_share": label_share}
    click.echo(cross_validate(films, FinetuneSettings(seed=seed), cross, encoder, out, about, _report))


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--others", required=True, multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Pictures that are no chest film, for the gate.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The model's checkpoint.")
@click.option("--finding", default="tumor", show_default=True, help="What reports call the finding.")
@click.option("--name", default="cxr-screen-resnet18", show_default=True)
@click.option("--model-version", default="1", show_default=True)
@data_options
@table_options
def calibrate(
    checkpoint: Path, table: Path, others: tuple[Path, ...], out: Path, finding: str, name: str,
    model_version: str, cache: Path, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Probabilities, operating points, normal distance and gate for a classifier."""
    from screen.preprocess import PreprocessSpec
    from train import calibrate as engine
    from train.films import labelled_films, unlabelled_films

    columns, spec = _columns(options), PreprocessSpec()
    films = labelled_films(table, columns, spec, cache, seed, progress_bar("reading films"))
    pictures = unlabelled_films(others, columns, spec, cache, progress_bar("reading other pictures"))
    engine.calibrate(checkpoint, films, pictures.values, spec, finding, name, model_version, out)


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for metrics.csv and plots."
)
@data_options
@table_options
def evaluate(checkpoint: Path, table: Path, out: Path, cache: Path, seed: int, **options: Any) -> None:
    """Measure a calibrated model on the test split's patients."""
    from screen.preprocess import PreprocessSpec
    from train import evaluate as engine
    from train.films import labelled_films

    films = labelled_films(
        table, _columns(options), PreprocessSpec(), cache, seed, progress_bar("reading films")
    )
    for figure in engine.evaluate(checkpoint, films, out):
        click.echo(
            f"{figure.name}: {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}] "
            f"({figure.films} films, {figure.positives} positive)"
        )
