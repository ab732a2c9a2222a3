"""Pages for people: what an evaluation found out, and what a dataset looks like, each one HTML file."""

from maskwright.report.dataset_sheet import write_sheet
from maskwright.report.evaluation_report import write_report

__all__ = ["write_report", "write_sheet"]
