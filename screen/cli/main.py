"""The command line. Commands are found by name and imported when they are used: `screen --help` is quick."""

import errno
import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from screen import __version__
from screen.errors import MissingExtraError, ScreenError, UsageError
from screen.log import secure_standard_streams
from screen.text import printable

_COMMANDS = {
    "run": ("screen.cli.run", "Screen folders and files, and write the reports into one folder."),
    "report": (
        "screen.cli.report",
        "Write a finished run's reports again, with another threshold if you like.",
    ),
    "fetch": ("screen.cli.fetch", "Get films out of the archive, by DICOMweb (extra 'dicom')."),
    "dicom": ("screen.cli.dicom", "Make DICOM objects of a finished run's results (extra 'dicom')."),
    "send": (
        "screen.cli.send",
        "Put these into the archive, and ask it whether they arrived (extra 'dicom').",
    ),
    "inspect": ("screen.cli.inspect", "Show what was read from one file, and what was decided."),
    "doctor": ("screen.cli.doctor", "Say what works on this machine, what is missing, and how to get it."),
    "evaluate": ("screen.cli.evaluate", "Say how good the model is on your own films with labels."),
    "calibrate": ("screen.cli.calibrate", "Set your own thresholds, from a finished run."),
    "monitor": ("screen.cli.monitor", "Compare this week with the weeks before."),
    "model": ("screen.cli.model", "Show or verify a model file."),
    "train": ("train.cli.main", "Train a model on your own films (extra 'train')."),
    "export": ("export.cli", "Make model files and engines of a trained model (extra 'export')."),
    "bench": ("benchmarks.cli", "Measure speed and memory (needs a clone of the repository)."),
}
_EXTRAS = {
    "fetch": "dicom",
    "dicom": "dicom",
    "send": "dicom",
    "train": "train",
    "export": "export",
    "bench": "test",
}
_OURS = {"screen", "train", "export", "benchmarks"}


class Commands(click.Group):
    """The commands of the table above. Errors meant for the operator become one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the table's order."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command. Its module holds it under the name `cli`."""
        return _imported(cmd_name) if cmd_name in _COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the operator must know goes to standard error."""
        try:
            try:
                return super().invoke(ctx)
            except ModuleNotFoundError as error:
                raise _explained(error, str(ctx.invoked_subcommand)) from error
        except ScreenError as error:
            _say(error)
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            _say(ScreenError("too few file handles: raise the limit (ulimit -n), or give fewer --workers"))
            ctx.exit(ScreenError.exit_code)
        except KeyboardInterrupt:
            ctx.exit(130)


@click.command(cls=Commands)
@click.version_option(__version__, prog_name="screen")
def cli() -> None:
    """Screen chest radiographs, a night's worth at a time.

    Type `screen run ./dicom_dir`. Type it again if it was stopped: it goes on. Research use only, not for
    clinical use.
    """


def main(wiring: Any = None, arguments: Sequence[str] | None = None) -> None:
    """The console scripts `screen` and `cxr-screen`.

    wiring: `screen.runs.Wiring`, for tests. arguments: those that were typed, if None.
    """
    secure_standard_streams()
    if not sys.stderr.isatty():
        sys.excepthook = _say_bug
    try:
        cli(arguments, prog_name="screen", obj=wiring)
    except ScreenError as error:
        # Out of click itself: the help could not be written.
        _say(error)
        sys.exit(error.exit_code)


def _imported(name: str) -> click.Command:
    if name == "bench":
        _find_checkout()
    try:
        command = importlib.import_module(_COMMANDS[name][0]).cli
    except ModuleNotFoundError as error:
        raise _explained(error, name) from error
    assert isinstance(command, click.Command)
    return command


def _explained(error: ModuleNotFoundError, command: str) -> Exception:
    """What to install, if the command has an extra and it is not our own code that is missing."""
    if command not in _EXTRAS or str(error.name).partition(".")[0] in _OURS:
        return error
    return MissingExtraError(f"screen {command}", _EXTRAS[command])


def _find_checkout() -> None:
    """Make `benchmarks` importable if this package lies in a checkout. Raises UsageError if not."""
    root = Path(__file__).resolve().parent.parent.parent
    if not ((root / "pyproject.toml").is_file() and (root / "benchmarks" / "cli.py").is_file()):
        raise UsageError("screen bench needs a checkout of the repository: it is not part of the package")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def _say(error: ScreenError) -> None:
    """For people on a terminal, for a log anywhere else."""
    if sys.stderr.isatty():
        click.echo(f"screen: {printable(str(error))}", err=True)
    else:
        said = {"event": "error", "exit_code": error.exit_code, "message": str(error)}
        click.echo(json.dumps(said), err=True)


def _say_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An exception that nobody expected, in a log: one line like the others."""
    text = "".join(traceback.format_exception(kind, error, trace))
    click.echo(json.dumps({"event": "bug", "exit_code": 1, "traceback": text}), err=True)
