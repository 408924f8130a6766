"""`python -m screen`, and the commands `screen` and `cxr-screen`."""

import sys


def main() -> None:
    """The console scripts."""
    from screen.cli.main import main as command

    command()


if __name__ == "__main__":
    # `python -m` puts the current folder first: nothing may be imported from there, by us or by our workers.
    if not sys.flags.safe_path:
        del sys.path[0]
    from pathlib import Path

    # In a checkout that is not installed we lie there ourselves: then it is the last to be asked.
    sys.path.append(str(Path(__file__).parent.parent))
    main()
