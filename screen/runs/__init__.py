"""One run: wiring, stream, folder, identifiers, signals."""

from screen.runs.pipeline import Parts, RunSettings, run

__all__ = ["Parts", "RunSettings", "run"]
