"""A chart of figures over rounds."""

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

# Okabe & Ito's colours, which the colour blind can tell apart
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 86, 86))
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 34, 46
FINER = 2  # drawn larger by this and then reduced: smooth lines
GREY = (200, 200, 200)


def line_chart(
    points: Mapping[str, Sequence[Sequence[float]]], title: str, width: int = 640, height: int = 400
) -> Image.Image:
    """Lines through (round, figure) points, figures in percent, names of lines below.

    Args:
        points: of each line, by its name; at least one point in all.
        title: above the chart.
        width, height: pixels.
    """
    every = [point for line in points.values() for point in line]
    xs, ys = [float(x) for x, _ in every], [100 * float(y) for _, y in every]
    first, last = math.floor(min(xs)), max(math.ceil(max(xs)), math.floor(min(xs)) + 1)
    step = _step(max(ys) - min(ys))
    low, high = step * math.floor(min(ys) / step), step * (math.floor(max(ys) / step) + 1)
    page = Image.new("RGB", (width * FINER, height * FINER), "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(13 * FINER)

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - first) / (last - first) * (width - LEFT - RIGHT)
        down = TOP + (high - y) / (high - low) * (height - TOP - BOTTOM)
        return across * FINER, down * FINER

    draw.text((LEFT * FINER, 8 * FINER), title, fill="black", font=font)
    for i in range(round((high - low) / step) + 1):
        level = low + i * step
        draw.line([at(first, level), at(last, level)], fill=GREY, width=1)
        _, down = at(first, level)
        draw.text(
            (LEFT * FINER - 8 * FINER, down), f"{level:g}", fill="black", font=font, anchor="rm"
        )
    every_nth = math.ceil((last - first) / 12)
    for number in range(first, last + 1, every_nth):
        across, down = at(number, low)
        draw.text((across, down + 5 * FINER), str(number), fill="black", font=font, anchor="mt")
    end = ((width - RIGHT) * FINER, (height - 14) * FINER)
    draw.text(end, "round", fill="black", font=font, anchor="rm")
    left = float(LEFT * FINER)
    for i, (name, line) in enumerate(points.items()):
        colour = COLOURS[i % len(COLOURS)]
        track = [at(float(x), 100 * float(y)) for x, y in line]
        if len(track) > 1:
            draw.line(track, fill=colour, width=2 * FINER, joint="curve")
        for x, y in track:
            r = 3 * FINER
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        below = (height - 14) * FINER
        draw.rectangle((left, below - 5 * FINER, left + 14 * FINER, below + 1), fill=colour)
        draw.text((left + 20 * FINER, below - 2 * FINER), name, "black", font=font, anchor="lm")
        left += 20 * FINER + draw.textlength(name, font=font) + 18 * FINER
    return page.resize((width, height), Image.Resampling.LANCZOS)


def _step(extent: float) -> float:
    """1, 2 or 5 times a power of ten that cuts an extent into some five parts."""
    rough = max(extent, 1e-3) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
