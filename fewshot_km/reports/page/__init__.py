"""The report as one HTML file that needs nothing else."""

from fewshot_km.reports.page.render import report_page

__all__ = ["report_page"]
