"""All figures of a report; what has no data is left out."""

from fewshot_km.reports.figures.accuracies import draw_accuracies, draw_parameters
from fewshot_km.reports.figures.curves import draw_inner_steps, draw_learning
from fewshot_km.reports.figures.differences_and_ranks import draw_differences, draw_ranks
from fewshot_km.reports.figures.layout import COLUMN, PANELS, WIDTH
from fewshot_km.reports.figures.modulated_kernels import draw_kernels
from fewshot_km.reports.figures.report_figure import ReportFigure, save_figures, svg_text
from fewshot_km.reports.figures.style import house_style
from fewshot_km.reports.report import Report

__all__ = ["ReportFigure", "draw_figures", "draw_narrow", "save_figures", "svg_text"]


def draw_narrow(report: Report) -> list[ReportFigure]:
    """The same figures no wider than a column, for a narrow page: panels stand one under the other."""
    return _draw_all(report, 1, COLUMN)


def draw_figures(report: Report) -> list[ReportFigure]:
    """Draw everything that there is data for."""
    return _draw_all(report, PANELS, WIDTH)


def _draw_all(report: Report, abreast: int, width: float) -> list[ReportFigure]:
    with house_style():
        drawn = [
            draw_accuracies(report, abreast),
            draw_differences(report, abreast),
            draw_ranks(report),
            draw_parameters(report, abreast),
            draw_learning(report, abreast),
            draw_inner_steps(report, abreast),
            *draw_kernels(report, width),
        ]
    return [figure for figure in drawn if figure]
