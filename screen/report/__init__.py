"""Verdicts to CSV files, summary, page and pictures."""

from screen.report.content import RunFacts
from screen.report.writing import REPORT_NAMES, remove_reports, write_reports

__all__ = ["REPORT_NAMES", "RunFacts", "remove_reports", "write_reports"]
