"""`python -m export` and the command `export`, both the same as `screen export`."""

import sys

from screen.cli import cli


def main() -> None:
    """The console script `export`. A shell needs `env export`: its own builtin has the name."""
    cli(["export", *sys.argv[1:]], prog_name="screen")


if __name__ == "__main__":
    main()
