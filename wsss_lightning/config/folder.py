"""Location of the configuration files."""

from pathlib import Path


def conf_folder() -> Path:
    """`conf/` of a checkout, or the one inside the installed package."""
    package = Path(__file__).parents[1]
    inside, beside = package / "conf", package.parent / "conf"
    return inside if inside.is_dir() else beside
