"""One run: wiring, stream, folder, identifiers, signals."""

from screen.run.pipeline import RunSettings, run

__all__ = ["RunSettings", "run"]
