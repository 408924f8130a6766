"""One run: wiring, stream, folder, identifiers, signals."""

from screen.runs.pipeline import RunSettings, Wiring, run

__all__ = ["RunSettings", "Wiring", "run"]
