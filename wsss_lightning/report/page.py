"""One HTML page that needs no server and no network; its images in full size are beside it."""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape
from matplotlib.figure import Figure as Canvas

from wsss_lightning.errors import InputError
from wsss_lightning.figures.charts import as_svg
from wsss_lightning.report import tables
from wsss_lightning.report.annotation_cost import SOURCES, Costs
from wsss_lightning.report.comparison import (
    ERROR_NAMES,
    Comparison,
    ErrorBreakdown,
    example_images,
    ranking_of_images,
)
from wsss_lightning.report.images import Example, ImageSource, open_images
from wsss_lightning.report.methods import Method
from wsss_lightning.report.page_charts import MAX_CHARTED, charts_of, compared_metric
from wsss_lightning.report.tiles import Tile
from wsss_lightning.steps.datasets import name_keys
from wsss_lightning.steps.labels import step_label
from wsss_lightning.steps.preview_images import Ranking

EXAMPLES = 6  # images of each split
LONG_WORD = 22  # letters that fit into the first column of a table

ERROR_MEANINGS = {
    "unlabelled": "the prediction abstains",
    "tag": "a class that the image does not show is predicted, or one that it shows is predicted "
    "nowhere",
    "boundary": "within 1 % of the image diagonal of a true boundary",
    "missed": "a part of an object is predicted as background",
    "spill": "background is predicted as a class of the image",
    "confused": "an object is predicted as another class of the image",
}
SUPERVISION = {"masks": "true masks"}  # longer labels than the names in results.json


@dataclass(frozen=True)
class Examples:
    """Images of a split through every step.

    Args:
        order: how they were chosen.
        images: the images.
    """

    order: str
    images: list[Example]


@dataclass(frozen=True)
class Section:
    """Contents of the page on a data set, ready for the template.

    Args:
        comparison: comparison of the methods.
        columns: columns of the score table.
        methods: all, best first.
        metric: metric by which methods are compared.
        charts: by name.
        classes: labels that occur in the compared split.
        class_rows: name and IoU by class of each method.
        errors: errors of each method, by name.
        examples: images through every step, by split.
        worst: for each method, the image with most pixels of each error type.
        legend: colour of each class that is shown.
        colour_bars: colours of each kind of map that is shown, as a CSS gradient.
        notes: warnings.
        omitted: number of methods without charts and images.
    """

    comparison: Comparison
    columns: list[tables.Column]
    methods: list[Method]
    metric: str
    charts: dict[str, Canvas]
    classes: list[str]
    class_rows: list[tuple[str, list[float | None]]]
    errors: dict[str, ErrorBreakdown]
    examples: dict[str, Examples]
    worst: dict[str, list[Tile]]
    legend: dict[str, str]
    colour_bars: dict[str, str]
    notes: list[str]
    omitted: int

    @property
    def curves(self) -> dict[str, Canvas]:
        """Charts of mIoU against the threshold."""
        return {name: chart for name, chart in self.charts.items() if name.startswith("curve_")}

    @property
    def image_files(self) -> set[str]:
        """Names of the files of its images in full size."""
        examples = [one for of_split in self.examples.values() for one in of_split.images]
        rows = [row for example in examples for row in example.all_rows]
        return {tile.full for row in [*rows, *self.worst.values()] for tile in row}


def section(comparison: Comparison, folder: Path) -> Section:
    """Compute the contents of the page on a data set.

    Args:
        comparison: comparison of the methods.
        folder: for images in full size.
    """
    ranked, charted = rank_methods(comparison)
    errors = error_breakdowns(comparison, ranked)
    classes, class_rows = _class_table(comparison, ranked)
    charts = charts_of(comparison, charted, errors)
    source, reason = open_images(comparison.data, folder)
    examples: dict[str, Examples] = {}
    worst: dict[str, list[Tile]] = {}
    if source is not None:
        try:
            examples = _examples(comparison, source, charted)
            worst = _worst(comparison, source, charted)
        except InputError as error:
            comparison.notes.append(f"Some images are missing: {name_keys(str(error))}")
    return Section(
        comparison=comparison,
        columns=tables.columns(comparison),
        methods=ranked,
        metric=compared_metric(comparison),
        charts=charts,
        classes=classes,
        class_rows=class_rows,
        errors=errors,
        examples=examples,
        worst=worst,
        legend={} if source is None else source.legend(),
        colour_bars={} if source is None else source.colour_bars(),
        notes=[*comparison.notes, *([reason] if reason else [])],
        omitted=len(ranked) - len(charted),
    )


def rank_methods(comparison: Comparison) -> tuple[list[Method], list[Method]]:
    """All methods, best first, and those that charts and images show."""
    ranked = [one.method for one in comparison.ranking]
    ranked += [method for method in comparison.data.methods if method not in ranked]
    charted = ranked[:MAX_CHARTED]
    if comparison.baseline not in charted:
        charted = [*charted[:-1], comparison.baseline]
    return ranked, charted


def error_breakdowns(comparison: Comparison, methods: list[Method]) -> dict[str, ErrorBreakdown]:
    """Errors by type of the methods that have pixel counts, by the method's name."""
    if comparison.step is None:
        return {}
    breakdowns = {m.name: comparison.error_breakdown(m, comparison.step) for m in methods}
    return {name: errors for name, errors in breakdowns.items() if errors is not None}


def _class_table(
    comparison: Comparison, methods: list[Method]
) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
    """Classes, and name and IoU by class of each method."""
    if comparison.step is None:
        return [], []
    ious = {method.name: comparison.class_iou(method, comparison.step) for method in methods}
    classes = list(dict.fromkeys(label for of_method in ious.values() for label in of_method))
    rows: list[tuple[str, list[float | None]]] = [
        (name, [of_method.get(label) for label in classes])
        for name, of_method in ious.items()
        if of_method
    ]
    return classes, rows


def _examples(
    comparison: Comparison, source: ImageSource, methods: list[Method]
) -> dict[str, Examples]:
    """Images of each split through every step of each method, the compared split first."""
    data = comparison.data
    examples: dict[str, Examples] = {}
    for split in reversed(data.splits):
        ranking = ranking_of_images(comparison, split)
        if ranking is not None:
            tagged = source.tagged(split)
            known = {name: value for name, value in ranking.values.items() if name in tagged}
            ranking = Ranking(ranking.meaning, known) if known else None
        notes = dict.fromkeys(source.evenly_spaced(split, EXAMPLES), "")
        order = "evenly spaced"
        if ranking is not None:
            notes, order = example_images(ranking, EXAMPLES), f"lowest {ranking.meaning} first"
        examples[split] = Examples(order, source.examples(split, notes, methods))
    return {split: of_split for split, of_split in examples.items() if of_split.images}


def _worst(
    comparison: Comparison, source: ImageSource, methods: list[Method]
) -> dict[str, list[Tile]]:
    """For each method, the image with most pixels of each error type."""
    step = comparison.step
    worst: dict[str, list[Tile]] = {}
    for method in methods:
        counts = [] if step is None else comparison.pixel_counts(method, step)
        if step is not None and counts:
            worst[method.name] = source.worst(method, step, counts[0].wrong, counts[0].names)
    return worst


def page(sections: list[Section], costs: Costs, command: str, folder: str, notes: list[str]) -> str:
    """The whole page.

    Args:
        sections: one for each data set.
        costs: costs of annotation.
        command: command that made the page.
        folder: name of the folder beside the page with its images in full size.
        notes: warnings about the whole page.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"percent": _percent, "points": _points, "tint": _tint, "svg": _svg}
    environment.filters |= {"step_label": step_label, "breakable": _breakable}
    template = environment.from_string(_resource("page.html.j2"))
    return template.render(
        sections=sections,
        costs=costs,
        sources=SOURCES,
        error_names=ERROR_NAMES,
        error_meanings=ERROR_MEANINGS,
        supervision=SUPERVISION,
        caption=tables.CAPTION,
        in_percent=tables.in_percent,
        command=command,
        max_charted=MAX_CHARTED,
        folder=folder,
        # without ./ a name with a colon would be read as a scheme
        address="./" + quote(folder),
        notes=notes,
        script=Markup(_resource("lightbox.js")),
    )


def _resource(name: str) -> str:
    """Text of a file of this package."""
    return files("wsss_lightning.report").joinpath(name).read_text(encoding="utf-8")


def _svg(chart: Canvas, title: str) -> Markup:
    return Markup(as_svg(chart, title))


def _breakable(text: object) -> Markup:
    """Text whose long words may be broken after punctuation."""
    words = [
        re.sub(r"([_=/,.-])", r"\1<wbr>", str(escape(word)))
        if len(word) > LONG_WORD
        else str(escape(word))
        for word in str(text).split(" ")
    ]
    return Markup(" ".join(words))


def _percent(value: float | None) -> str:
    return "" if value is None or value != value else f"{100 * value:.1f}"


def _points(value: float | None) -> str:
    return "" if value is None or value != value else f"{100 * value:+.1f}"


def _tint(value: float | None, most: float = 1.0) -> str:
    """Background of a cell: the higher the value, the darker the blue."""
    if value is None or value != value:
        return ""
    strength = min(max(value / most, 0.0), 1.0) if most > 0 else 0.0
    return f"background: rgba(0, 114, 178, {0.45 * strength:.3f})"
