"""Boxes and ellipses as rings.

Letters: n points.
"""

import numpy as np
from jaxtyping import Float

ELLIPSE_POINTS = 96


def box(x0: float, y0: float, x1: float, y1: float) -> Float[np.ndarray, "4 2"]:
    """Corners of a box, given two opposite ones."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Float[np.ndarray, "n 2"]:
    """Points of an ellipse around (x, y)."""
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_POINTS, endpoint=False)
    return np.stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle)], axis=1)


def rotated(
    ring: Float[np.ndarray, "n 2"], degrees: float, centre: tuple[float, float] | None = None
) -> Float[np.ndarray, "n 2"]:
    """A ring rotated clockwise as seen on the screen.

    Args:
        ring: points.
        degrees: angle.
        centre: fixed point; None: the middle of the ring.
    """
    middle = ring.mean(axis=0) if centre is None else np.array(centre)
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return (ring - middle) @ np.array([[cos, sin], [-sin, cos]]) + middle
