"""`screen train`: its commands, one module each in `train.commands`."""

import click

from train.commands.calibrate import calibrate
from train.commands.evaluate import evaluate
from train.commands.finetune import crossvalidate, finetune
from train.commands.judge import judge
from train.commands.pretrain import pretrain
from train.commands.recipe import recipe


@click.group()
def cli() -> None:
    """Train on your own films: pre-train without labels, fine-tune with few, calibrate, measure."""


for command in (pretrain, finetune, crossvalidate, recipe, judge, calibrate, evaluate):
    cli.add_command(command)
