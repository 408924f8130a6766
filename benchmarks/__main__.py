"""`python -m benchmarks`, the same as `screen bench`."""

import sys

if __name__ == "__main__":
    # As in `screen/__main__.py`: before anything else is imported.
    if not sys.flags.safe_path:
        del sys.path[0]
    from pathlib import Path

    sys.path.append(str(Path(__file__).parent.parent))
    from screen.cli.main import main

    main(arguments=["bench", *sys.argv[1:]])
