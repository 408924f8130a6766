"""`python -m screen`, and the commands `screen` and `cxr-screen`."""

from screen.cli.main import main

if __name__ == "__main__":
    main()
