"""One HTML page that needs no server and no network; beside it, its pictures in full size."""

import re
from dataclasses import dataclass
from importlib.resources import files
from itertools import cycle
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape
from matplotlib.figure import Figure as Canvas

from wsss_lightning.errors import InputError
from wsss_lightning.figures import charts
from wsss_lightning.report import tables
from wsss_lightning.report.annotation_cost import SOURCES, Costs
from wsss_lightning.report.comparison import CAUSES, Comparison, probes
from wsss_lightning.report.pictures import Album, Probe, Tile, album_of
from wsss_lightning.report.runs import Method
from wsss_lightning.steps.datasets import name_keys
from wsss_lightning.steps.labels import step_name
from wsss_lightning.utils.console import track

CHARTED = 12  # methods in charts and pictures, best first; tables have all
PROBES = 6  # images of each split
LONG_WORD = 22  # letters that fit into the first column of a table

CAUSES_TOLD = {
    "unlabelled": "the prediction abstains",
    "tag": "a class that is not there is named, or one that is there is found nowhere",
    "boundary": "within 1 % of the diagonal of a true boundary",
    "missed": "a part of an object is called background",
    "spill": "background is called a class of the image",
    "confused": "an object is called another class of the image",
}


@dataclass(frozen=True)
class Section:
    """What the page shows of a data set, ready for the template."""

    comparison: Comparison
    columns: list[tables.Column]
    methods: list[Method]
    upright: str
    charts: dict[str, Canvas]
    curves: dict[str, Canvas]
    classes: list[str]
    class_rows: list[tuple[str, list[float | None]]]
    anatomies: dict[str, Any]
    probes: dict[str, list[Probe]]
    galleries: dict[str, list[Tile]]
    legend: dict[str, str]
    notes: list[str]
    omitted: int

    @property
    def pictures(self) -> set[str]:
        """Names of the files that have its pictures in full size."""
        rows = [row for probes in self.probes.values() for one in probes for row in one.all_rows]
        return {tile.full for row in [*rows, *self.galleries.values()] for tile in row}


def section(comparison: Comparison, folder: Path) -> Section:
    """Everything of a data set, computed.

    Args:
        comparison: of its methods.
        folder: for pictures in full size.
    """
    data, step = comparison.data, comparison.step
    ranked, charted = _ranked(comparison)
    anatomies = _anatomies(comparison, ranked)
    class_rows, classes = [], []
    if step is not None:
        ious = {method.name: comparison.class_iou(method, step) for method in ranked}
        classes = list(dict.fromkeys(label for found in ious.values() for label in found))
        class_rows = [
            (name, [found.get(label) for label in classes]) for name, found in ious.items() if found
        ]
    drawn = _charts(comparison, charted, anatomies)
    album, why = album_of(data, folder)
    shown, galleries, legend = _pictures(comparison, album, charted)
    notes = [*comparison.notes, *([why] if why else [])]
    return Section(
        comparison=comparison,
        columns=tables.columns(comparison),
        methods=ranked,
        upright=_upright(comparison),
        charts=drawn,
        curves={name: chart for name, chart in drawn.items() if name.startswith("curve_")},
        classes=classes,
        class_rows=class_rows,
        anatomies=anatomies,
        probes=shown,
        galleries=galleries,
        legend=legend,
        notes=notes,
        omitted=len(ranked) - len(charted),
    )


def charts_of(comparison: Comparison) -> dict[str, Canvas]:
    """The charts of a data set alone, by name."""
    _, charted = _ranked(comparison)
    return _charts(comparison, charted, _anatomies(comparison, charted))


def _ranked(comparison: Comparison) -> tuple[list[Method], list[Method]]:
    """All methods, best first, and those that charts and pictures show."""
    ranked = [judged.method for judged in comparison.judged]
    ranked += [method for method in comparison.data.methods if method not in ranked]
    charted = ranked[:CHARTED]
    if comparison.baseline not in charted:
        charted = [*charted[:-1], comparison.baseline]
    return ranked, charted


def _anatomies(comparison: Comparison, methods: list[Method]) -> dict[str, Any]:
    if comparison.step is None:
        return {}
    found = {method.name: comparison.anatomy(method, comparison.step) for method in methods}
    return {name: anatomy for name, anatomy in found.items() if anatomy is not None}


def _upright(comparison: Comparison) -> str:
    step = comparison.step
    return "" if step is None else f"mIoU of {step_name(step[0])}, {step[1]} (%)"


def _charts(
    comparison: Comparison, methods: list[Method], anatomies: dict[str, Any]
) -> dict[str, Canvas]:
    data = comparison.data
    made: dict[str, Canvas] = {}
    colours = dict(zip((m.name for m in methods), cycle(charts.COLOURS), strict=False))
    stepwise = {
        m.name: {
            (step_name(step), split): mean(m.values((step, split))) for step, split in m.steps()
        }
        for m in methods
    }
    if any(stepwise.values()):
        made["steps"] = charts.steps_chart(stepwise, data.splits)
    for split in data.splits:
        curves = {m.name: _curve(comparison, m, split) for m in methods}
        lines = {
            name: list(zip(curve["threshold"], curve["miou"], strict=True))
            for name, curve in curves.items()
            if curve
        }
        if lines:
            made[f"curve_{split}"] = charts.line_chart(
                lines, "background score", f"mIoU of seeds, {split} (%)", colours
            )
    rounds, of_lines = {}, {}
    for method in methods:
        for (step, split), points in method.rounds().items():
            if len(points) > 1:
                name = f"{method.name}: {step_name(step)}, {split}"
                rounds[name] = [(r, mean(v)) for r, v in points if v]
                of_lines[name] = colours[method.name]
    if rounds:
        made["rounds"] = charts.line_chart(rounds, "round", "mIoU (%)", of_lines, integer_x=True)
    spent = {
        judged.method.name: (
            comparison.hours_learnt_from(judged.method),
            judged.figure.mean,
            None if judged.figure.low is None else judged.figure.mean - judged.figure.low,
        )
        for judged in comparison.judged
        if judged.method in methods
    }
    if spent:
        made["cost"] = charts.cost_chart(spent, colours, _upright(comparison))
    there = {m.name: anatomies[m.name].share for m in methods if m.name in anatomies}
    if there:
        made["anatomy"] = charts.stacked_chart(there, CAUSES, "wrong pixels (% of all)")
    return made


def _curve(comparison: Comparison, method: Method, split: str) -> dict[str, list[float]] | None:
    try:
        return method.runs[0].curve(split)
    except InputError as error:
        comparison.notes.append(f"The curve of {method.name} is left out: {error}")
        return None


def _pictures(
    comparison: Comparison, album: Album | None, methods: list[Method]
) -> tuple[dict[str, list[Probe]], dict[str, list[Tile]], dict[str, str]]:
    data, step = comparison.data, comparison.step
    if album is None:
        return {}, {}, {}
    shown: dict[str, list[Probe]] = {}
    galleries: dict[str, list[Tile]] = {}
    try:
        for split in reversed(data.splits):
            final = step or ("segmentation", split)
            if split != final[1]:
                final = ("segmentation" if final[1] == data.train else final[0], split)
            ranked = probes(comparison.difficulty(final), PROBES)
            chosen = [(name, f"mean mIoU {100 * value:.0f}") for name, value in ranked]
            chosen = chosen or [(name, "") for name in album.evenly_spaced(split, PROBES)]
            shown[split] = [
                album.probe(name, split, about, methods)
                for name, about in track(chosen, len(chosen), "pictures")
            ]
        for method in methods:
            tallies = [] if step is None else comparison.tallies(method, step)
            if step is not None and tallies:
                galleries[method.name] = album.worst(
                    method, step, tallies[0].wrong, tallies[0].names
                )
    except InputError as error:
        comparison.notes.append(f"Pictures are not complete: {name_keys(str(error))}")
    return {k: v for k, v in shown.items() if v}, galleries, album.legend()


def page(sections: list[Section], costs: Costs, command: str, folder: str, notes: list[str]) -> str:
    """The whole page.

    Args:
        sections: one of each data set.
        costs: of annotation.
        command: that made it.
        folder: name of the folder beside the page that holds its pictures in full size.
        notes: what a reader must know of all data sets.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"percent": _percent, "points": _points, "tint": _tint, "svg": _svg}
    environment.filters |= {"step_name": step_name, "breakable": _breakable}
    template = environment.from_string(
        files("wsss_lightning.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    )
    return template.render(
        sections=sections,
        costs=costs,
        sources=SOURCES,
        causes=CAUSES,
        told=CAUSES_TOLD,
        caption=tables.CAPTION,
        shown=tables.shown,
        command=command,
        charted=CHARTED,
        folder=folder,
        # a name with a colon would be read as a scheme
        address="./" + quote(folder),
        notes=notes,
    )


def _svg(chart: Canvas, title: str) -> Markup:
    return Markup(charts.as_svg(chart, title))


def _breakable(text: object) -> Markup:
    """A name whose long words a line may break behind their marks."""
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
    """Background of a cell: the higher, the bluer."""
    if value is None or value != value:
        return ""
    strength = min(max(value / most, 0.0), 1.0) if most > 0 else 0.0
    return f"background: rgba(0, 114, 178, {0.45 * strength:.3f})"
