"""Pages for people: what an evaluation found out, and what a dataset looks like, each one HTML file."""

from maskwright.report.dataset_sheet import write_sheet
from maskwright.report.evaluation_report import write_report
from maskwright.report.page import page_templates

__all__ = ["page_templates", "write_report", "write_sheet"]
