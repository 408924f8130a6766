"""The shipped model from a table of labels: the commands of `screen train`, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train.ablation import OF_HEAD

Command = list[str]

FEW = 10
"""Per cent of the patients with labels: the point of the label-efficiency curve that is measured."""

_PLANTED = ("--method", "planted", "--batch-size", "32")
_COARSE = ("--size", "128", "--epochs", "4")
"""What pre-training begins with: a third of the cost of an epoch at 224 pixels."""
_APART = (
    *("--method", "simclr", "--size", "96", "--epochs", "6"),
    *("--source-power", "1", "--same-patient", "0"),
)
"""A teacher of another kind, and a cheap one: it knows what tells one film from another."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """table: of labels, whose films are judged. training_tables: more, to train on alone. others: pictures
    that are no chest film. out: folder for all that is made.
    size: of the squares, pixels. ablations: the recipe without each ingredient, and with layers that learn,
    in the same folds. cache, seed: of every command; the rounds of pre-training count on from this seed.
    """

    table: Path
    training_tables: tuple[Path, ...]
    others: tuple[Path, ...]
    out: Path
    seeds: int
    size: int
    ablations: bool = False
    cache: Path = Path("cache")
    seed: int = 0

    def commands(self) -> list[Command]:
        """In order; each goes on where it was stopped, so the whole does.

        Pre-training sees all films, those of folds that are held out too, but no label. Fine-tuning from
        random weights, with few labels, and pre-training alone are what the recipe is compared with.
        """
        table, out = str(self.table), self.out
        extra = _repeated("--training-table", self.training_tables)
        start = ["--weights", str(out / "pretrained")]
        few = ["--label-share", str(FEW / 100)]
        size = ["--size", str(self.size)]

        ingredients = tuple(OF_HEAD) if self.ablations else ()

        def arm(name: str, *options: str) -> Command:
            seeds = ["--seeds", str(self.seeds)]
            return ["crossvalidate", table, *extra, *size, *seeds, *options, "--out", str(out / name)]

        def predictions(name: str) -> str:
            return str(out / name / "predictions.csv")

        everything = ["finetune", table, *extra, *size, *start, "--everything", "--out", str(out / "tumor")]
        calibrate = [
            *("calibrate", str(out / "tumor"), table),
            *_repeated("--others", self.others),
            *("--predictions", predictions("recipe"), "--out", str(out / "model")),
        ]
        evaluate = [
            *("evaluate", table, "--out", str(out / "evaluation")),
            *("--predictions", f"recipe={predictions('recipe')}"),
            *("--predictions", f"random start={predictions('random')}"),
            *("--predictions", f"no labels={predictions('no-labels')}"),
            *_repeated(
                "--predictions", [f"without {name}={predictions(f'without-{name}')}" for name in ingredients]
            ),
            *(["--predictions", f"layers={predictions('layers')}"] if self.ablations else []),
            *("--efficiency", f"recipe@{FEW}={predictions('recipe-few')}"),
            *("--efficiency", f"random start@{FEW}={predictions('random-few')}"),
        ]
        common = ["--cache", str(self.cache), "--seed", str(self.seed)]
        return [
            *self._pretraining(),
            arm("recipe", *start) + common,
            everything + common,
            calibrate + common,
            arm("random") + common,
            arm("no-labels", *start, "--label-share", "0") + common,
            arm("recipe-few", *start, *few) + common,
            arm("random-few", *few) + common,
            *(arm(f"without-{name}", *start, "--without", name) + common for name in ingredients),
            *([arm("layers", *start, "--layers") + common] if self.ablations else []),
            evaluate,
        ]

    def _pretraining(self) -> list[Command]:
        """Two networks that look for drawn lesions, one that tells films apart, and one that learns from all.

        Going on with another seed draws other lesions.
        """

        def learn(name: str, seed: int, *options: str) -> Command:
            tables = map(str, (self.table, *self.training_tables))
            common = ["--cache", str(self.cache), "--seed", str(self.seed + seed)]
            return ["pretrain", *tables, *options, "--out", made(name), *common]

        def made(name: str) -> str:
            return str(self.out / name)

        full = ("--size", str(self.size))
        teachers = [made(name) for name in ("planted", "planted-on", "apart")]
        return [
            learn("planted-coarse", 0, *_PLANTED, *_COARSE),
            learn("planted", 0, *_PLANTED, *full, "--epochs", "3", "--weights", made("planted-coarse")),
            learn("planted-on", 1, *_PLANTED, *full, "--epochs", "4", "--weights", made("planted")),
            learn("apart", 0, *_APART),
            learn(
                "pretrained", 3, "--method", "distilled", "--batch-size", "32", *full, "--epochs", "1",
                "--weights", made("planted"), *_repeated("--teacher", teachers),
            ),
        ]  # fmt: skip


def _repeated(option: str, values: Sequence[Path | str]) -> list[str]:
    return [word for value in values for word in (option, str(value))]
