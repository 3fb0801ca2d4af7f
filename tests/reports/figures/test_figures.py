"""Figures show the numbers: what is drawn, read back, against the report's numbers and closed forms."""

from itertools import combinations, pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fewshot_km.reports.figures import ReportFigure, draw_figures, draw_narrow
from fewshot_km.reports.figures.accuracies import draw_accuracies
from fewshot_km.reports.figures.curves import _steps_axis
from fewshot_km.reports.figures.modulated_kernels import SIGNED
from fewshot_km.reports.figures.style import method_styles
from fewshot_km.reports.intervals import t_interval
from fewshot_km.reports.mean_ranks import Ranking
from fewshot_km.reports.papers import published_rows
from fewshot_km.reports.report import Report
from tests.support.made_up_report import STEPS, grid_text, made_up_report, val_accuracies
from tests.support.made_up_results import SMALL_GRID

LEARNERS = ["maml", "anil", "km-maml", "km-none"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return made_up_report(tmp_path_factory.mktemp("figures"))


@pytest.fixture(scope="module")
def figures(report: Report) -> dict[str, ReportFigure]:
    return {figure.name: figure for figure in draw_figures(report)}


@pytest.fixture(scope="module")
def narrow(report: Report) -> dict[str, ReportFigure]:
    return {figure.name: figure for figure in draw_narrow(report)}


def lines(axes: Axes, label: str) -> list[Line2D]:
    return [line for line in axes.lines if line.get_label() == label]


def points(axes: Axes, label: str) -> list[tuple[float, float]]:
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines(axes, label)]


def test_every_figure_is_drawn_where_there_is_everything(figures: dict[str, ReportFigure]) -> None:
    kernels = [f"kernels-{learner}" for learner in ("maml", "km-maml", "km-none")]  # those of anil do not change
    assert list(figures) == ["accuracy", "differences", "ranks", "parameters", "learning", "inner-steps", *kernels]


def test_whiskers_end_where_the_intervals_end(report: Report, figures: dict[str, ReportFigure]) -> None:
    axes = figures["accuracy"].drawing.axes
    assert [one.get_title(loc="left") for one in axes] == list(report.results.tasks)
    for task, one in zip(report.results.tasks, axes, strict=True):
        for learner, whisker, mean in zip(LEARNERS, lines(one, "_whisker"), lines(one, "_mean"), strict=False):
            accuracies = report.results.scores[task, learner].accuracies
            seeds = t_interval(accuracies.mean(1))
            assert seeds.low is not None
            assert seeds.high is not None
            assert list(whisker.get_xdata()) == pytest.approx([100 * seeds.low, 100 * seeds.high])
            assert list(mean.get_xdata()) == pytest.approx([100 * accuracies.mean()])
            assert whisker.get_ydata()[0] == mean.get_ydata()[0]
    assert "n = 5 independently meta-trained seeds" in figures["accuracy"].caption


def test_rows_run_downwards_in_the_order_of_their_names(figures: dict[str, ReportFigure]) -> None:
    one = figures["accuracy"].drawing.axes[0]
    names = [text.get_text() for text in one.get_yticklabels()]
    assert names[:4] == LEARNERS
    heights = [one.transData.transform((0, y))[1] for y in one.get_yticks()]
    assert heights == sorted(heights, reverse=True)
    assert [y for _, y in points(one, "_mean")] == list(one.get_yticks())[:4]


def test_published_numbers_are_hollow_and_have_rows_of_their_own(figures: dict[str, ReportFigure]) -> None:
    one = figures["accuracy"].drawing.axes[0]
    papers = [row.accuracies["omniglot-20w1s"] for row in published_rows()]
    drawn = lines(one, "_published")
    assert [line.get_xdata()[0] for line in drawn] == [mean for mean, _ in papers]
    assert {line.get_markerfacecolor() for line in drawn} == {"white"}
    whiskers = [line.get_xdata() for line in lines(one, "_whisker")[4:]]
    assert np.array(whiskers) == pytest.approx(np.array([[mean - s, mean + s] for mean, s in papers]))
    assert "standard deviation over 3 seeds" in figures["accuracy"].caption


def test_the_forest_is_in_the_order_of_the_contrasts(report: Report, figures: dict[str, ReportFigure]) -> None:
    for task, one in zip(report.results.tasks, figures["differences"].drawing.axes, strict=True):
        contrasts = [contrast for contrast in report.contrasts.all if contrast.task == task]
        drawn = lines(one, "_difference")
        means = [100 * contrast.deciding.difference.mean for contrast in contrasts]
        assert [line.get_xdata()[0] for line in drawn] == means
        assert [line.get_ydata()[0] for line in drawn] == list(one.get_yticks())
        for contrast, line, whisker in zip(contrasts, drawn, lines(one, "_whisker"), strict=True):
            a, b = (report.results.scores[task, m].accuracies.mean(1) for m in (contrast.first, contrast.second))
            seeds = t_interval(a - b)
            assert seeds.low is not None
            assert seeds.high is not None
            assert list(whisker.get_xdata()) == pytest.approx([100 * seeds.low, 100 * seeds.high])
            is_significant = contrast.adjusted_p <= 0.05
            assert line.get_markerfacecolor() == ("black" if is_significant else "white")
        (zero,) = lines(one, "_zero")
        assert list(zero.get_xdata()) == [0, 0]
        low, high = one.get_xlim()
        assert low < 0 < high
    outcomes = {contrast.outcome == "undecided" for contrast in report.contrasts.all}
    assert outcomes == {True, False}  # the report has both


def test_the_bars_are_as_long_as_the_critical_difference(report: Report, figures: dict[str, ReportFigure]) -> None:
    (one,) = figures["ranks"].drawing.axes
    ranking = report.ranking
    assert isinstance(ranking, Ranking)
    ordered = sorted(ranking.ranks, key=lambda method: ranking.ranks[method])
    assert [text.get_text() for text in one.get_yticklabels()] == ordered
    assert points(one, "_rank") == [(ranking.ranks[m], y) for m, y in zip(ordered, one.get_yticks(), strict=True)]
    bars = np.array([line.get_xdata() for line in lines(one, "_whisker")])
    assert np.diff(bars).ravel() == pytest.approx(np.full(4, 2.569 * (4 * 5 / (6 * 5)) ** 0.5), rel=1e-3)
    for (n, first), (m, second) in combinations(enumerate(ordered), 2):
        overlap = bars[m, 0] < bars[n, 1]
        assert overlap == any({first, second} <= set(group) for group in ranking.groups())


def test_accuracy_stands_above_the_number_of_adapted_parameters(
    report: Report, figures: dict[str, ReportFigure]
) -> None:
    for task, one in zip(report.results.tasks, figures["parameters"].drawing.axes, strict=True):
        assert one.get_xscale() == "log"
        means = [100 * report.results.scores[task, learner].accuracies.mean() for learner in LEARNERS]
        expected = list(zip([100, 1_000, 10_000, 100_000], means, strict=True))
        assert np.array(points(one, "_mean")) == pytest.approx(np.array(expected))
        whiskers = np.array([line.get_ydata() for line in lines(one, "_whisker")])
        assert whiskers.mean(1) == pytest.approx(np.array(means))  # symmetric t intervals


def test_the_band_is_from_the_least_to_the_greatest_seed(report: Report, figures: dict[str, ReportFigure]) -> None:
    one = figures["learning"].drawing.axes[0]
    bands = [band for band in one.collections if isinstance(band, FillBetweenPolyCollection)]
    assert len(bands) == len(LEARNERS)
    for learner, band, mean in zip(LEARNERS, bands, lines(one, "_mean"), strict=True):
        cells = [cell for cell in report.results.grid.cells if cell.learner == learner and cell.task == "task-0"]
        curves = [val_accuracies(cell) for cell in cells]
        common = range(100, 601, 100)  # the last seed ended there
        expected = np.array([[100 * curve[n] for n in common] for curve in curves])
        assert list(mean.get_xdata()) == list(common)
        assert list(mean.get_ydata()) == pytest.approx(expected.mean(0))
        corners = {(float(x), round(float(y), 9)) for x, y in band.get_paths()[0].vertices}
        for n, values in zip(common, expected.T, strict=True):
            assert {y for x, y in corners if x == n} == {round(float(values.min()), 9), round(float(values.max()), 9)}
    beyond = lines(one, "_beyond")
    assert len(beyond) == 4 * len(LEARNERS)  # the seeds that went on
    assert {(line.get_xdata()[0], line.get_xdata()[-1]) for line in beyond} == {(600, 1000)}


def test_few_seeds_are_lines_without_a_band(tmp_path: Path) -> None:
    text = SMALL_GRID.replace("episodes = 5", "episodes = 30")
    figure = next(one for one in draw_figures(made_up_report(tmp_path, text)) if one.name == "learning")
    (one,) = figure.drawing.axes
    assert not one.collections
    assert len(lines(one, "_seed")) == 4
    assert "each is a line" in figure.caption


def test_many_validations_are_thinned_and_the_last_is_kept() -> None:
    from fewshot_km.reports.figures.curves import MOST_POINTS, _thinned

    for count in (1, 2, 119, 120, 121, 6000):
        kept = _thinned(range(count))
        assert kept[-1] == count - 1
        assert len(kept) == count if count <= MOST_POINTS else MOST_POINTS / 2 <= len(kept) <= MOST_POINTS
        assert len(set(np.diff(kept))) <= 1
    assert _thinned([]) == []


def test_inner_steps_show_where_training_and_test_were(report: Report, figures: dict[str, ReportFigure]) -> None:
    one = figures["inner-steps"].drawing.axes[0]
    assert [text.get_text() for text in one.get_xticklabels()] == ["0", "1", "3"]
    for learner, mean in zip(LEARNERS, lines(one, "_mean"), strict=True):
        analyses = [stored.analysis for stored in report.results.scores["task-0", learner].stored]
        expected = [np.mean([a.inner_steps[n].mean for a in analyses if a]) for n in range(len(STEPS))]
        assert list(mean.get_ydata()) == pytest.approx([100 * value for value in expected])
    trained, tested = lines(one, "_steps of training"), lines(one, "_of the test")
    assert {line.get_xdata()[0] for line in trained} == {1}
    assert {line.get_xdata()[0] for line in tested} == {3}
    assert {line.get_markerfacecolor() for line in trained} == {"white"}
    assert "white" not in {line.get_markerfacecolor() for line in tested}
    assert "n = 5 independently meta-trained seeds" in figures["inner-steps"].caption


def test_the_axis_of_inner_steps_is_to_scale(figures: dict[str, ReportFigure]) -> None:
    """Also where methods stand aside: of each, points are as far apart on the paper as their steps."""
    for one in figures["inner-steps"].drawing.axes:
        assert one.get_xscale() == "linear"
        for mean in lines(one, "_mean"):
            assert list(mean.get_xdata()) == list(STEPS)
            places = mean.get_transform().transform(np.column_stack(mean.get_data()))[:, 0]
            distances = np.diff(places) / np.diff(STEPS)
            assert distances == pytest.approx(np.full(len(distances), distances[0]))


@pytest.mark.parametrize("asked", [[0, 1, 2, 3, 5, 10], [0, 1, 2, 3, 5, 10, 20, 200], [0, 1], [3], [0, 9, 100, 101]])
def test_numbers_of_inner_steps_do_not_meet(asked: list[int]) -> None:
    figure = Figure(figsize=(7, 2), dpi=100)
    axes = figure.add_axes((0.1, 0.2, 0.25, 0.7))
    axes.tick_params(labelsize=7)
    _steps_axis(axes, asked, figure)
    boxes = [(text.get_text(), text.get_window_extent()) for text in axes.get_xticklabels()]
    assert all(left.x1 < right.x0 for (_, left), (_, right) in pairwise(boxes))
    assert boxes[-1][0] == str(asked[-1])
    assert {int(text) for text, _ in boxes} <= set(asked)
    if asked[-1] <= 10:
        assert [int(text) for text, _ in boxes] == asked  # all of them have room


def test_chance_is_drawn_wherever_there_are_accuracies(report: Report, figures: dict[str, ReportFigure]) -> None:
    """At 1/ways; or, where that is far from all that is drawn, an arrow on the side where it lies."""
    seen = set()
    for name in ("accuracy", "parameters", "learning", "inner-steps"):
        drawing = figures[name].drawing
        assert "chance, 1/ways" in figures[name].caption
        for one in drawing.axes:
            drawn = [line.get_xdata() if name == "accuracy" else line.get_ydata() for line in lines(one, "_chance")]
            arrows = [text.get_text() for text in one.texts if text.get_label() == "_chance"]
            low, high = one.get_xlim() if name == "accuracy" else one.get_ylim()
            assert len(drawn) + len(arrows) == 1
            if drawn:
                assert list(drawn[0]) == [5, 5]  # 20 ways
                assert low <= 5 <= high
            else:
                assert arrows == ["◂ chance 5" if name == "accuracy" else "▾ chance 5"]
                assert low > 5
            seen.add(bool(drawn))
    assert seen == {True, False}


def test_chance_is_that_of_each_task(tmp_path: Path) -> None:
    text = grid_text(2).replace("ways = 20", "ways = 8", 1)
    report = made_up_report(tmp_path, text)
    first, second = draw_accuracies(report).drawing.axes
    assert ["12.5" in one.texts[-1].get_text() for one in (first, second)] == [True, False]


def test_a_narrow_page_has_the_same_figures(narrow: dict[str, ReportFigure], figures: dict[str, ReportFigure]) -> None:
    assert list(narrow) == list(figures)
    for name, figure in narrow.items():
        assert (figure.title, figure.caption) == (figures[name].title, figures[name].caption)
        assert figure.drawing.get_figwidth() == pytest.approx(3.5)  # inches: a column


def test_in_a_narrow_page_panels_stand_one_under_the_other(
    narrow: dict[str, ReportFigure], figures: dict[str, ReportFigure]
) -> None:
    for name in ("accuracy", "differences", "parameters", "learning", "inner-steps"):
        figure, wide = narrow[name], figures[name]
        assert len({round(one.get_position().x0, 6) for one in figure.drawing.axes}) == 1
        for one, other in zip(figure.drawing.axes, wide.drawing.axes, strict=True):
            assert one.get_title(loc="left").replace("\n", "") == other.get_title(loc="left").replace("\n", "")
            for line, again in zip(one.lines, other.lines, strict=True):
                assert np.array_equal(line.get_xdata(), again.get_xdata())
                assert np.array_equal(line.get_ydata(), again.get_ydata())


def test_steps_of_both_are_half_filled(tmp_path: Path) -> None:
    text = grid_text(1).replace("train_steps = 1", "train_steps = 3")
    figure = next(one for one in draw_figures(made_up_report(tmp_path, text)) if one.name == "inner-steps")
    both = lines(figure.drawing.axes[0], "_of both")
    assert len(both) == len(LEARNERS)
    assert {line.get_fillstyle() for line in both} == {"left"}


def test_kernels_are_drawn_before_after_and_as_their_difference(
    report: Report, figures: dict[str, ReportFigure]
) -> None:
    (one,) = figures["kernels-km-maml"].drawing.axes
    images = {name: [i for i in one.images if i.get_label() == f"_{name}"] for name in ("before", "after")}
    differences = [image for image in one.images if image.get_label() == "_difference"]
    analysis = report.results.scores["task-0", "km-maml"].stored[0].analysis
    assert analysis is not None
    for n, layer in enumerate(analysis.kernels):
        before, after = (np.ma.filled(images[name][n].get_array(), np.nan) for name in images)
        assert before.shape == (3, 16 * 4 - 1)
        assert before[:, 4:7].ravel() == pytest.approx(np.array(layer.before[1]))
        assert after[:, 60:63].ravel() == pytest.approx(np.array(layer.after[15]))
        assert np.isnan(before[:, 3::4]).all()
        difference = np.ma.filled(differences[n].get_array(), np.nan)
        assert np.array_equal(difference, after - before, equal_nan=True)
        low, high = differences[n].get_clim()
        assert (low, high) == (-np.nanmax(np.abs(difference)), np.nanmax(np.abs(difference)))
        assert images["before"][n].get_clim() == images["after"][n].get_clim()


def test_narrow_kernels_stand_in_rows(figures: dict[str, ReportFigure], narrow: dict[str, ReportFigure]) -> None:
    """The same sixteen as in one row, eight abreast."""
    (wide,), (one,) = (drawn["kernels-km-maml"].drawing.axes for drawn in (figures, narrow))
    shown = [image for image in one.images if image.get_label() != "_scale"]
    for n, image in enumerate(image for image in wide.images if image.get_label() != "_scale"):
        row, rows = (np.ma.filled(drawn.get_array(), np.nan) for drawn in (image, shown[n]))
        assert rows.shape == (3 + 1 + 3, 8 * 4 - 1)
        assert np.array_equal(np.concatenate([rows[:3], np.full((3, 1), np.nan), rows[4:]], 1), row, equal_nan=True)
        assert np.isnan(rows[3]).all()
        assert image.get_clim() == shown[n].get_clim()


def luminance(colour: object) -> float:
    """CIE lightness, 0 to 100."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]  # type: ignore[arg-type]
    y = float(np.dot(linear, [0.2126, 0.7152, 0.0722]))
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_the_kernels_colours_rise_in_grey() -> None:
    lightness = np.array([luminance(SIGNED(x)) for x in np.linspace(0, 1, 33)])
    assert (np.diff(lightness) > 0.5).all()
    assert lightness == pytest.approx(np.linspace(lightness[0], lightness[-1], 33), abs=6)


def test_methods_are_told_apart_without_colour() -> None:
    names = [f"method {n}" for n in range(55)]
    styles = method_styles(names).values()
    assert len({(style.marker, str(style.line)) for style in styles}) == 55
    first = list(styles)[:5]
    assert len({style.marker for style in first}) == 5
    assert len({str(style.line) for style in first}) == 5
    assert len({style.colour for style in list(styles)[:7]}) == 7
    assert all(luminance(style.colour) < 75 for style in styles)  # seen on white


def test_open_episodes_have_dots_of_their_own(tmp_path: Path) -> None:
    report = made_up_report(tmp_path, grid_text(1), kind="open")
    figure = draw_figures(report)[0]
    score = report.results.scores["task-0", "maml"]
    assert score.open_accuracies is not None
    ((x, _), *_) = points(figure.drawing.axes[0], "_mean")
    assert x == pytest.approx(100 * score.open_accuracies.mean())
    texts = [text.get_text() for text in figure.drawing.texts]
    assert "12 test episodes that share no image" in " ".join(texts).replace("\n", " ")


def test_what_has_no_data_is_left_out(tmp_path: Path) -> None:
    text = SMALL_GRID.replace('learners = ["maml", { name = "km-maml", norm_affine = "bias" }]', 'learners = ["maml"]')
    text = text.replace("episodes = 5", "episodes = 30")
    names = [figure.name for figure in draw_figures(made_up_report(tmp_path, text, analysed=False))]
    assert names == ["accuracy", "parameters", "learning"]


def test_drawing_leaves_the_settings_of_others_alone(report: Report) -> None:
    with matplotlib.rc_context({"font.size": 31, "axes.labelsize": 44}):
        before = dict(matplotlib.rcParams)
        draw_figures(report)
        assert dict(matplotlib.rcParams) == before
