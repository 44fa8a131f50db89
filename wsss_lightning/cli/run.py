"""The command line: compose, check, run a pipeline, write results.json, return the objective.

What is heavy is imported when a run starts, so that help and slips are answered at once.
"""

import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Container, Iterable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from yaml import YAMLError

from wsss_lightning.cli.config_files import check_files
from wsss_lightning.cli.error_messages import check_overrides, check_sweep, explain, repeated
from wsss_lightning.cli.options import expand_user, group_names, options, user_config_dirs
from wsss_lightning.cli.overrides import (
    as_typed,
    exists,
    expand_home,
    parsed,
    read_overrides,
    split_options,
)
from wsss_lightning.cli.run_names import announce_sweep
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.config.ranges import check_seeds, check_values
from wsss_lightning.config.splits import normalise_splits, splits_of
from wsss_lightning.config.targets import check_targets
from wsss_lightning.errors import InputError
from wsss_lightning.recipes import Difference, Recipe, differences, read_recipe, record, summary
from wsss_lightning.steps.labels import step_name
from wsss_lightning.utils import interrupts, machine_errors

if TYPE_CHECKING:
    from wsss_lightning.cache.stage_cache import StageCache
    from wsss_lightning.data.report import TrainTestScale

console = Console()

PACKAGES: tuple[str, ...] = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "hydra-core",
    "torchmetrics",
    "timm",
)
PACKAGES += (
    "segmentation-models-pytorch",
    "pydensecrf2",
    "opencv-python-headless",
    "numpy",
    "wsss-lightning",
)


def main() -> None:
    """Entry of `python -m wsss_lightning` and of the console script."""
    words = sys.argv[1:]
    if {"--help", "-h"} & set(words):
        print_help()
        return
    if "--version" in words:
        print(f"wsss-lightning {metadata.version('wsss-lightning')}")
        return
    for word in words:
        if re.match(r"[^=]*api_?key[^=]*=", word, re.IGNORECASE):
            fail(
                f"{word.split('=')[0]} is a secret, and what stands on the command line is stored "
                "beside the results; set the environment variable WANDB_API_KEY, or run wandb "
                "login."
            )
    command(words, job)


def command(words: list[str], work: Callable[[DictConfig], object]) -> None:
    """Compose a configuration of these words and do the work with it; slips end with exit code 1.

    Args:
        words: overrides and options of Hydra, as typed.
        work: what is done with the configuration, once or for each job of a sweep.
    """
    # threads that spin while they wait stop each other on busy or virtual cores: 5 times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Hydra's own report hides which word was wrong, so we report
    os.environ["HYDRA_FULL_ERROR"] = "1"
    given, overrides = split_options(words)
    kept = Path.cwd()  # folders above the run's own that were there before
    try:
        check_overrides(words)
        check_files(user_config_dirs([*given, *overrides]))
        given, overrides = read_overrides(given, overrides)
        kept = check_runs_folder(overrides)
        check_sweep(given, overrides)
        for note in repeated(overrides):
            print(f"note: {note}", file=sys.stderr)
        # of all its jobs, so that the same command finds the same folder
        announce_sweep(overrides)
        words = sys.argv[1:] = [*given, *overrides]
        with interrupts.watched():
            start(partial(in_folder, work=work, kept=kept))
    except (InputError, HydraException, OmegaConfBaseException, YAMLError) as error:
        fail(end_of_sweep(kept) or answer(error, words))
    except (KeyboardInterrupt, interrupts.Interrupted):
        end_of_sweep(kept)
        interrupts.leave()
    except Exception as error:
        told = end_of_sweep(kept) or machine_errors.told(error)
        if not told:  # a defect; of a sweep's jobs, tracebacks are beside their results
            raise
        fail(told)
    else:
        told = end_of_sweep(kept)
        if told:  # fewer than a sweeper's max_failure_rate
            print(f"\n{told}", file=sys.stderr)


def start(work: Callable[[DictConfig], object]) -> None:
    """Have Hydra compose the configuration and call `work` with it."""

    def task(cfg: DictConfig) -> object:  # Hydra reads the file name of a function
        return work(cfg)

    hydra.main(config_path=str(conf_folder()), config_name="config", version_base="1.3")(task)()


def in_folder(cfg: DictConfig, work: Callable[[DictConfig], object], kept: Path) -> object:
    """Do the work; of one that fails before its first stage, no folder remains.

    Args:
        kept: this folder and those above it are never removed.
    """
    now = HydraConfig.get()
    expand_home(cfg)
    try:
        return work(cfg)
    except BaseException:
        if now.mode != RunMode.MULTIRUN:  # a sweep's jobs keep a record of how they ended
            remove_unused(Path(now.runtime.output_dir), kept, {str(now.output_subdir)})
        raise


def remove_unused(folder: Path, kept: Path, ignored: Container[str] = ()) -> None:
    """Remove a folder below `kept` that holds nothing but `ignored`, and what then is empty."""
    if kept not in folder.parents or not folder.is_dir():
        return
    if any(path.name not in ignored for path in folder.iterdir()):
        return
    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.parents:
        if parent == kept or kept not in parent.parents or any(parent.iterdir()):
            return
        parent.rmdir()


def answer(error: Exception, words: Iterable[str]) -> str:
    """What is said of an error that the user can mend."""
    slip = cause_of(error)
    if slip is not None:
        return plain(slip)
    if isinstance(error, YAMLError):
        return f"a configuration file does not parse as YAML; mend it there:\n{error}"
    return explain(error, words)


def check_runs_folder(overrides: Iterable[str]) -> Path:
    """Whether runs can be written where the overrides say.

    Returns:
        The nearest folder that is there already.

    Raises:
        InputError: they cannot.
    """
    given = [parsed(word) for word in overrides if word.lstrip("+").startswith("output_dir=")]
    value = given[-1] if given else "runs"
    text = value.text if isinstance(value, QuotedString) else value
    if not isinstance(text, str) or ("${" in text and not exists(text)):  # a sweep, a reference
        return Path.cwd()
    if not text.strip():
        raise InputError("output_dir is empty; give the folder of all runs, as in output_dir=DIR.")
    runs = Path(expand_user(text)).absolute()
    if "${" in str(runs):
        raise InputError(
            f"output_dir is {runs}, but ${{ begins a reference in the configuration; rename the folder, "
            "or start from another and name folders by output_dir=DIR."
        )
    try:
        present = next(place for place in (runs, *runs.parents) if place.exists())
        if present.is_dir():
            with tempfile.TemporaryDirectory(dir=present):
                return present
        cause = f"{present} is a file"
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
    raise InputError(
        f"output_dir is {runs}, but no folder can be made there ({cause}); choose another by output_dir=DIR."
    )


def end_of_sweep(kept: Path) -> str:
    """Print what became of the jobs of the sweep that ran, if one did.

    Args:
        kept: as of `in_folder`; a sweep that had no job leaves no folder.

    Returns:
        Which jobs failed and why; empty where none did.
    """
    from wsss_lightning.cli.sweep import Sweeps, tell

    if Sweeps.folder is None:
        return ""
    folder, Sweeps.folder = Sweeps.folder, None
    remove_unused(folder, kept, {"multirun.yaml"})
    failed = tell(folder) if folder.is_dir() else []
    if not failed:
        return ""
    causes = "\n".join(f"  job {job['number']}: {job['cause']}" for job in failed)
    return (
        f"{len(failed)} jobs of the sweep failed; the same command does those again, and no "
        f"other:\n{causes}"
    )


def options_first(words: list[str]) -> list[str]:
    """Hydra's own options before all KEY=VALUE words, which its parser takes in one piece only."""
    given, overrides = split_options(words)
    return given + overrides


def cause_of(error: BaseException | None) -> InputError | None:
    """The InputError below an error; Hydra puts its own around whatever a constructor raises."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__
    return error


def plain(error: InputError) -> str:
    """The message; one that comes from a worker process holds a traceback before it."""
    told = str(error)
    told = told.rpartition("InputError: ")[2].strip() if "Traceback (most" in told else told
    if "`" in told:  # a parameter of the data set
        from wsss_lightning.steps.datasets import name_keys

        told = name_keys(told)
    return told


def fail(message: str) -> None:
    """Print what the user can mend, and end with exit code 1."""
    console.file.flush()
    print(f"\nerror: {message}", file=sys.stderr)
    sys.exit(1)


def job(cfg: DictConfig) -> float | None:
    """A run, alone or as one of a sweep's, which may have been done before.

    Returns:
        mIoU of the segmentation network on val (behind the CRF, where there is one), the objective
        of sweeps; None if not scored.
    """
    from wsss_lightning.cli.sweep import recorded

    now = HydraConfig.get()
    folder = Path(now.runtime.output_dir)
    if now.mode != RunMode.MULTIRUN:
        place(cfg)
        return experiment(cfg, folder)
    with recorded(folder, now.overrides.task) as record:
        record["devices"] = place(cfg)
        record["objective"] = experiment(cfg, folder, again=False)
    return record["objective"]


def place(cfg: DictConfig) -> list[int] | None:
    """Take devices for this process, once all values are checked; None where there are no slots."""
    from wsss_lightning.cli.sweep import take_slot

    check_values(cfg)
    return take_slot(cfg.device_groups, cfg.trainer.accelerator)


def experiment(cfg: DictConfig, folder: Path, again: bool = True) -> float | None:
    """From a composed configuration to `results.json`.

    Args:
        folder: for results, and links to stages.
        again: look at every stage, and show the table, even where results of the same data,
            configuration and code are there.

    Returns:
        As `job`.
    """
    from hydra.utils import instantiate

    from wsss_lightning.cache.stage_cache import StageCache
    from wsss_lightning.cli.check_networks import check_networks, fetch_weights, resolve_statistics
    from wsss_lightning.cli.sweep import SWEEP
    from wsss_lightning.data.supervision import TAGS
    from wsss_lightning.pipelines.base import runtime_of, supervision_of
    from wsss_lightning.pipelines.scored_splits import check_benchmark
    from wsss_lightning.results.wandb import log_results, name_runs
    from wsss_lightning.steps.check_data import check_data
    from wsss_lightning.steps.config_nodes import crf_settings
    from wsss_lightning.training.trainer import check_trainer
    from wsss_lightning.utils.files import write_json

    store = Path(cfg.output_dir) / "stages"
    trainer_digest = check_trainer(cfg.trainer, batch_sizes(cfg))
    check_targets(cfg, without=("data",))
    resolve_statistics(cfg)
    check_networks(cfg, tags=supervision_of(cfg.pipeline) is TAGS)
    for kernels in (cfg.crf, cfg.test_crf):
        crf_settings(kernels)
    checked_data(cfg)
    published = published_run(cfg)
    digest = check_data(cfg.data, supervision_of(cfg.pipeline), sights(cfg))
    benchmark = check_benchmark(cfg)
    check_objective(cfg)
    salt = f"{digest}-{trainer_digest}"
    # jobs of one start of a sweep may share what they made
    start = None if cfg.resume else secrets.token_hex(8) if again else os.environ[SWEEP]
    run = StageCache(
        folder=folder,
        store=store.absolute(),
        seed=cfg.seed,
        data_digest=salt,
        session=start,
        runtime=runtime_of(cfg),
    )
    where = os.path.relpath(folder)
    console.print(
        f"[bold]{escape(cfg.name)}[/] on {escape(cfg.data.name)}, seed {cfg.seed}",
        escape(f"→ {where}"),
        soft_wrap=True,
    )
    if published is not None:
        console.print(summary(*published), markup=False, soft_wrap=True)
    name_runs(cfg, folder)
    written, key = folder / "results.json", digest_of(cfg, salt + benchmark)
    if not again and cfg.resume:
        held = found_results(written)
        if held.get("key") == key:
            console.print("[dim]found, with its results: nothing to do[/]")
            log_results(cfg, folder, held, settings(cfg))
            return objective(cfg, held["scores"])
    fetch_weights(cfg, tags=supervision_of(cfg.pipeline) is TAGS)
    scores = instantiate(cfg.pipeline)(cfg, run)
    recipe = None if published is None else record(*published)
    found = {**results(cfg, run, scores, recipe), "key": key}
    write_json(written, found)
    show(cfg, scores, run)
    log_results(cfg, folder, found, settings(cfg))
    return objective(cfg, scores)


def published_run(cfg: DictConfig) -> tuple[Recipe, list[Difference]] | None:
    """The published run that the configuration names, and where the configuration differs from it.

    None where it names none.

    Raises:
        InputError: there is no table of the run.
    """
    name = OmegaConf.select(cfg, "recipe")
    if name is None:
        return None
    recipe = read_recipe(name)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return recipe, differences(recipe, plain)


def found_results(written: Path) -> dict[str, Any]:
    """What a former run left; nothing where there is none, or it is damaged."""
    try:
        return json.loads(written.read_text())
    except (OSError, ValueError):
        return {}


def checked_data(cfg: DictConfig) -> None:
    """Generate what is to be generated, and look at what the data's node would build."""
    from hydra.utils import instantiate

    normalise_splits(cfg.data)
    if "generate" in cfg.data:
        if cfg.data.root is not None:
            raise InputError(
                f"data.root is {cfg.data.root}, but data={cfg.data.name} generates its images; "
                "choose data=voc_layout, or a file of your own, to read a folder."
            )
        check_seeds(OmegaConf.create({"data": {"generate": cfg.data.generate}}))
        console.print(f"[dim]generated data: {escape(cfg.data.name)}[/]")
        check_targets(OmegaConf.create({"data": {"generate": cfg.data.generate}}))
        cfg.data.root = str(instantiate(cfg.data.generate))
    check_targets(OmegaConf.create({"data": cfg.data}))


def batch_sizes(cfg: DictConfig) -> dict[str, int]:
    """Batch size of each network that a run trains, by its key."""
    from wsss_lightning.data.supervision import TAGS
    from wsss_lightning.pipelines.base import supervision_of

    schedules = {"fit.segmenter": cfg.pipeline.get("segment", True)}
    if supervision_of(cfg.pipeline) is TAGS:
        schedules |= {"fit.method": True, "refine.schedule": "schedule" in cfg.refine}
    sizes = {
        f"{name}.batch_size": OmegaConf.select(cfg, f"{name}.batch_size")
        for name, trained in schedules.items()
        if trained
    }
    return {key: size for key, size in sizes.items() if size is not None}


def sights(cfg: DictConfig) -> "list[TrainTestScale]":
    """In which sizes the run's networks learn and see, where training fixes sizes in pixels."""
    from wsss_lightning.data.report import TrainTestScale
    from wsss_lightning.data.supervision import TAGS
    from wsss_lightning.pipelines.base import supervision_of

    used = {"segmenter": "test"} if cfg.pipeline.get("segment", True) else {}
    if supervision_of(cfg.pipeline) is TAGS:
        used = {"method": "cam"} | used
    return [
        TrainTestScale(
            f"fit.{part}.long_side",
            tuple(cfg.fit[part].long_side),
            f"{use}.long_side",
            cfg[use].long_side,
            cfg[use].scales,
        )
        for part, use in used.items()
        if cfg.fit[part].long_side is not None
    ]


def objective(cfg: DictConfig, scores: dict[str, float]) -> float | None:
    """What a sweeper maximises; None where the network was not scored on a validation split."""
    if cfg.data.val is None:
        return None
    last = "segmentation_crf" if cfg.test.crf else "segmentation"
    return scores.get(f"{last}/{cfg.data.val}/miou")


def check_objective(cfg: DictConfig) -> None:
    """Refuse a sweeper that maximises a score which no job of the sweep will have.

    Raises:
        InputError: there is no validation split, it has no true masks, or no segmentation network
            is trained.
    """
    from wsss_lightning.steps.datasets import datasets_of

    now = HydraConfig.get()
    sweeper = now.sweeper._target_.rpartition(".")[2]
    if now.mode != RunMode.MULTIRUN or sweeper == "BasicSweeper":
        return
    if not cfg.pipeline.get("segment", True):
        reason = "pipeline.segment is false; set it to true, or choose pipeline=tags"
    elif cfg.data.val is None:
        reason = "data.val is null; set it to a split with true masks"
    elif not datasets_of(cfg.data)(cfg.data.val).has_masks():
        reason = f"data.val is {cfg.data.val}, which has no true mask; set data.dataset.mask_dir"
    else:
        return
    raise InputError(
        f"{sweeper} maximises the mIoU of the segmentation network on the validation split, but "
        f"{reason}, or list the values with -m and Hydra's basic sweeper."
    )


def digest_of(cfg: DictConfig, salt: str) -> str:
    """Of all that results depend on: data, configuration and code, but not where a run is made."""
    from wsss_lightning.cache.code_digest import CodeGraph, targets_in
    from wsss_lightning.cache.stage_cache import by_content

    plain = settings(cfg)
    # the pipeline is among the targets, and with it the functions of all its steps
    code = CodeGraph().digest(results, targets_in(plain))
    content = json.dumps([by_content(plain), salt, code], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def settings(cfg: DictConfig) -> dict[str, Any]:
    """The composed configuration, without the keys that change no number."""
    from wsss_lightning.training.trainer import arguments_that_count

    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    plain["trainer"] = arguments_that_count(plain["trainer"])
    return {key: value for key, value in plain.items() if key not in NON_SEMANTIC_KEYS}


# keys that say how a run is made and watched, not what it finds
NON_SEMANTIC_KEYS = (
    "logger",
    "workers",
    "checkpoint_minutes",
    "resume",
    "output_dir",
    "device_groups",
)


def results(
    cfg: DictConfig, run: "StageCache", scores: dict[str, float], recipe: dict[str, Any] | None
) -> dict[str, Any]:
    """What `results.json` holds.

    Args:
        recipe: the published run that the configuration names, and differences from it.
    """
    from wsss_lightning.cache.code_digest import package_digest

    versions = {"python": platform.python_version(), "code": package_digest()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "experiment": cfg.name,
        "recipe": recipe,
        "data": cfg.data.name,
        "data_digest": run.data_digest.rpartition("-")[0],
        "seed": cfg.seed,
        "scores": dict(sorted(scores.items())),
        "protocol": protocol(cfg),
        "annotation": annotation(cfg),
        "words": [as_typed(word, cfg) for word in HydraConfig.get().overrides.task],
        "reader": OmegaConf.to_container(cfg.data.dataset, resolve=True),
        "seconds": {name: round(value, 2) for name, value in run.seconds.items()},
        "versions": versions,
    }


def protocol(cfg: DictConfig) -> dict[str, Any]:
    """Under which rules the scores were made; a number without them means little."""
    from wsss_lightning.data.supervision import BOXES, MASKS, TAGS
    from wsss_lightning.pipelines.base import supervision_of
    from wsss_lightning.pipelines.scored_splits import every_scored_split
    from wsss_lightning.steps.datasets import datasets_of

    reads = [datasets_of(cfg.data)(split) for split in splits_of(cfg.data)]
    scored = every_scored_split(cfg)
    learns_from = supervision_of(cfg.pipeline)
    weak = learns_from is TAGS
    tags = cfg.data.dataset.tags
    told = {
        "trained_on": learns_from.label if learns_from is MASKS else learns_from.name,
        "splits": {"train": cfg.data.train, "val": cfg.data.val},
        "masks_digest": "-".join(read.mask_fingerprint() for read in reads),
        "scored_on": {
            one.name: {
                "images": len(datasets_of(one.data)(one.name)),
                "masks": one.data.dataset.mask_dir,
            }
            for one in scored
        },
        "tags_from": tags,
        "miou": "one confusion matrix a split, background included, 255 left out, mean over the "
        "labels that the split truly shows",
        "segmentation": {
            "scales": list(cfg.test.scales),
            "flip": cfg.test.flip,
            "long_side": cfg.test.long_side,
            "crf": OmegaConf.to_container(cfg.test_crf, resolve=True) if cfg.test.crf else None,
            "initial_weights": _weights(cfg.segmenter.net),
        },
        "segmentation_begins_with": cfg.fit.segmenter.init_from if weak else "backbone",
        "initial_weights": _weights(cfg.method.net if weak else cfg.segmenter.net),
        "normalisation": {"mean": list(cfg.backbone.mean), "std": list(cfg.backbone.std)},
        "precision": str(cfg.trainer.get("precision")),
    }
    if learns_from is BOXES:
        boxes = cfg.data.dataset.boxes
        return told | {
            "boxes_from": boxes,
            "labels": cfg.box_labels._target_.rpartition(".")[2],
            "relabelled_by": cfg.relabel._target_.rpartition(".")[2],
            "true_masks_of_train": "boxes and scoring" if boxes == "masks" else "scoring only",
        }
    if not weak:
        return told
    return told | {
        "tags_of_seeds": cfg.cam.tags,
        "seeds": {
            "scales": list(cfg.cam.scales),
            "flip": cfg.cam.flip,
            "alignment": cfg.cam.alignment,
            "normalisation": cfg.cam.normalisation,
        },
        "thresholds": {
            "miou": f"fixed at {cfg.seeds.background_score}, over the split",
            "miou_held_out": f"chosen on the masks of a share {cfg.seeds.held_out} of the images "
            "of the split, evenly spread, scored on all others",
            "miou_oracle": "the best for the split's own masks, over the split",
        },
        "true_masks_of_train": "tags and scoring" if tags == "masks" else "scoring only",
    }


def annotation(cfg: DictConfig) -> dict[str, int | None]:
    """What people had to annotate for a run to learn from, in units; 0 where it used none.

    Questions of tags are one for each class of each image. Objects outlined are the boxes of the
    data set where it has them; else None, since masks of classes do not tell objects apart.
    """
    from wsss_lightning.evaluation.metrics import is_held_out
    from wsss_lightning.pipelines.base import supervision_of
    from wsss_lightning.steps.datasets import datasets_of

    learns_from, every = supervision_of(cfg.pipeline), cfg.seeds.held_out
    dataset = datasets_of(cfg.data)
    open_train = partial(dataset, split=cfg.data.train)
    units: dict[str, int | None] = {
        "images": len(open_train(with_masks=False)),
        "tag_questions": 0,
        "boxes": 0,
        "masks": 0,
        "objects_outlined": 0,
        "held_out_masks": 0,
    }
    units |= learns_from.count_units(open_train)
    if learns_from.uses_seeds:
        # thresholds are chosen on each split's own masks; those of the last split are counted
        reads = (dataset(split=split) for split in reversed(splits_of(cfg.data)))
        scored = next((read for read in reads if read.has_masks()), None)
        if scored is not None:
            units["held_out_masks"] = sum(is_held_out(i, every) for i in range(len(scored)))
    return units


def _weights(net: DictConfig) -> str:
    """What a network begins with: a file of all of it or of its backbone, the hub, or nothing."""
    file = net.get("weights") or net.backbone.weights
    if file:
        return Path(file).name
    return "of the hub" if net.backbone.pretrained else "random"


def show(cfg: DictConfig, scores: dict[str, float], run: "StageCache") -> None:
    """The score table, and where pictures and results lie."""
    from wsss_lightning.evaluation.metrics import score_parts
    from wsss_lightning.pipelines.scored_splits import every_scored_split

    title = f"{cfg.name} on {cfg.data.name}, seed {cfg.seed} (percent)"
    table = Table(title=escape(title), min_width=len(title))
    table.add_column("")
    splits = [one.name for one in every_scored_split(cfg)]
    for split in splits:
        table.add_column(escape(split), justify="right")
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for key, value in scores.items():
        step, split, metric = score_parts(key)
        if not metric.startswith(("iou_", "threshold", "loss", "coverage", "kept_")):
            rows.setdefault((step, metric), {})[split] = value
    for (step, metric), values in rows.items():
        cells = (f"{100 * values[s]:.1f}" if s in values else "" for s in splits)
        table.add_row(escape(f"{step_name(step)} {METRICS.get(metric, metric)}"), *cells)
    if rows:
        console.print(table)
    if cfg.data.val is None:
        console.print("no validation split (data.val is null): nothing was scored on one")
    if not any(metric == "miou" for _, metric in rows):
        console.print(f"no mIoU: no true masks of {' or '.join(splits)}", markup=False)
    spent = sum(run.seconds.values())
    console.print(f"{spent / 60:.1f} minutes of work, {len(run.seconds)} stages")
    # a path that is broken over two lines cannot be copied
    console.print(
        f"pictures  {run.folder / 'pictures'}/*/*.png\nresults   {run.folder}/results.json",
        soft_wrap=True,
        markup=False,
    )


METRICS = {
    "map": "mAP of tags",
    "f1": "F1 of tags",
    "miou": "mIoU",
    "miou_labelled": "mIoU of labelled pixels",
    "miou_held_out": "mIoU, held-out threshold",
    "miou_oracle": "mIoU, oracle threshold",
    "kept": "images left as they were",
    "stability": "stability (ARI)",
    "recovery": "true looks found (ARI)",
    "changed": "pixels relabelled",
}


def print_help() -> None:
    """Experiments with one line each, the groups, and the usual next words."""
    table = Table(box=None, show_header=False, padding=(0, 2))
    for name in options("experiment"):
        lines = (conf_folder() / "experiment" / f"{name}.yaml").read_text().splitlines()
        told = next((line[2:] for line in lines if re.match(r"# (?!@)", line)), "")
        table.add_row(f"[bold]experiment={name}[/]", escape(told))
    console.print("Image tags and boxes to segmentation masks.\n")
    console.print("[bold]python -m wsss_lightning experiment=NAME [KEY=VALUE ...][/]\n")
    console.print(table)
    console.print()
    groups = Table(box=None, show_header=False, padding=(0, 2))
    for group in sorted(group_names()):
        if group not in ("experiment", "recipe"):  # experiments choose their recipe
            groups.add_row(f"{group}=", ", ".join(options(group)))
    console.print(groups)
    console.print(
        Panel(
            "experiment=cam data=voc2012 data.root=DIR    on Pascal VOC\n"
            "experiment=cam --cfg job                     print every key and its value\n"
            "experiment=cam -m seed=0,1,2                 several runs, one after the other\n"
            "--config-dir DIR                             your own files of any group\n"
            "--hydra-help                                 all options of Hydra",
            title="examples",
            expand=False,
        )
    )
    console.print(
        "\nPublished settings with their sources: python -m wsss_lightning.recipes [NAME]",
        markup=False,
        soft_wrap=True,
    )
