"""The table of scores that a run prints when it ends."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from wsss_lightning.evaluation.metrics import score_parts
from wsss_lightning.steps.labels import step_label
from wsss_lightning.utils.console import console, print_plain

METRICS = {
    "map": "mAP of tags",
    "f1": "F1 of tags",
    "miou": "mIoU",
    "miou_labelled": "mIoU of labelled pixels",
    "miou_held_out": "mIoU, held-out threshold",
    "miou_oracle": "mIoU, oracle threshold",
    "kept": "unchanged images",
    "stability": "stability (ARI)",
    "recovery": "agreement with true sub-categories (ARI)",
    "changed": "relabelled pixels",
    "spearman": "rank correlation with true IoU",
    "worst_fifth": "share of the worst fifth that is found",
}
_OMITTED = ("iou_", "threshold", "loss", "coverage", "kept_", "spearman_")


def print_scores(
    title: str,
    scores: Mapping[str, float],
    splits: Sequence[str],
    has_validation: bool,
    seconds: Mapping[str, float],
    folder: Path,
) -> None:
    """Print scores in percent, and the paths of previews, models and results.

    Args:
        title: title of the table.
        scores: by `<step>/<split>/<metric>`.
        splits: columns.
        has_validation: whether the data set has a validation split.
        seconds: duration of each stage.
        folder: folder of the run.
    """
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for key, value in scores.items():
        step, split, metric = score_parts(key)
        if not metric.startswith(_OMITTED):
            rows.setdefault((step, metric), {})[split] = value
    if rows:
        console.print(_table(title, rows, splits))
    if not has_validation:
        console.print("There is no validation split (data.val is null), so none was scored.")
    if not any(metric == "miou" for _, metric in rows):
        print_plain(f"no mIoU: there are no true masks of {' or '.join(splits)}")
    console.print(f"{sum(seconds.values()) / 60:.1f} minutes of work, {len(seconds)} stages")
    # unwrapped, so that a path can be copied
    print_plain(f"previews  {folder / 'pictures'}/*/*.png")
    if any(folder.glob("models/*/model.safetensors")):
        print_plain(f"models    {folder}/models/*/model.safetensors")
    print_plain(f"results   {folder}/results.json")


def _table(
    title: str, rows: Mapping[tuple[str, str], Mapping[str, float]], splits: Sequence[str]
) -> Table:
    table = Table(title=escape(title), min_width=len(title))
    table.add_column("")
    for split in splits:
        table.add_column(escape(split), justify="right")
    for (step, metric), values in rows.items():
        cells = (f"{100 * values[split]:.1f}" if split in values else "" for split in splits)
        table.add_row(escape(f"{step_label(step)} {METRICS.get(metric, metric)}"), *cells)
    return table
