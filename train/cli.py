"""`screen train pretrain | finetune | calibrate | evaluate`."""

from pathlib import Path
from typing import Any

import click
from click.decorators import FC

from train.progress import progress_bar

_FILE = click.Path(dir_okay=False, path_type=Path)


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


def compute_options(command: FC) -> FC:
    """On what, and in which precision, is trained."""
    for option in (
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
        ),
        click.option(
            "--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True,
            help="auto: bf16 on CUDA, and on CPUs that have tiles for it (AMX).",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def _columns(options: dict[str, Any]) -> Any:
    from train.table import Columns

    names = ("file", "patient", "label", "source", "abnormal", "findings")
    return Columns(
        **{name: options[f"{name}_column"] for name in names}, true_sizes=options["true_size_table"]
    )


def _encoder_of(
    films: Any, used: Any, weights: Path | None, options: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The encoder to begin with (None: random weights), and what to write down about labels and start.

    films: `LabelledFilms`. used: mask of the films to train on.
    """
    import numpy as np

    from train.checkpoint import load_checkpoint, under
    from train.finetune import CELLS
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
    provenance["pretraining"] = _pretraining(about)
    encoder = under(tensors, "network.")
    if about["kind"] == "planted":
        encoder |= {f"{CELLS}{name}": value for name, value in under(tensors, "method.head.").items()}
    return encoder, provenance


def _pretraining(about: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint of pre-training says of itself, for the provenance of what was made from it."""
    return {
        "kind": about["kind"],
        "settings": about["settings"],
        "epochs": about["epoch"],
        "sha256": about["tensors_sha256"],
        **about["provenance"],
    }


def _number_named(given: str) -> tuple[str, float]:
    """NAME=NUMBER."""
    from screen.errors import UsageError

    name, _, number = given.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise UsageError(f"'{given}' is not NAME=NUMBER") from None


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
@click.option(
    "--method", default="simclr", show_default=True, help="simclr, barlow-twins, vicreg or planted."
)
@click.option(
    "--method-option", "method_options", multiple=True, metavar="NAME=NUMBER",
    help="Of the method, as temperature=0.1 or faintest=0.06; see train/methods.py.",
)  # fmt: skip
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Checkpoint of `pretrain` to begin with; else random weights.",
)
@click.option(
    "--source-power", default=0.5, show_default=True, type=click.FloatRange(0, 1),
    help="A source of n films has a share ~ n ** POWER of an epoch; 1 takes films as they come.",
)  # fmt: skip
@click.option(
    "--same-patient", default=0.5, show_default=True, type=click.FloatRange(0, 1),
    help="How often the second view is of another film of the patient.",
)  # fmt: skip
@compute_options
@click.option("--compile/--no-compile", "compiled", default=None, help="Default: on CUDA, with one process.")
@click.option(
    "--leave-out-test", is_flag=True, help="Keep the films of the test split's patients out (needs patients)."
)
@data_options
@table_options
def pretrain(
    inputs: tuple[Path, ...], out: Path, epochs: int, batch_size: int, size: int, method: str,
    method_options: tuple[str, ...], weights: Path | None, source_power: float, same_patient: float,
    device: str, precision: str, compiled: bool | None, leave_out_test: bool, cache: Path, seed: int,
    **options: Any,
) -> None:  # fmt: skip
    """Learn from films without labels: folders and files as `screen run` takes them, or tables of labels.

    Several processes: `torchrun --nproc-per-node N -m train pretrain …`.
    """
    import numpy as np

    from screen.errors import UsageError
    from screen.preprocess import PreprocessSpec
    from train import pretrain as engine
    from train.checkpoint import load_checkpoint
    from train.compute import Compute
    from train.films import unlabelled_films
    from train.folds import Split, split_of
    from train.parallel import first_goes_first, team
    from train.provenance import code_version

    settings = engine.PretrainSettings(
        epochs=epochs, batch_size=batch_size, size=size, method=method, source_power=source_power,
        method_options=dict(map(_number_named, method_options)), same_patient=same_patient, seed=seed,
    )  # fmt: skip
    start, before = load_checkpoint(weights) if weights else (None, {})
    with team() as part:
        compute = Compute.choose(device, precision, compiled, part.world)
        report = _report if part.rank == 0 else lambda line: None
        with first_goes_first(part):
            films = unlabelled_films(
                inputs, _columns(options), PreprocessSpec().judged(), cache, progress_bar("reading films")
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
            **({"begun_with": _pretraining(before)} if before else {}),
            "dropped": films.dropped,
            **compute.described(part.world),
            **code_version(),
        }
        report(f"{len(films.values)} films, {sum(films.dropped.values())} dropped {films.dropped or ''}")
        engine.pretrain(films, settings, out, provenance, report, compute, part, start)


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
@compute_options
@data_options
@table_options
def finetune(
    table: Path, out: Path, weights: Path | None, training_table: tuple[Path, ...], everything: bool,
    device: str, precision: str, cache: Path, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Learn one finding from a table of labels, or from a folder in the NIH's layout."""
    from screen.preprocess import PreprocessSpec
    from train import finetune as engine
    from train.compute import Compute
    from train.films import labelled_films
    from train.folds import Split

    films = labelled_films(
        table,
        _columns(options),
        PreprocessSpec().judged(),
        cache,
        seed,
        progress_bar("reading films"),
        training_table,
    )
    if everything:
        films = films.divided(lambda _: Split.TRAIN)
    encoder, provenance = _encoder_of(films, films.of(Split.TRAIN), weights, options)
    _report("{films} films of {patients} patients, {positives} positive".format(**provenance))
    settings = engine.FinetuneSettings(seed=seed)
    compute = Compute.choose(device, precision)
    about = {"provenance": {**provenance, **compute.described()}}
    engine.finetune(films, settings, encoder, out, about, _report, compute)


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
    "--label-share", default=1.0, show_default=True, type=click.FloatRange(0, 1),
    help="Share of the patients whose labels are used; 0: none, the head of `pretrain` judges.",
)  # fmt: skip
@compute_options
@data_options
@table_options
def crossvalidate(
    table: Path, out: Path, weights: Path | None, training_table: tuple[Path, ...], seeds: int,
    folds: tuple[int, ...], label_share: float, device: str, precision: str, cache: Path, seed: int,
    **options: Any,
) -> None:  # fmt: skip
    """Measure a recipe: fine-tune once for every fold of patients, judge the fold that was held out.

    predictions.csv has a row for each film, fold and seed, for `evaluate` and `calibrate`.
    """
    from screen.preprocess import PreprocessSpec
    from train.compute import Compute
    from train.crossfit import CrossSettings, cross_validate
    from train.films import labelled_films
    from train.finetune import FinetuneSettings

    films = labelled_films(
        table,
        _columns(options),
        PreprocessSpec().judged(),
        cache,
        seed,
        progress_bar("reading films"),
        training_table,
    )
    encoder, provenance = _encoder_of(films, films.scorable(), weights, options)
    cross = CrossSettings(
        split_seed=seed,
        seeds=tuple(range(seed, seed + seeds)),
        label_share=label_share,
        **({"folds": folds} if folds else {}),
    )
    compute = Compute.choose(device, precision)
    about = {"provenance": {**provenance, **compute.described()}, "label_share": label_share}
    settings = FinetuneSettings(seed=seed)
    click.echo(cross_validate(films, settings, cross, encoder, out, about, _report, compute))


@cli.command()
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--training-table", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="One more table, to train on but never to be judged on.",
)  # fmt: skip
@click.option(
    "--others", required=True, multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Pictures that are no chest film, for the gate.",
)  # fmt: skip
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder; resumed if it is there.")
@click.option("--epochs", default=4, show_default=True, help="Of pre-training.")
@click.option("--seeds", default=1, show_default=True, help="Fine-tunings in each fold.")
@data_options
def recipe(
    table: Path, training_table: tuple[Path, ...], others: tuple[Path, ...], out: Path,
    epochs: int, seeds: int, cache: Path, seed: int,
) -> None:  # fmt: skip
    """The shipped model from a table of labels, and what proves it: pre-training, five folds beside a random
    start, all labels, a tenth of them and none, the model from all patients, calibrated on the folds.

    Columns must have their usual names. Every command is printed before it runs.
    """
    import shlex

    from train.recipe import Recipe

    out.mkdir(parents=True, exist_ok=True)
    common = ("--cache", str(cache), "--seed", str(seed))
    for command in Recipe(table, training_table, others, out, epochs, seeds, common).commands():
        _report(shlex.join(["screen", "train", *command]))
        cli.main(command, standalone_mode=False)


@cli.command()
@click.argument("tables", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The judge's parameters (.npz).")
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
@table_options
def judge(tables: tuple[Path, ...], out: Path, seed: int, **options: Any) -> None:
    """Fit the judge of polarity and orientation, and measure it across patients.

    It is part of preprocessing: with another judge, squares are others, and models have to be trained anew.
    """
    from screen.discover import discover
    from train import judge as engine
    from train.folds import fold_of
    from train.others import greys, others
    from train.table import read_table

    rows = {str(row.path): row for table in tables for row in read_table(table, _columns(options))}
    sources = list(discover([row.path for row in rows.values()], None))
    _report(f"reading {len(sources)} films")
    films, keys = engine.thumbnails_of(sources)
    made = list(others(engine.OTHERS, greys(sources, 400), seed))
    pictures, kept = engine.thumbnails_of_pictures(made)
    settings = engine.JudgeSettings(seed=seed)
    p_films, p_others = engine.cross_validated(
        films, [rows[key].patient_id for key in keys], pictures, kept, settings,
        lambda patient: fold_of(patient, seed) % engine.FOLDS, _report,
    )  # fmt: skip
    for rate in engine.rates(p_films, p_others):
        click.echo(
            f"{rate.name}: said of {rate.said} of {rate.films} films as they are, of {rate.noticed} of "
            f"{rate.copies} copies in that pose, of {rate.others_said} of {rate.others} other pictures"
        )
    for name, indices in engine.said_of(p_films).items():
        for index in indices:
            click.echo(f"look at: {name} {keys[index]}")
    engine.fit_judge(films, pictures, settings).save(out)


@cli.command()
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.argument("table", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--others", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Pictures that are no chest film, for the gate; repeat it: each folder counts alike.",
)  # fmt: skip
@click.option(
    "--predictions", type=_FILE,
    help="Calibrate on out-of-fold predictions of the table's films, not on the validation split.",
)  # fmt: skip
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The model's checkpoint or decision file."
)
@click.option("--finding", default="tumor", show_default=True, help="What reports call the finding.")
@click.option("--name", default="cxr-screen-resnet18", show_default=True)
@click.option("--model-version", default="1", show_default=True)
@click.option("--scores", type=_FILE, help="results.csv of a finished run: calibrate it for your site.")
@click.option(
    "--labels", type=_FILE, help="Your labels: sop_instance_uid or file, and a column of 1, 0, empty."
)
@click.option(
    "--prevalence", type=float, metavar="P", help="Share of films with the finding where the decision is for."
)
@click.option(
    "--model", type=_FILE, help="Model file that made the scores. [default: the run's, or the shipped one]"
)
@data_options
@table_options
def calibrate(
    checkpoint: Path | None, table: Path | None, others: tuple[Path, ...], predictions: Path | None,
    out: Path, finding: str, name: str, model_version: str, scores: Path | None, labels: Path | None,
    prevalence: float | None, model: Path | None, cache: Path, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Probabilities and operating points: of a classifier, or of a model at your site.

    CHECKPOINT TABLE --others DIR makes a model's checkpoint of a classifier: calibration, normal distance,
    gate. --scores results.csv --labels L.csv [--prevalence P], or --prevalence P alone, writes a decision
    file for `screen run|report --decision`; it needs no torch.
    """
    from screen.errors import UsageError

    if scores or labels or prevalence is not None:
        if checkpoint or others or predictions:
            raise UsageError("CHECKPOINT TABLE and --scores, --labels, --prevalence exclude each other")
        _calibrate_site(scores, labels, options["label_column"], prevalence, model, out)
        return
    if checkpoint is None or table is None or not others:
        raise UsageError(
            "give CHECKPOINT TABLE --others DIR to make a model, or --scores results.csv --labels L.csv to "
            "calibrate one for your site"
        )
    from screen.discover import discover
    from screen.preprocess import PreprocessSpec
    from train import calibrate as engine
    from train.evaluation import evaluate as measure
    from train.films import labelled_films
    from train.gate import MADE, collected_others
    from train.others import greys
    from train.others import others as make_others
    from train.predictions import read_cohort, read_recipe
    from train.squares import cached_squares
    from train.table import read_table

    columns, spec = _columns(options), PreprocessSpec().judged()
    out_of_fold = None
    if predictions:
        cohort = read_cohort([table], columns)
        evaluation = measure(cohort, [read_recipe(name, predictions, cohort)], {}, finding)
        out_of_fold = evaluation.calibration, evaluation.for_model()
    films = labelled_films(table, columns, spec, cache, seed, progress_bar("reading films"))
    found = [
        (
            "/".join(folder.parts[-2:]),
            cached_squares(discover([folder], None), spec, cache, progress_bar("reading other pictures")),
        )
        for folder in others
    ]
    sources = list(discover([row.path for row in read_table(table, columns)], None))
    made = list(make_others(min(MADE, len(films.values)), greys(sources, 400), seed))
    pictures = collected_others(found, made, spec)
    engine.calibrate(checkpoint, films, pictures, spec, finding, name, model_version, out, out_of_fold)


def _calibrate_site(
    scores: Path | None, labels: Path | None, label_column: str, prevalence: float | None, model: Path | None,
    out: Path,
) -> None:  # fmt: skip
    from screen.errors import UsageError
    from train.site import decision_from_labels, decision_from_model

    if scores and labels:
        decision = decision_from_labels(scores, labels, label_column, model, prevalence)
    elif scores or labels or prevalence is None:
        raise UsageError("--scores results.csv and --labels L.csv belong together: give both")
    else:
        decision = decision_from_model(model, prevalence)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(decision.to_json(), encoding="utf-8")
    calibration = decision.calibration
    click.echo(
        f"{out}: {decision.finding}, "
        + (f"{decision.films} labelled films" if decision.films else "the model's own calibration")
        + (f" ({decision.unmatched} labels without a scored film)" if decision.unmatched else "")
        + f", prevalence {calibration.prevalence:.4g}"
    )


@cli.command()
@click.argument(
    "inputs", metavar="[CHECKPOINT] TABLE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--predictions", multiple=True, metavar="NAME=FILE",
    help="Out-of-fold predictions of a recipe; the first is shipped, the others are compared with it.",
)  # fmt: skip
@click.option(
    "--efficiency", multiple=True, metavar="NAME@PERCENT=FILE",
    help="Predictions after fine-tuning from the start NAME with the labels of so many patients.",
)  # fmt: skip
@click.option("--model", type=_FILE, help="Model file that the first recipe made, for the model card.")
@click.option("--finding", default="tumor", show_default=True, help="What reports call the finding.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for figures, plots and card."
)
@data_options
@table_options
def evaluate(
    inputs: tuple[Path, ...], predictions: tuple[str, ...], efficiency: tuple[str, ...], model: Path | None,
    finding: str, out: Path, cache: Path, seed: int, **options: Any,
) -> None:  # fmt: skip
    """Measure recipes by their out-of-fold predictions, or one model on the test split.

    TABLE... --predictions NAME=FILE [--predictions …] [--efficiency …] compares recipes, cross-validated.
    CHECKPOINT TABLE measures a calibrated checkpoint on the test split's patients.
    """
    from screen.errors import UsageError
    from screen.modelfile import load_model
    from train.evaluate import headlines, pictures_from_files, write_evaluation
    from train.evaluation import efficiency_name
    from train.evaluation import evaluate as measure
    from train.predictions import read_cohort, read_recipe

    if predictions:
        cohort = read_cohort(inputs, _columns(options))
        recipes = [read_recipe(name, file, cohort) for name, file in map(_named, predictions)]
        starts = {}
        for given in efficiency:
            name, file = _named(given)
            start, share = _start(name)
            starts[start, share] = read_recipe(efficiency_name(start, share), file, cohort)
        evaluation = measure(cohort, recipes, starts, finding)
        pictures = pictures_from_files(cohort.paths)
    elif len(inputs) == 2 and not efficiency:
        from screen.preprocess import PreprocessSpec
        from train.films import labelled_films
        from train.test_split import evaluate_test_split

        checkpoint, table = inputs
        films = labelled_films(
            table, _columns(options), PreprocessSpec().judged(), cache, seed, progress_bar("reading films")
        )
        evaluation, pictures = evaluate_test_split(checkpoint, films)
    else:
        raise UsageError("give TABLE... --predictions NAME=FILE, or CHECKPOINT TABLE")
    write_evaluation(evaluation, pictures, load_model(model).card if model else None, out)
    for line in headlines(evaluation):
        click.echo(line)


def _named(given: str) -> tuple[str, Path]:
    """NAME=FILE."""
    from screen.errors import UsageError

    name, _, file = given.partition("=")
    if not name or not file:
        raise UsageError(f"'{given}' is not NAME=FILE")
    return name, Path(file)


def _start(name: str) -> tuple[str, float]:
    """NAME@PERCENT as name and share."""
    from screen.errors import UsageError

    start, _, percent = name.rpartition("@")
    try:
        share = float(percent) / 100
    except ValueError:
        share = 0.0
    if not start or not 0 < share <= 1:
        raise UsageError(f"'{name}' is not NAME@PERCENT, as in simclr@10")
    return start, share
