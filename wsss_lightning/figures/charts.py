"""Charts of figures in [0, 1], shown in percent."""

import html
import io
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Canvas

from wsss_lightning.utils.files import write_atomically

# Okabe & Ito's colours, which the colour blind can tell apart
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#565656")
STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "axes.edgecolor": "#9aa3ad",
    "svg.hashsalt": "wsss_lightning",  # the same chart is the same text
    "text.parse_math": False,  # names of data sets and classes may hold `$`
}
MARKERS = "osD^vP*X"
DASHES = ("-", ":", "--", "-.")
LABEL = 26  # letters of a line of a name that stands beside a chart
TICK = 12  # letters of a line below an axis
Points = Sequence[Sequence[float]]


@mpl.rc_context(STYLE)
def steps_chart(
    methods: Mapping[str, Mapping[tuple[str, str], float]], splits: Sequence[str]
) -> Canvas:
    """From step to step of each method: mIoU on each split, small multiples.

    Args:
        methods: of each, mIoU in [0, 1] by (name of the step, split).
        splits: one or two.
    """
    most = max((len({step for step, _ in found}) for found in methods.values()), default=1)
    columns = min(2 if most < 8 else 1, len(methods))
    rows = -(-len(methods) // columns)
    width = 4.4 * columns if most < 8 else max(8.8, 0.4 * most)
    canvas, axes = _axes(rows, columns, width, 2.4 * rows + 0.4)
    highest = max((v for found in methods.values() for v in found.values()), default=1.0)
    for ax, (name, found) in zip(axes, methods.items(), strict=False):
        steps = list(dict.fromkeys(step for step, _ in found))
        for i, (split, colour) in enumerate(zip(splits, COLOURS, strict=False)):
            there = [x for x, step in enumerate(steps) if (step, split) in found]
            heights = [100 * found[steps[x], split] for x in there]
            place = 0.4 * (i - (len(splits) - 1) / 2)
            bars = ax.bar([x + place for x in there], heights, 0.38, color=colour)
            ax.bar_label(bars, fmt="%.0f", fontsize=9, color="#444")
        title = _plain(textwrap.fill(name, 44))
        ax.set_title(title, fontsize=11, loc="left", fontweight="bold")
        if most > 4:
            turned = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"}
            ax.set_xticks(range(len(steps)), [_plain(step) for step in steps], fontsize=9, **turned)
        else:
            ticks = [_plain(textwrap.fill(step, TICK)) for step in steps]
            ax.set_xticks(range(len(steps)), ticks, fontsize=9)
        ax.set_ylim(0, 115 * highest)
        ax.set_xlim(-0.6, most - 0.4)  # bars of all methods are as wide
        ax.grid(axis="x", visible=False)
    for ax in axes[len(methods) :]:
        ax.set_visible(False)
    handles = [mpl.patches.Patch(color=colour) for colour in COLOURS[: len(splits)]]
    names = [_plain(split) for split in splits]
    canvas.legend(handles, names, frameon=False, fontsize=9, loc="outside upper left", ncols=2)
    return canvas


@mpl.rc_context(STYLE)
def line_chart(
    lines: Mapping[str, Points],
    across: str,
    upright: str,
    colours: Mapping[str, str] | None = None,
    whole: bool = False,
) -> Canvas:
    """Lines through points.

    Args:
        lines: points of each line, by its name.
        across, upright: what the axes show.
        colours: of each line; those that share one differ in their dashes.
        whole: only whole numbers stand below (rounds).
    """
    canvas, (ax,) = _axes(1, 1, 7.2, 3.8)
    colours = colours or dict(zip(lines, cycle(COLOURS), strict=False))
    drawn: list[str] = []
    for name, points in lines.items():
        xs, ys = [x for x, _ in points], [100 * y for _, y in points]
        dash = DASHES[drawn.count(colours[name]) % len(DASHES)]
        drawn.append(colours[name])
        marker = "o" if whole else None
        label, colour = _plain(name), colours[name]
        ax.plot(xs, ys, dash, label=label, linewidth=1.8, marker=marker, color=colour)
    ax.set_xlabel(_plain(across))
    ax.set_ylabel(_plain(upright))
    if whole:
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    _legend(ax, len(lines))
    return canvas


@mpl.rc_context(STYLE)
def cost_chart(
    points: Mapping[str, tuple[float, float, float | None]],
    colours: Mapping[str, str],
    upright: str,
) -> Canvas:
    """mIoU against hours of annotation, each method at the hours that it cost.

    Methods of the same cost stand above each other and may cover each other. They differ in their
    markers, each smaller than the one below it, in the width of their error bars, and by a line
    to their names.

    Args:
        points: of each method, hours, mIoU in [0, 1], and half its interval where known.
        colours: of each method.
        upright: which mIoU.
    """
    lines = {name: textwrap.fill(name, LABEL) for name in points}
    height = sum(1 + text.count("\n") for text in lines.values())
    canvas, (ax,) = _axes(1, 1, 7.2, max(4.2, 0.6 + 0.19 * height))
    below: dict[float, int] = {}  # methods that were drawn at these hours
    for i, (name, (spent, value, half)) in enumerate(points.items()):
        depth = min(below.setdefault(spent, 0), 4)
        below[spent] += 1
        reach = 0.0 if half is None else half
        ends = [[100 * min(reach, value)], [100 * min(reach, 1 - value)]]
        ax.errorbar(
            spent,
            100 * value,
            yerr=None if half is None else ends,
            fmt=MARKERS[i % len(MARKERS)],
            markersize=11 - 1.2 * depth,
            markeredgecolor="white",
            markeredgewidth=0.8,
            elinewidth=3.2 - 0.6 * depth,
            capsize=7 - depth,
            color=colours[name],
            zorder=3 + 0.01 * i,
        )
    every = [spent for spent, _, _ in points.values()]
    if min(every) > 0 and max(every) / min(every) > 5:
        ax.set_xscale("log")
        subs = (1, 2, 5) if max(every) / min(every) < 1000 else (1,)
        ax.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=subs))
        ax.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        ax.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    ax.margins(x=0.08)
    ax.set_xlabel("hours of annotation")
    ax.set_ylabel(_plain(upright))
    _name_beside(ax, points, lines, colours)
    return canvas


def _name_beside(
    ax: mpl.axes.Axes,
    points: Mapping[str, tuple[float, float, float | None]],
    lines: Mapping[str, str],
    colours: Mapping[str, str],
) -> None:
    """Names of points in a column right of the axes, in the order of their heights."""
    order = sorted(points, key=lambda name: -points[name][1])
    room = np.array([1 + lines[name].count("\n") for name in order], float)
    low, high = ax.get_ylim()
    wanted = np.array([(100 * points[name][1] - low) / (high - low) for name in order])
    places = _spread(wanted, room / max(room.sum(), 21))
    for name, place in zip(order, places.tolist(), strict=True):
        spent, value, _ = points[name]
        ax.annotate(
            _plain(lines[name]),
            (spent, 100 * value),
            (1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": colours[name], "lw": 1.2, "alpha": 0.7},
        )


def _spread(wanted: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Places near the wanted ones, from the top down, that leave each its room within [0, 1]."""
    places, edge = wanted.copy(), 1.0
    for i, size in enumerate(room):
        places[i] = min(wanted[i], edge - size / 2)
        edge = places[i] - size / 2
    edge = 0.0
    for i in reversed(range(len(room))):
        places[i] = max(places[i], edge + room[i] / 2)
        edge = places[i] + room[i] / 2
    return places


@mpl.rc_context(STYLE)
def stacked_chart(
    methods: Mapping[str, Sequence[float]], parts: Sequence[str], across: str
) -> Canvas:
    """Shares of each method, one bar each.

    Args:
        methods: shares in [0, 1] by part, of each.
        parts: their names.
        across: what the shares are of.
    """
    canvas, (ax,) = _axes(1, 1, 7.2, 1.2 + 0.42 * len(methods))
    names = list(methods)
    rows, left = range(len(names)), [0.0] * len(names)
    for i, part in enumerate(parts):
        widths = [100 * methods[name][i] for name in names]
        ax.barh(rows, widths, 0.66, left=left, color=COLOURS[i % len(COLOURS)], label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    ax.set_yticks(rows, [_plain(textwrap.fill(name, LABEL)) for name in names], fontsize=9)
    ax.invert_yaxis()
    ax.set_xlabel(across)
    ax.grid(axis="y", visible=False)
    ax.legend(frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return canvas


def as_svg(canvas: Canvas, title: str) -> str:
    """Text to stand inside a page: as wide as that allows, and readable aloud."""
    text = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # the browser has fonts for letters that this one lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        metadata = {"Date": None, "Creator": None}
        canvas.savefig(text, format="svg", transparent=True, metadata=metadata)
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', drawn, count=1)
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)


def save_chart(canvas: Canvas, path: Path) -> None:
    """As PNG."""
    with mpl.rc_context(STYLE):
        write_atomically(
            path,
            lambda file: canvas.savefig(file, format="png", dpi=110, metadata={"Software": None}),
        )


def _axes(rows: int, columns: int, width: float, height: float) -> tuple[Canvas, list]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    return canvas, list(canvas.subplots(rows, columns, squeeze=False).flat)


def _plain(text: str) -> str:
    """A name as a legend shows it, which leaves out those that begin with an underscore."""
    return re.sub(r"^_", "\u200b_", text)


def _legend(ax: mpl.axes.Axes, count: int) -> None:
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if count > 4 else {"loc": "best"}
    ax.legend(frameon=False, fontsize=9, **beside)
