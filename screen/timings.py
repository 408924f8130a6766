"""`timings.csv`: what each file cost its worker, for those who look for slow files."""

import csv
from pathlib import Path

from screen.ledger import Ledger
from screen.report.tables import safe_path

TIMINGS_NAME = "timings.csv"


def write_timings(folder: Path, ledger: Ledger) -> None:
    """Columns `file, read_seconds, preprocess_seconds`; in INPUT order; whole or not at all."""
    draft = folder / f".{TIMINGS_NAME}"
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "read_seconds", "preprocess_seconds"))
        for name, read, square in ledger.listed_timings():
            writer.writerow((safe_path(name), f"{read:.6f}", f"{square:.6f}"))
    draft.replace(folder / TIMINGS_NAME)
