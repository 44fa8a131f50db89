"""Logs a finished run to W&B, in addition to the W&B runs of its trainings.

Everything is read from the run's folder, so a run can be logged at any time after it ends. wandb is
imported only if `logger=wandb` is chosen.
"""

import hashlib
import importlib.util
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from wsss_lightning.data.supervision import Supervision
from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.metrics import score_parts
from wsss_lightning.results.schema import Results
from wsss_lightning.steps.config_nodes import settings_of
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.labels import step_info
from wsss_lightning.steps.preview_images import (
    StepFolders,
    evenly_spaced,
    preview_row,
    stored_probabilities,
)
from wsss_lightning.steps.previews import tag_names
from wsss_lightning.steps.runtime import WANDB_RUN
from wsss_lightning.utils.console import print_plain
from wsss_lightning.utils.files import write_json

RECORD = "wandb_results.json"  # id of the W&B run of the results, and a digest of its content
# arguments of Lightning's logger that `wandb.init` lacks or this module sets
LOGGER_ARGUMENTS: tuple[str, ...] = (
    "_target_",
    "_partial_",
    "name",
    "save_dir",
    "version",
    "offline",
    "dir",
    "id",
)
LOGGER_ARGUMENTS += ("anonymous", "log_model", "experiment", "prefix", "checkpoint_name")
LOGGER_ARGUMENTS += ("add_file_policy", "job_type", "config", "mode", "resume")
# environment variables of a W&B agent, which waits for the run of the results
AGENT_VARIABLES = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")
OPTIONAL = ("seeds", "marginals", "probabilities")  # inputs of the step `previews`
CURVE = ("threshold", "miou", "precision", "recall")

_sweep: dict[str, str] = {}


def name_runs(cfg: DictConfig, folder: Path, supervision: Supervision) -> None:
    """Set group and tags of all W&B runs of a pipeline run, if W&B is chosen.

    Args:
        cfg: composed configuration; its W&B node is changed.
        folder: folder of the run; a digest of its name distinguishes runs of the same experiment.
        supervision: supervision of the pipeline.

    Raises:
        InputError: wandb is not installed, or W&B rejects the login.
    """
    node = cfg.logger.get("wandb")
    if node is None:
        return
    if importlib.util.find_spec("wandb") is None:
        raise InputError(
            "logger=wandb needs the package wandb. Install it with "
            'pip install "wsss-lightning[wandb]", or choose logger=csv.'
        )
    _sweep.update({key: os.environ.pop(key) for key in AGENT_VARIABLES if key in os.environ})
    if _mode(node) == "online":
        _log_in()
    if node.group is None:
        digest = hashlib.sha256(f"{folder.parent.name}/{folder.name}".encode()).hexdigest()
        node.group = f"{cfg.name}-{cfg.data.name}-seed{cfg.seed}-{digest[:4]}"
    learner = learner_name(cfg, supervision)
    node.tags = [cfg.name, cfg.data.name, learner, f"seed {cfg.seed}", *node.tags]
    generated = {"experiment": cfg.name, "learner": learner, "seed": cfg.seed}
    node.config = {**generated, "data": {"name": cfg.data.name}, **node.config}


def learner_name(cfg: DictConfig, supervision: Supervision) -> str:
    """Name of the method that makes seeds, or of the pipeline if it makes none."""
    if supervision.uses_seeds:
        *packages, last, _ = cfg.method._target_.split(".")
        return packages[-1] if last == "module" else last  # methods/seam/module.py is seam
    return cfg.pipeline._target_.rpartition(".")[2]


def log_results(
    cfg: DictConfig, folder: Path, results: Results, settings: Mapping[str, Any]
) -> None:
    """Log a W&B run of job type `results`, whose summary is the scores, if W&B is chosen.

    The id of the W&B run is kept in the run's folder: repeating the command overwrites the W&B run
    if anything changed, and does nothing otherwise.

    Args:
        cfg: composed configuration.
        folder: folder of the run.
        results: content of `results.json`.
        settings: composed configuration, without keys that change no result.

    Raises:
        InputError: W&B rejected the run.
    """
    node = cfg.logger.get("wandb")
    if node is None:
        return
    stages, scores = records_of(folder, results.seconds), results.scores
    trainings = trainings_of(stages)
    config = {**settings_of(node.config), **settings, "trainings": trainings}
    config |= {key: asdict(results)[key] for key in ("protocol", "versions", "seconds")}
    arguments = {k: v for k, v in settings_of(node).items() if k not in LOGGER_ARGUMENTS}
    arguments |= {"name": f"{node.group}/results", "mode": _mode(node), "config": config}
    content = [arguments, scores, [path.name for path, _ in stages.values()]]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    record: dict[str, Any] = {"id": secrets.token_hex(4), "logged": None}
    if (folder / RECORD).is_file():
        record = json.loads((folder / RECORD).read_text())
    if record["logged"] == digest:
        return
    run_id = _sweep.get("WANDB_RUN_ID", record["id"])
    write_json(folder / RECORD, {"id": run_id, "logged": None})
    with _open_run(arguments, run_id, folder) as run, _data_dir(folder / "wandb"):
        run.log({**scores, **tables_and_charts(cfg.data, stages, scores)})
    write_json(folder / RECORD, {"id": run_id, "logged": digest})
    if _mode(node) == "offline":
        names = ",".join([".", *trainings])
        print_plain(f"W&B       wandb sync {folder}/{{{names}}}/wandb/offline-run-*")


@contextmanager
def _open_run(arguments: Mapping[str, Any], run_id: str, folder: Path) -> Iterator[Any]:
    """The W&B run of the results; an earlier one with this id is overwritten, not resumed."""
    import wandb

    sweep = _sweep.get("WANDB_SWEEP_ID")
    settings = None if sweep is None else wandb.Settings(sweep_id=sweep)
    try:
        with wandb.init(
            **arguments, id=run_id, job_type="results", dir=folder, settings=settings
        ) as run:
            yield run
    except wandb.errors.Error as error:
        raise InputError(
            f"The scores are in {folder}/results.json, but W&B rejected them ({error}). Repeat the "
            "command to log them again, or set WANDB_MODE=offline and use wandb sync later."
        ) from error


Stages = Mapping[str, tuple[Path, Mapping[str, Any]]]


def records_of(folder: Path, names: Mapping[str, float]) -> Stages:
    """Folder and `stage.json` of each stage of a run, by name."""
    folders = {name: (folder / name).resolve() for name in names}
    return {
        name: (path, json.loads((path / "stage.json").read_text()))
        for name, path in folders.items()
    }


def tables_and_charts(
    data: DictConfig, stages: Stages, scores: Mapping[str, float]
) -> dict[str, Any]:
    """Tables, charts and images of a run, by the key under which they are logged.

    Args:
        data: configuration of the data set.
        stages: folder and record of each stage, by name.
        scores: by `<step>/<split>/<metric>`.
    """
    return {**_images(data, stages), **_class_charts(scores), **_threshold_charts(stages)}


def _images(data: DictConfig, stages: Stages) -> dict[str, Any]:
    """Preview pages as images, and a table with the images of each page."""
    import wandb

    logged: dict[str, Any] = {}
    for name, (path, record) in stages.items():
        if name.startswith("pictures/"):
            pages = sorted(path.glob("*.png"))
            logged[name] = [wandb.Image(str(page), caption=page.stem) for page in pages]
        if record["work"] == "previews":
            key = f"probes/{name.removeprefix('pictures/')}"
            logged[key] = wandb.Table(**preview_table(data, path.parent, record["inputs"]))
    return logged


def _class_charts(scores: Mapping[str, float]) -> dict[str, Any]:
    """Table of all per-class scores, and for each split a bar chart of its last step."""
    import wandb

    rows = per_class(scores)
    if not rows:
        return {}
    logged: dict[str, Any] = {"per_class_iou": wandb.Table(["step", "split", "class", "iou"], rows)}
    for split in sorted({row[1] for row in rows}):
        last = last_step([row[0] for row in rows if row[1] == split])
        ious = [row[2:] for row in rows if row[:2] == [last, split]]
        logged[f"per_class_iou/{split}"] = wandb.plot.bar(
            wandb.Table(["class", "iou"], ious),
            "class",
            "iou",
            title=f"IoU of each class, {last}/{split}",
        )
    return logged


def last_step(steps: Iterable[str]) -> str:
    """The last of these steps in the order of a pipeline; a step of a round only if all are."""
    return max(steps, key=lambda step: ("/" not in step, step_info(step).order, step))


def _threshold_charts(stages: Stages) -> dict[str, Any]:
    """Table and line chart of mIoU against the background threshold."""
    import wandb

    curves = threshold_curves(stages)
    if not curves:
        return {}
    rows = [[*key.rsplit("/", 1), *point] for key, points in curves.items() for point in points]
    lines = {key: list(zip(*points, strict=True)) for key, points in curves.items()}
    return {
        "threshold_curve": wandb.Table(["step", "split", *CURVE], rows),
        "threshold_curve/miou": wandb.plot.line_series(
            [list(line[0]) for line in lines.values()],
            [list(line[1]) for line in lines.values()],
            keys=list(lines),
            title="mIoU of seeds against the background threshold",
            xname="threshold",
        ),
    }


def preview_table(data: DictConfig, store: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Columns and rows of a table: evenly spaced images of a preview after every step.

    Args:
        data: configuration of the data set.
        store: folder of all stages.
        inputs: inputs of the step `previews` that made the page.
    """
    import wandb

    dataset = datasets_of(data)(split=inputs["split"])
    folders = {key: store / name for key, name in inputs.items() if key in OPTIONAL and name}
    steps = StepFolders(
        {heading: store / masks for heading, masks in inputs["steps"].items()},
        folders.get("seeds"),
        folders.get("marginals"),
        stored_probabilities(folders.get("probabilities")),
    )
    columns: list[str | int] = ["name", "tags"]
    rows = []
    # the same images and columns in every run, so that tables of runs can be compared
    for i in evenly_spaced(len(dataset), inputs["count"]):
        row, _ = preview_row(dataset, i, steps)
        columns[2:] = list(row)
        images = [
            wandb.Image(
                np.concatenate([tile.image for tile in cell], axis=1),
                caption="; ".join(tile.label for tile in cell) or None,
                file_type="jpg",
            )
            for cell in row.values()
        ]
        rows.append([dataset.names[i], tag_names(dataset, i), *images])
    return {"columns": columns, "data": rows}


def per_class(scores: Mapping[str, float]) -> list[list[Any]]:
    """Step, split, class and IoU of every per-class score."""
    rows = []
    for key, value in scores.items():
        step, split, metric = score_parts(key)
        if metric.startswith("iou_"):
            rows.append([step, split, metric.removeprefix("iou_"), value])
    return rows


def threshold_curves(stages: Stages) -> dict[str, list[tuple[float, ...]]]:
    """Values of `CURVE` at each threshold, by `<step>/<split>` of the seeds that were scored."""
    curves = {}
    for name, (path, record) in stages.items():
        stored = path / "curve.json"
        if record["work"] == "evaluate_seeds" and stored.is_file():
            step = name.rpartition("/")[0].removesuffix("_miou")
            points = json.loads(stored.read_text())
            columns = (points[column] for column in CURVE)
            curves[f"{step}/{record['inputs']['split']}"] = list(zip(*columns, strict=True))
    return curves


def trainings_of(stages: Stages) -> dict[str, str]:
    """Ids of the W&B runs of trainings; those of reused stages belong to another group."""
    stored = {name: path / WANDB_RUN for name, (path, _) in stages.items()}
    return {name: path.read_text() for name, path in stored.items() if path.is_file()}


def _mode(node: DictConfig) -> str:
    mode = "offline" if node.offline else os.environ.get("WANDB_MODE", "online")
    return {"dryrun": "offline", "run": "online"}.get(mode, mode)  # former names of W&B's modes


def _log_in() -> None:
    """Ask for the account before the first stage starts."""
    import wandb

    try:
        wandb.login()
    except wandb.errors.Error as error:
        raise InputError(
            f"W&B rejected the login ({error}). Run wandb login, set the environment variable "
            "WANDB_API_KEY, or work without an account: WANDB_MODE=offline."
        ) from error


@contextmanager
def _data_dir(folder: Path) -> Iterator[None]:
    """Have W&B keep unsynced images of tables in this folder instead of the user's home."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = before or str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
