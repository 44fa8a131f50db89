"""Refiners turn CAM seeds into refined label scores."""

from wsss_lightning.refiners.base import Refiner

__all__ = ["Refiner"]
