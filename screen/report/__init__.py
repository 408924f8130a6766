"""Verdicts to CSV files, summary, page and pictures."""

from screen.report.content import RunFacts
from screen.report.writing import remove_reports, write_reports

__all__ = ["RunFacts", "remove_reports", "write_reports"]
