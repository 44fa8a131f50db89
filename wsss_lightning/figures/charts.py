"""Charts of metrics in [0, 1], shown in percent."""

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

# Okabe and Ito's palette, which is distinguishable with colour blindness
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
    "svg.hashsalt": "wsss_lightning",  # makes the SVG text deterministic
    "text.parse_math": False,  # names may contain `$`
}
MARKERS = "osD^vP*X"
DASHES = ("-", ":", "--", "-.")
LABEL = 26  # characters per line of a name next to a chart
TICK = 12  # characters per line of a tick label
Points = Sequence[Sequence[float]]


@mpl.rc_context(STYLE)
def steps_chart(
    methods: Mapping[str, Mapping[tuple[str, str], float]], splits: Sequence[str]
) -> Canvas:
    """Bar charts of the mIoU of every step, one chart per method.

    Args:
        methods: mIoU in [0, 1] by (step, split), for each method.
        splits: one or two.
    """
    most = max((len({step for step, _ in values}) for values in methods.values()), default=1)
    columns = min(2 if most < 8 else 1, len(methods))
    rows = -(-len(methods) // columns)
    width = 4.4 * columns if most < 8 else max(8.8, 0.4 * most)
    canvas, axes = _axes(rows, columns, width, 2.4 * rows + 0.4)
    highest = max((v for values in methods.values() for v in values.values()), default=1.0)
    for ax, (name, values) in zip(axes, methods.items(), strict=False):
        steps = list(dict.fromkeys(step for step, _ in values))
        for i, (split, colour) in enumerate(zip(splits, COLOURS, strict=False)):
            positions = [x for x, step in enumerate(steps) if (step, split) in values]
            heights = [100 * values[steps[x], split] for x in positions]
            offset = 0.4 * (i - (len(splits) - 1) / 2)
            bars = ax.bar([x + offset for x in positions], heights, 0.38, color=colour)
            ax.bar_label(bars, fmt="%.0f", fontsize=9, color="#444")
        title = _plain(textwrap.fill(name, 44))
        ax.set_title(title, fontsize=11, loc="left", fontweight="bold")
        if most > 4:
            rotated = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"}
            ax.set_xticks(
                range(len(steps)), [_plain(step) for step in steps], fontsize=9, **rotated
            )
        else:
            ticks = [_plain(textwrap.fill(step, TICK)) for step in steps]
            ax.set_xticks(range(len(steps)), ticks, fontsize=9)
        ax.set_ylim(0, 115 * highest)
        ax.set_xlim(-0.6, most - 0.4)  # equal width of bars in all charts
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
    x_label: str,
    y_label: str,
    colours: Mapping[str, str] | None = None,
    integer_x: bool = False,
) -> Canvas:
    """Line chart.

    Args:
        lines: points (x, y) of each line, y in [0, 1].
        x_label, y_label: of the axes.
        colours: colour of each line; lines of the same colour differ in their dashes.
        integer_x: label the x axis with integers only, and mark the points.
    """
    canvas, (ax,) = _axes(1, 1, 7.2, 3.8)
    colours = colours or dict(zip(lines, cycle(COLOURS), strict=False))
    drawn: list[str] = []
    for name, points in lines.items():
        xs, ys = [x for x, _ in points], [100 * y for _, y in points]
        dash = DASHES[drawn.count(colours[name]) % len(DASHES)]
        drawn.append(colours[name])
        marker = "o" if integer_x else None
        label, colour = _plain(name), colours[name]
        ax.plot(xs, ys, dash, label=label, linewidth=1.8, marker=marker, color=colour)
    ax.set_xlabel(_plain(x_label))
    ax.set_ylabel(_plain(y_label))
    if integer_x:
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    _legend(ax, len(lines))
    return canvas


@mpl.rc_context(STYLE)
def cost_chart(
    points: Mapping[str, tuple[float, float, float | None]],
    colours: Mapping[str, str],
    y_label: str,
) -> Canvas:
    """Scatter chart of mIoU against hours of annotation.

    Points of the same cost may overlap. Each further marker and error bar is therefore smaller and
    thinner, and a line connects each point with the name of its method.

    Args:
        points: hours, mIoU in [0, 1] and half the width of its interval (None: unknown), for each
            method.
        colours: colour of each method.
        y_label: which mIoU is shown.
    """
    lines = {name: textwrap.fill(name, LABEL) for name in points}
    height = sum(1 + text.count("\n") for text in lines.values())
    canvas, (ax,) = _axes(1, 1, 7.2, max(4.2, 0.6 + 0.19 * height))
    drawn: dict[float, int] = {}  # number of points with this cost
    for i, (name, (hours, value, half)) in enumerate(points.items()):
        depth = min(drawn.setdefault(hours, 0), 4)
        drawn[hours] += 1
        width = 0.0 if half is None else half
        ends = [[100 * min(width, value)], [100 * min(width, 1 - value)]]
        ax.errorbar(
            hours,
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
    all_hours = [hours for hours, _, _ in points.values()]
    if min(all_hours) > 0 and max(all_hours) / min(all_hours) > 5:
        ax.set_xscale("log")
        subs = (1, 2, 5) if max(all_hours) / min(all_hours) < 1000 else (1,)
        ax.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=subs))
        ax.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        ax.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    ax.margins(x=0.08)
    ax.set_xlabel("hours of annotation")
    ax.set_ylabel(_plain(y_label))
    _name_beside(ax, points, lines, colours)
    return canvas


def _name_beside(
    ax: mpl.axes.Axes,
    points: Mapping[str, tuple[float, float, float | None]],
    lines: Mapping[str, str],
    colours: Mapping[str, str],
) -> None:
    """Write the names of points to the right of the axes, ordered by height."""
    order = sorted(points, key=lambda name: -points[name][1])
    room = np.array([1 + lines[name].count("\n") for name in order], float)
    low, high = ax.get_ylim()
    wanted = np.array([(100 * points[name][1] - low) / (high - low) for name in order])
    places = _spread(wanted, room / max(room.sum(), 21))
    for name, place in zip(order, places.tolist(), strict=True):
        hours, value, _ = points[name]
        ax.annotate(
            _plain(lines[name]),
            (hours, 100 * value),
            (1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": colours[name], "lw": 1.2, "alpha": 0.7},
        )


def _spread(wanted: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Positions in [0, 1] close to the wanted ones, which descend, without overlap.

    Args:
        wanted: desired positions, highest first.
        room: height of each item.
    """
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
    methods: Mapping[str, Sequence[float]], parts: Sequence[str], x_label: str
) -> Canvas:
    """Stacked bar chart, one bar per method.

    Args:
        methods: shares in [0, 1] of the parts, for each method.
        parts: names of the parts.
        x_label: what the shares refer to.
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
    ax.set_xlabel(x_label)
    ax.grid(axis="y", visible=False)
    ax.legend(frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return canvas


def as_svg(canvas: Canvas, title: str) -> str:
    """SVG text to embed in an HTML page, scaled to its width.

    Args:
        canvas: the chart.
        title: for screen readers.
    """
    text = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # browsers have fonts for the glyphs that matplotlib lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        metadata = {"Date": None, "Creator": None}
        canvas.savefig(text, format="svg", transparent=True, metadata=metadata)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)


def save_chart(canvas: Canvas, path: Path) -> None:
    """Save as PNG."""
    with mpl.rc_context(STYLE):
        write_atomically(
            path,
            lambda file: canvas.savefig(file, format="png", dpi=110, metadata={"Software": None}),
        )


def _axes(rows: int, columns: int, width: float, height: float) -> tuple[Canvas, list]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    return canvas, list(canvas.subplots(rows, columns, squeeze=False).flat)


def _plain(text: str) -> str:
    """Text that matplotlib shows as is: legends hide names that begin with an underscore."""
    return re.sub(r"^_", "\u200b_", text)


def _legend(ax: mpl.axes.Axes, count: int) -> None:
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if count > 4 else {"loc": "best"}
    ax.legend(frameon=False, fontsize=9, **beside)
