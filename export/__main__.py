"""`python -m export` and the command `export`, both the same as `screen export`."""

import sys


def main() -> None:
    """The console script `export`. A shell needs `env export`: its own builtin has the name."""
    from screen.cli.main import main as command

    command(arguments=["export", *sys.argv[1:]])


if __name__ == "__main__":
    # As in `screen/__main__.py`: before anything else is imported.
    if not sys.flags.safe_path:
        del sys.path[0]
    from pathlib import Path

    sys.path.append(str(Path(__file__).parent.parent))
    main()
