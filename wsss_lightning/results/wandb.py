"""What W&B is told of a whole pipeline run, beside the runs of its trainings.

All of it is read from the run's folder, so that it can be told at any time behind the run. Nothing
of wandb is imported unless `logger=wandb` is chosen.
"""

import hashlib
import importlib.util
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.metrics import score_parts
from wsss_lightning.steps.config_nodes import settings_of
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.previews import evenly_spaced, preview_row, tag_names
from wsss_lightning.steps.runtime import WANDB_RUN
from wsss_lightning.utils.console import console
from wsss_lightning.utils.files import write_json

RECORD = "wandb_results.json"  # id of the results' run, and what was logged there last
# parameters of Lightning's logger that `wandb.init` does not have, or that are set here
OF_LOGGER: tuple[str, ...] = (
    "_target_",
    "_partial_",
    "name",
    "save_dir",
    "version",
    "offline",
    "dir",
    "id",
)
OF_LOGGER += ("anonymous", "log_model", "experiment", "prefix", "checkpoint_name")
OF_LOGGER += ("add_file_policy", "job_type", "config", "mode", "resume")
# an agent's, by which it knows the one run that it waits for: that of the results
OF_SWEEP = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")
CURVE = ("threshold", "miou", "precision", "recall")
LAST = ("segmentation_crf", "segmentation", "pseudo", "seeds")  # what bars are drawn of

_sweep: dict[str, str] = {}


def name_runs(cfg: DictConfig, folder: Path) -> None:
    """Give all W&B runs of a pipeline run their group and tags, if W&B is chosen.

    Args:
        folder: of the run; a digest of its name tells runs of the same experiment apart.

    Raises:
        InputError: W&B cannot be used as chosen.
    """
    node = cfg.logger.get("wandb")
    if node is None:
        return
    if importlib.util.find_spec("wandb") is None:
        raise InputError(
            "logger=wandb needs the package wandb; install it by "
            'pip install "wsss-lightning[wandb]", or choose logger=csv.'
        )
    _sweep.update({key: os.environ.pop(key) for key in OF_SWEEP if key in os.environ})
    if _mode(node) == "online":
        _log_in()
    if node.group is None:
        digest = hashlib.sha256(f"{folder.parent.name}/{folder.name}".encode()).hexdigest()
        node.group = f"{cfg.name}-{cfg.data.name}-seed{cfg.seed}-{digest[:4]}"
    node.tags = [cfg.name, cfg.data.name, learner(cfg), f"seed {cfg.seed}", *node.tags]
    ours = {"experiment": cfg.name, "learner": learner(cfg), "seed": cfg.seed}
    node.config = {**ours, "data": {"name": cfg.data.name}, **node.config}


def learner(cfg: DictConfig) -> str:
    """The method's name, or the pipeline's where no method learns from tags."""
    pipeline = cfg.pipeline._target_.rpartition(".")[2]
    return (
        cfg.method._target_.split(".")[-2] if pipeline in ("image_labels", "sc_cam") else pipeline
    )


def log_results(
    cfg: DictConfig, folder: Path, results: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """One W&B run of job type `results`, whose summary is the scores, if W&B is chosen.

    Its id is kept in the run's folder: the same command overwrites it where anything has changed,
    and does nothing where nothing has.

    Args:
        results: content of `results.json`.
        settings: composed configuration, but for how a run is made and watched.

    Raises:
        InputError: W&B did not take them.
    """
    node = cfg.logger.get("wandb")
    if node is None:
        return
    stages, scores = records_of(folder, results["seconds"]), results["scores"]
    trainings = trainings_of(stages)
    config = {**settings_of(node.config), **settings, "trainings": trainings}
    config |= {key: results[key] for key in ("protocol", "versions", "seconds")}
    how = {key: value for key, value in settings_of(node).items() if key not in OF_LOGGER}
    how |= {"name": f"{node.group}/results", "mode": _mode(node), "config": config}
    what = [how, scores, [path.name for path, _ in stages.values()]]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
    held: dict[str, Any] = {"id": secrets.token_hex(4), "logged": None}
    if (folder / RECORD).is_file():
        held = json.loads((folder / RECORD).read_text())
    if held["logged"] == digest:
        return
    number = _sweep.get("WANDB_RUN_ID", held["id"])
    write_json(folder / RECORD, {"id": number, "logged": None})
    with _began(how, number, folder) as run, _data_below(folder / "wandb"):
        run.log({**scores, **shown(cfg.data, stages, scores)})
    write_json(folder / RECORD, {"id": number, "logged": digest})
    if _mode(node) == "offline":
        names = ",".join([".", *trainings])
        console.print(
            f"W&B       wandb sync {folder}/{{{names}}}/wandb/offline-run-*",
            soft_wrap=True,
            markup=False,
        )


@contextmanager
def _began(how: Mapping[str, Any], number: str, folder: Path) -> Iterator[Any]:
    """The run of results; not resumed: what an earlier one of this id holds is overwritten."""
    import wandb

    sweep = _sweep.get("WANDB_SWEEP_ID")
    own = None if sweep is None else wandb.Settings(sweep_id=sweep)
    try:
        with wandb.init(**how, id=number, job_type="results", dir=folder, settings=own) as run:
            yield run
    except wandb.errors.Error as error:
        raise InputError(
            f"the scores are in {folder}/results.json, but W&B did not take them ({error}); the "
            "same command tells them once more, and WANDB_MODE=offline keeps them for wandb sync."
        ) from error


Stages = Mapping[str, tuple[Path, Mapping[str, Any]]]


def records_of(folder: Path, names: Mapping[str, float]) -> Stages:
    """Folder and `stage.json` of each stage of a run, by name."""
    folders = {name: (folder / name).resolve() for name in names}
    return {
        name: (path, json.loads((path / "stage.json").read_text()))
        for name, path in folders.items()
    }


def shown(data: DictConfig, stages: Stages, scores: Mapping[str, float]) -> dict[str, Any]:
    """Tables, charts and pictures of a run, by the key under which they are logged."""
    import wandb

    found: dict[str, Any] = {}
    for name, (path, record) in stages.items():
        if name.startswith("pictures/"):
            pages = sorted(path.glob("*.png"))
            found[name] = [wandb.Image(str(page), caption=page.stem) for page in pages]
        if record["work"] == "previews":
            key = f"probes/{name.removeprefix('pictures/')}"
            found[key] = wandb.Table(**probes(data, path.parent, record["inputs"]))
    classes = per_class(scores)
    if classes:
        found["per_class_iou"] = wandb.Table(["step", "split", "class", "iou"], classes)
        for split in sorted({row[1] for row in classes}):
            last = next(step for step in LAST if any(row[:2] == [step, split] for row in classes))
            own = [row[2:] for row in classes if row[:2] == [last, split]]
            found[f"per_class_iou/{split}"] = wandb.plot.bar(
                wandb.Table(["class", "iou"], own),
                "class",
                "iou",
                title=f"IoU of each class, {last}/{split}",
            )
    curves = threshold_curves(stages)
    if curves:
        rows = [[*key.rsplit("/", 1), *point] for key, points in curves.items() for point in points]
        found["threshold_curve"] = wandb.Table(["step", "split", *CURVE], rows)
        lines = {key: list(zip(*points, strict=True)) for key, points in curves.items()}
        found["threshold_curve/miou"] = wandb.plot.line_series(
            [list(line[0]) for line in lines.values()],
            [list(line[1]) for line in lines.values()],
            keys=list(lines),
            title="mIoU of seeds over the background threshold",
            xname="threshold",
        )
    return found


def probes(data: DictConfig, store: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Columns and rows of a table: the images of a picture sheet, through every step.

    Args:
        store: of all stages.
        inputs: of the stage `gallery` that made the sheet.
    """
    import wandb

    reader = datasets_of(data)(split=inputs["split"])
    seeds = None if inputs["seeds"] is None else store / inputs["seeds"]
    steps = {heading: store / masks for heading, masks in inputs["steps"].items()}
    columns: list[str | int] = ["name", "tags"]
    rows = []
    for i in evenly_spaced(len(reader), inputs["count"]):
        pictures, _ = preview_row(reader, i, seeds, steps)
        columns[2:] = list(pictures)
        shots = [wandb.Image(picture, file_type="jpg") for picture in pictures.values()]
        rows.append([reader.names[i], tag_names(reader, i), *shots])
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
    """Points (`CURVE`) of the seeds of each `<step>/<split>` that was scored."""
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
    """Ids of the W&B runs of trainings; those of stages that were found are of another group."""
    stored = {name: path / WANDB_RUN for name, (path, _) in stages.items()}
    return {name: path.read_text() for name, path in stored.items() if path.is_file()}


def _mode(node: DictConfig) -> str:
    said = "offline" if node.offline else os.environ.get("WANDB_MODE", "online")
    return {"dryrun": "offline", "run": "online"}.get(said, said)  # W&B's older words


def _log_in() -> None:
    """Ask for the account before the first stage, not amid the run."""
    import wandb

    try:
        wandb.login()
    except wandb.errors.Error as error:
        raise InputError(
            f"W&B did not let us in ({error}); run wandb login, set the environment variable "
            "WANDB_API_KEY, or go without an account: WANDB_MODE=offline."
        ) from error


@contextmanager
def _data_below(folder: Path) -> Iterator[None]:
    """Have W&B keep the images of tables here, not in the user's home, until they are synced."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = before or str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_DATA_DIR"]
