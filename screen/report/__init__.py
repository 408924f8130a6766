"""Verdicts to CSV files, summary, page and pictures."""

from screen.report.content import RunFacts
from screen.report.writing import (
    REPORT_NAMES,
    SUMMARY_NAME,
    remove_reports,
    write_part_summary,
    write_reports,
)

__all__ = [
    "REPORT_NAMES",
    "SUMMARY_NAME",
    "RunFacts",
    "remove_reports",
    "write_part_summary",
    "write_reports",
]
