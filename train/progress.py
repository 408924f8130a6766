"""What a long command says while it works, on standard error."""

from collections.abc import Callable

import click


def progress_bar(what: str, every: int = 1000) -> Callable[[int, int], None]:
    """(done, total) -> a bar on a terminal, a line every `every` otherwise."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        return lambda done, total: None if done % every else click.echo(f"{what}: {done}/{total}", err=True)
    bar = Progress(console=console)
    task = bar.add_task(what)
    bar.start()

    def advance(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return advance
