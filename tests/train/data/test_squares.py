"""Squares that are kept: pictures of patients, so private, and never in a folder that nobody named."""

import os
import stat
from pathlib import Path

import click
import pytest

from screen.discover import discover
from screen.preprocess import PreprocessSpec
from tests.films import dicom
from train.cli.main import cli
from train.cli.options import squares_folder
from train.data.squares import cached_squares


def test_they_are_for_their_owner_alone(tmp_path: Path) -> None:
    film, runs = dicom(tmp_path / "films" / "a.dcm", 1), tmp_path / "runs"
    before = os.umask(0o022)
    try:
        squares = cached_squares(
            discover([film], None), PreprocessSpec(size=32), runs / "a.cache", lambda done, total: None
        )
    finally:
        os.umask(before)
    assert squares.patients == ("PAT-77",)
    assert stat.S_IMODE(runs.stat().st_mode) == 0o755
    kept = list((runs / "a.cache").rglob("*"))
    assert {path.name for path in kept} >= {"squares.npy", "squares.json"}
    for path in (runs / "a.cache", *kept):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("name", ["pretrain", "finetune", "crossvalidate", "recipe", "calibrate", "evaluate"])
def test_no_command_has_a_folder_of_its_own_for_them(name: str) -> None:
    command = cli.commands[name]
    with click.Context(command) as context:
        (option,) = (option for option in command.params if option.name == "cache")
        assert option.get_default(context) not in (Path("cache"), "cache")
        assert "--out with .cache behind it" in (option.get_help_record(context) or ("", ""))[1]


def test_they_lie_beside_what_the_command_writes(tmp_path: Path) -> None:
    assert squares_folder(tmp_path / "runs" / "a", None) == tmp_path / "runs" / "a.cache"
    assert squares_folder(tmp_path / "a", tmp_path / "mine") == tmp_path / "mine"
