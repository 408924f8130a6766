"""`python -m train`, the same as `screen train`."""

import sys

from screen.cli import cli

if __name__ == "__main__":
    cli(["train", *sys.argv[1:]], prog_name="screen")
