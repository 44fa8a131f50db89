"""metrics.json: the scores of a step."""

import json
from collections.abc import Mapping
from pathlib import Path

from wsss_lightning.utils.files import write_json

Metrics = dict[str, float]


def save_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Write the metrics; NaN (the mean of no values) is left out."""
    write_json(
        folder / "metrics.json", {key: value for key, value in metrics.items() if value == value}
    )


def load_metrics(folder: Path) -> Metrics:
    """The metrics of a step; those that could not be computed are left out."""
    stored = json.loads((folder / "metrics.json").read_text())
    return {key: value for key, value in stored.items() if value is not None}
