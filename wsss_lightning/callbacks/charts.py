"""Charts of figures in [0, 1], shown in percent."""

import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from wsss_lightning.data.scores import write_whole

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
BESIDE = 0.06  # between marks of equal cost, as a share of it
Points = Sequence[Sequence[float]]


def steps_chart(
    methods: Mapping[str, Mapping[tuple[str, str], float]], splits: tuple[str, str]
) -> Canvas:
    """From step to step of each method: mIoU on both splits, small multiples.

    Args:
        methods: of each, mIoU in [0, 1] by (step, split).
        splits: names of the training and the validation split.
    """
    columns = min(2, len(methods))
    rows = -(-len(methods) // columns)
    canvas, axes = _axes(rows, columns, 4.4 * columns, 2.4 * rows + 0.4)
    most = max((len({step for step, _ in found}) for found in methods.values()), default=1)
    highest = max((v for found in methods.values() for v in found.values()), default=1.0)
    for ax, (name, found) in zip(axes, methods.items(), strict=False):
        steps = list(dict.fromkeys(step for step, _ in found))
        for i, (split, colour) in enumerate(zip(splits, COLOURS, strict=False)):
            there = [x for x, step in enumerate(steps) if (step, split) in found]
            heights = [100 * found[steps[x], split] for x in there]
            bars = ax.bar([x + 0.4 * i - 0.2 for x in there], heights, 0.38, color=colour)
            ax.bar_label(bars, fmt="%.0f", fontsize=9, color="#444")
        ax.set_title(name, fontsize=11, loc="left", fontweight="bold")
        ax.set_xticks(range(len(steps)), [step.replace("_", "\n") for step in steps], fontsize=9)
        ax.set_ylim(0, 115 * highest)
        ax.set_xlim(-0.6, most - 0.4)  # bars of all methods are as wide
        ax.grid(axis="x", visible=False)
    for ax in axes[len(methods) :]:
        ax.set_visible(False)
    handles = [mpl.patches.Patch(color=colour) for colour in COLOURS[:2]]
    canvas.legend(handles, splits, frameon=False, fontsize=9, loc="outside upper left", ncols=2)
    return canvas


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
        ax.plot(xs, ys, dash, label=name, linewidth=1.8, marker=marker, color=colours[name])
    ax.set_xlabel(across)
    ax.set_ylabel(upright)
    if whole:
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    _legend(ax, len(lines))
    return canvas


def cost_chart(
    points: Mapping[str, tuple[float, float, float | None]],
    colours: Mapping[str, str],
    upright: str,
) -> Canvas:
    """mIoU against hours of annotation; methods that cost the same stand side by side.

    Args:
        points: of each method, hours, mIoU in [0, 1], and half its interval where known.
        colours: of each method.
        upright: which mIoU.
    """
    canvas, (ax,) = _axes(1, 1, 7.2, 4.2)
    beside: dict[float, list[str]] = {}
    for name, (spent, _, _) in points.items():
        beside.setdefault(spent, []).append(name)
    for i, (name, (spent, value, half)) in enumerate(points.items()):
        place = beside[spent].index(name) - (len(beside[spent]) - 1) / 2
        reach = 0.0 if half is None else half
        ends = [[100 * min(reach, value)], [100 * min(reach, 1 - value)]]
        ax.errorbar(
            spent * (1 + BESIDE * place),
            100 * value,
            yerr=None if half is None else ends,
            fmt=MARKERS[i // len(COLOURS) % len(MARKERS)],
            markersize=8,
            capsize=3,
            color=colours[name],
            label=name,
        )
    every = [spent for spent, _, _ in points.values()]
    if min(every) > 0 and max(every) / min(every) > 5:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        ax.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    ax.set_xlabel("hours of annotation")
    ax.set_ylabel(upright)
    _legend(ax, len(points))
    return canvas


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
    left = [0.0] * len(names)
    for i, part in enumerate(parts):
        widths = [100 * methods[name][i] for name in names]
        ax.barh(names, widths, 0.66, left=left, color=COLOURS[i % len(COLOURS)], label=part)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    ax.invert_yaxis()
    ax.set_xlabel(across)
    ax.grid(axis="y", visible=False)
    ax.legend(frameon=False, fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return canvas


def as_svg(canvas: Canvas, title: str) -> str:
    """Text to stand inside a page: as wide as that allows, and readable aloud."""
    text = io.StringIO()
    with mpl.rc_context(STYLE):
        canvas.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', drawn, count=1)
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def save_chart(canvas: Canvas, path: Path) -> None:
    """As PNG."""
    with mpl.rc_context(STYLE):
        write_whole(
            path,
            lambda file: canvas.savefig(file, format="png", dpi=110, metadata={"Software": None}),
        )


def _axes(rows: int, columns: int, width: float, height: float) -> tuple[Canvas, list]:
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(width, height), layout="constrained")
        return canvas, list(canvas.subplots(rows, columns, squeeze=False).flat)


def _legend(ax: mpl.axes.Axes, count: int) -> None:
    beside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if count > 4 else {"loc": "best"}
    ax.legend(frameon=False, fontsize=9, **beside)
