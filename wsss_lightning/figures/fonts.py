"""The font of captions and legends."""

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont


@cache
def caption_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib; Pillow's own font lacks most letters with accents.

    Args:
        size: in pixels.
    """
    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)
