"""`screen monitor`."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from screen.cli.labels import FILE

_SEVERAL = ("--reference", "--feedback")


class _Several(click.Command):
    """What stands behind these options belongs to them up to the next option, as a shell's * gives it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Each value with its option before it: click takes one at a time."""
        return super().parse_args(ctx, list(_one_by_one(args)))


def _one_by_one(arguments: Iterable[str]) -> Iterator[str]:
    option, repeat = "", False
    for argument in arguments:
        if argument.startswith("-"):
            option, repeat = argument, False
        elif option in _SEVERAL:
            if repeat:
                yield option
            repeat = True
        yield argument


@click.command("monitor", cls=_Several)
@click.argument("ledgers", metavar="LEDGER...", nargs=-1, required=True, type=FILE)
@click.option(
    "--reference",
    multiple=True,
    type=FILE,
    metavar="LEDGER...",
    help="ledger.sqlite of earlier nights, to compare with.",
)
@click.option(
    "--feedback",
    multiple=True,
    type=FILE,
    metavar="CSV...",
    help="feedback.csv that readers saved from the page.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder for the report."
)
def cli(
    ledgers: tuple[Path, ...], reference: tuple[Path, ...], feedback: tuple[Path, ...], out: Path
) -> None:
    """Compare this week with the weeks before.

    LEDGER is ledger.sqlite of a finished run; give those of many nights. Their films are counted by week (of
    the exam) and device, and each week is compared with what came before it: scores, distance from normal
    films, flagged films, files that could not be read, films unlike a chest film. What chance explains is no
    alarm.

    DIR then holds drift.csv and drift.html. Films are not opened, ledgers are only read.
    """
    from screen.evaluation.drift import watch
    from screen.evaluation.drift_files import told, write_drift

    drift = watch(ledgers, reference, feedback)
    write_drift(drift, out)
    for line in drift.alarms:
        click.echo(f"alarm: {told(line)}")
    weeks = len({line.week for line in drift.lines})
    alarms = len(drift.alarms)
    said = "1 alarm" if alarms == 1 else f"{alarms:,} alarms"
    click.echo(f"{said} in {weeks:,} weeks: {out / 'drift.html'}")
