"""Where the checkout's own folders lie, and the real films beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples" / "films"
SHARED = ROOT.parent / "shared" / "data"
"""Not part of the checkout: tests that want it are skipped where it is missing."""
