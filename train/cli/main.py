"""`screen train`: its commands, one module each in `train.cli`."""

import click

from train.cli.calibrate import calibrate
from train.cli.evaluate import evaluate
from train.cli.finetune import crossvalidate, finetune
from train.cli.gate import gate
from train.cli.judge import judge
from train.cli.pretrain import pretrain
from train.cli.recipe import recipe


@click.group()
def cli() -> None:
    """Train a model on your own films: without labels first, then with few, and measure it."""


for command in (pretrain, finetune, crossvalidate, recipe, judge, gate, calibrate, evaluate):
    cli.add_command(command)
