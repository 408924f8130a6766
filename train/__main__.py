"""`python -m train`, the same as `screen train`."""

from train.cli import cli

if __name__ == "__main__":
    cli(prog_name="python -m train")
