"""What is typed: one module a command. Importing one that is not used costs nothing."""

from screen.cli.main import cli

__all__ = ["cli"]
