"""The shipped model from a table of labels: the commands of `screen train`, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train.recipes.settings import OF_LAYERS

Command = list[str]

FEW = 10
"""Per cent of the patients with labels: the point of the label-efficiency curve that is measured."""

_PRETRAINING = ("--method", "planted", "--batch-size", "32")
_COARSE = ("--size", "128", "--epochs", "4")
"""What pre-training begins with: a third of the cost of an epoch at 224 pixels."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """table: of labels, whose films are judged. training_tables: more, to train on alone. others: pictures
    that are no chest film. out: folder for all that is made.
    epochs: of pre-training at full size, after a coarse one. size: of the squares, pixels. ablations: the
    recipe without each ingredient, in the same folds. common: options of every command.
    """

    table: Path
    training_tables: tuple[Path, ...]
    others: tuple[Path, ...]
    out: Path
    epochs: int
    seeds: int
    size: int
    ablations: bool = False
    common: tuple[str, ...] = ()

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

        ingredients = tuple(OF_LAYERS) if self.ablations else ()

        def arm(name: str, *options: str) -> Command:
            seeds = ["--seeds", str(self.seeds)]
            return ["crossvalidate", table, *extra, *size, *seeds, *options, "--out", str(out / name)]

        def predictions(name: str) -> str:
            return str(out / name / "predictions.csv")

        everything = ["finetune", table, *extra, *size, *start, "--everything", "--out", str(out / "tumor")]
        calibrate = [
            *("calibrate", str(out / "tumor"), table, "--gate", str(out / "gate")),
            *("--predictions", predictions("recipe"), "--abnormal", str(out / "recipe")),
            *("--out", str(out / "model")),
        ]
        evaluate = [
            *("evaluate", table, "--out", str(out / "evaluation")),
            *("--predictions", f"recipe={predictions('recipe')}"),
            *("--predictions", f"random start={predictions('random')}"),
            *("--predictions", f"no labels={predictions('no-labels')}"),
            *_repeated(
                "--predictions", [f"without {name}={predictions(f'without-{name}')}" for name in ingredients]
            ),
            *("--efficiency", f"recipe@{FEW}={predictions('recipe-few')}"),
            *("--efficiency", f"random start@{FEW}={predictions('random-few')}"),
        ]
        tables = [table, *map(str, self.training_tables)]
        coarse = ["pretrain", *tables, *_PRETRAINING, *_COARSE, "--out", str(out / "pretrained-coarse")]
        pretrain = [
            *("pretrain", *tables, *_PRETRAINING, *size, "--weights", str(out / "pretrained-coarse")),
            *("--epochs", str(self.epochs), "--out", str(out / "pretrained")),
        ]
        gate = ["gate", *tables, *size, *_repeated("--others", self.others), "--out", str(out / "gate")]
        common = list(self.common)
        return [
            coarse + common,
            pretrain + common,
            arm("recipe", *start) + common,
            everything + common,
            gate + common,
            calibrate + common,
            arm("random") + common,
            arm("no-labels", *start, "--label-share", "0") + common,
            arm("recipe-few", *start, *few) + common,
            arm("random-few", *few) + common,
            *(arm(f"without-{name}", *start, "--without", name) + common for name in ingredients),
            evaluate,
        ]


def _repeated(option: str, values: Sequence[Path | str]) -> list[str]:
    return [word for value in values for word in (option, str(value))]
