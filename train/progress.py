"""What a long command says while it works, on standard error."""

import time
from collections.abc import Callable

import click

Progress = Callable[[int, int], None]
"""(done, total)."""
_LOG_INTERVAL = 10.0
"""Seconds between two lines where no terminal shows a bar."""


def quiet(done: int, total: int) -> None:
    """Say nothing."""


def progress_bar(what: str) -> Progress:
    """A bar on a terminal; else a line every ten seconds, and one at the end."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        return _Lines(what)
    bar = Bar(console=console)
    task = bar.add_task(what)
    bar.start()

    def advance(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return advance


class _Lines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + _LOG_INTERVAL

    def __call__(self, done: int, total: int) -> None:
        if done >= total or time.monotonic() >= self._next:
            self._next = time.monotonic() + _LOG_INTERVAL
            click.echo(f"{self._what}: {done}/{total}", err=True)
