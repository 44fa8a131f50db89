"""Tables of published runs: official settings with their sources, and our differences."""

from wsss_lightning.recipes.comparison import Difference, differences, record, summary
from wsss_lightning.recipes.schema import (
    NOT_PUBLISHED,
    Fact,
    Hardware,
    Recipe,
    Repository,
    Score,
    Setting,
)
from wsss_lightning.recipes.tables import read_recipe, recipe_names

__all__ = [
    "NOT_PUBLISHED",
    "Difference",
    "Fact",
    "Hardware",
    "Recipe",
    "Repository",
    "Score",
    "Setting",
    "differences",
    "read_recipe",
    "recipe_names",
    "record",
    "summary",
]
