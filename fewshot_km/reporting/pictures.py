"""All pictures of a report; what has no data is left out."""

from fewshot_km.reporting.accuracy_pictures import draw_accuracies, draw_parameters
from fewshot_km.reporting.comparison_pictures import draw_differences, draw_ranks
from fewshot_km.reporting.curve_pictures import draw_inner_steps, draw_learning
from fewshot_km.reporting.kernel_pictures import draw_kernels
from fewshot_km.reporting.picture import Picture, save_pictures, svg_text
from fewshot_km.reporting.picture_style import house_style
from fewshot_km.reporting.report import Report

__all__ = ["Picture", "draw_narrow", "draw_pictures", "save_pictures", "svg_text"]

PANELLED = (draw_accuracies, draw_differences, draw_parameters, draw_learning, draw_inner_steps)


def draw_narrow(report: Report) -> list[Picture]:
    """Pictures with panels again, their panels one under the other, for a narrow page; each has the same caption."""
    with house_style():
        drawn = [draw(report, 1) for draw in PANELLED]
    return [picture for picture in drawn if picture]


def draw_pictures(report: Report) -> list[Picture]:
    """Draw everything that there is data for."""
    with house_style():
        drawn = [
            draw_accuracies(report),
            draw_differences(report),
            draw_ranks(report),
            draw_parameters(report),
            draw_learning(report),
            draw_inner_steps(report),
            *draw_kernels(report),
        ]
    return [picture for picture in drawn if picture]
