"""Charts of a report."""

from itertools import cycle
from statistics import mean

from matplotlib.figure import Figure as Canvas

from wsss_lightning.errors import InputError
from wsss_lightning.figures import charts
from wsss_lightning.report.comparison import ERROR_NAMES, Comparison, ErrorBreakdown
from wsss_lightning.report.methods import Method
from wsss_lightning.steps.labels import step_label

MAX_CHARTED = 12  # methods in charts and images, the best ones; tables have all
Colours = dict[str, str]


def charts_of(
    comparison: Comparison, methods: list[Method], errors: dict[str, ErrorBreakdown]
) -> dict[str, Canvas]:
    """Charts of a data set, by name; those without data are left out.

    Args:
        comparison: comparison of the data set.
        methods: to show.
        errors: errors of each method, by name.
    """
    names = (method.name for method in methods)
    colours = dict(zip(names, cycle(charts.COLOURS), strict=False))
    drawn = {
        "steps": _steps(comparison, methods),
        **{f"curve_{s}": _curves(comparison, methods, s, colours) for s in comparison.data.splits},
        "rounds": _rounds(methods, colours),
        "cost": _costs(comparison, methods, colours),
        "errors": _errors(methods, errors),
    }
    return {name: chart for name, chart in drawn.items() if chart is not None}


def compared_metric(comparison: Comparison) -> str:
    """Title of the axis of the metric by which methods are compared."""
    step = comparison.step
    return "" if step is None else f"mIoU of {step_label(step[0])}, {step[1]} (%)"


def _steps(comparison: Comparison, methods: list[Method]) -> Canvas | None:
    mious = {
        method.name: {
            (step_label(step), split): mean(method.mious((step, split)))
            for step, split in method.steps()
        }
        for method in methods
    }
    return charts.steps_chart(mious, comparison.data.splits) if any(mious.values()) else None


def _curves(
    comparison: Comparison, methods: list[Method], split: str, colours: Colours
) -> Canvas | None:
    """mIoU of the seeds against the background score, of the first run of each method."""
    lines = {}
    for method in methods:
        try:
            curve = method.runs[0].curve(split)
        except InputError as error:
            comparison.notes.append(f"The threshold curve of {method.name} is left out: {error}")
            continue
        if curve:
            lines[method.name] = list(zip(curve["threshold"], curve["miou"], strict=True))
    if not lines:
        return None
    return charts.line_chart(lines, "background score", f"mIoU of seeds, {split} (%)", colours)


def _rounds(methods: list[Method], colours: Colours) -> Canvas | None:
    lines, line_colours = {}, {}
    for method in methods:
        for (step, split), points in method.rounds().items():
            if len(points) > 1:
                name = f"{method.name}: {step_label(step)}, {split}"
                lines[name] = [(number, mean(mious)) for number, mious in points if mious]
                line_colours[name] = colours[method.name]
    return (
        charts.line_chart(lines, "round", "mIoU (%)", line_colours, integer_x=True)
        if lines
        else None
    )


def _costs(comparison: Comparison, methods: list[Method], colours: Colours) -> Canvas | None:
    points = {
        one.method.name: (
            comparison.training_hours(one.method),
            one.estimate.mean,
            None if one.estimate.low is None else one.estimate.mean - one.estimate.low,
        )
        for one in comparison.ranking
        if one.method in methods
    }
    return charts.cost_chart(points, colours, compared_metric(comparison)) if points else None


def _errors(methods: list[Method], errors: dict[str, ErrorBreakdown]) -> Canvas | None:
    shares = {method.name: errors[method.name].share for method in methods if method.name in errors}
    if not shares:
        return None
    return charts.stacked_chart(shares, ERROR_NAMES, "wrong pixels (% of all pixels)")
