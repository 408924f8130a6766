"""`screen doctor`."""

import click


@click.command("doctor")
def cli() -> None:
    """Say what works on this machine, what is missing, and how to get it. Everything is really tried.

    Exit code 0 if `screen run` will work here, 1 if not.
    """
    from rich.console import Console
    from rich.table import Table

    from screen.cli.checkup import State, checks

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a log's lines stay in one piece
    styles = {State.OK: "green", State.NOTE: "yellow", State.BAD: "bold red"}
    table = Table("", "what", "how", box=None, pad_edge=False)
    bad = 0
    for check in checks():
        bad += check.state is State.BAD
        table.add_row(f"[{styles[check.state]}]{check.state}[/]", _plain(check.name), _plain(check.detail))
    console.print(table)
    click.get_current_context().exit(1 if bad else 0)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
