"""Composes, checks and runs a pipeline, and writes its results.

Imports that take seconds are delayed until a run starts, so that help and errors in the arguments
are printed at once.
"""

import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.markup import escape

from wsss_lightning.cli.command import run_command
from wsss_lightning.cli.error_messages import fail
from wsss_lightning.cli.help import print_help
from wsss_lightning.cli.overrides import as_typed
from wsss_lightning.cli.run_arguments import parser as parser
from wsss_lightning.config.ranges import check_values
from wsss_lightning.config.targets import allowed_packages, check_targets
from wsss_lightning.recipes import Difference, Recipe, differences, read_recipe, record, summary
from wsss_lightning.utils.console import console, print_plain

if TYPE_CHECKING:
    from wsss_lightning.cache.stage_cache import StageCache
    from wsss_lightning.data.supervision import Supervision
    from wsss_lightning.results.schema import Results

# keys that change how a run is executed or displayed, but not its results
NON_SEMANTIC_KEYS = (
    "logger",
    "workers",
    "checkpoint_minutes",
    "resume",
    "output_dir",
    "device_groups",
    "save_models",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run an experiment.

    Args:
        arguments: options and overrides; None: as typed.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if {"--help", "-h"} & set(arguments):
        print_help()
        return
    if "--version" in arguments:
        print(f"wsss-lightning {metadata.version('wsss-lightning')}")
        return
    for argument in arguments:
        if re.match(r"[^=]*api_?key[^=]*=", argument, re.IGNORECASE):
            fail(
                f"{argument.split('=')[0]} is a secret, but arguments are stored beside the "
                "results. Set the environment variable WANDB_API_KEY, or run wandb login."
            )
    run_command(arguments, job)


def job(cfg: DictConfig) -> float | None:
    """Execute one run, alone or as a job of a sweep; a finished job is not repeated.

    Returns:
        mIoU of the segmentation network on the validation split, which sweeps maximise (after the
        CRF, if `test.crf`); None if it was not scored.
    """
    from wsss_lightning.cli.sweep import claim_devices, recorded

    context = HydraConfig.get()
    folder = Path(context.runtime.output_dir)
    if context.mode != RunMode.MULTIRUN:
        check_values(cfg)
        claim_devices(cfg.device_groups, cfg.trainer.accelerator)
        return run_pipeline(cfg, folder)
    with recorded(folder, context.overrides.task) as record:
        check_values(cfg)
        record["devices"] = claim_devices(cfg.device_groups, cfg.trainer.accelerator)
        record["objective"] = run_pipeline(cfg, folder, repeat=False)
    return record["objective"]


def run_pipeline(cfg: DictConfig, folder: Path, repeat: bool = True) -> float | None:
    """Check a configuration, run its pipeline and write its models and `results.json`.

    Args:
        cfg: composed configuration.
        folder: for results, and links to stages.
        repeat: visit every stage and print the scores, even if `folder` has results of the same
            data, configuration and code.

    Returns:
        As `job`.
    """
    from hydra.utils import instantiate

    from wsss_lightning.cli.check_networks import fetch_weights
    from wsss_lightning.cli.checks import objective
    from wsss_lightning.cli.photo_folder import read_photos, write_split
    from wsss_lightning.pipelines.base import supervision_of
    from wsss_lightning.predict.model_file import save_models
    from wsss_lightning.results.schema import write_results
    from wsss_lightning.results.wandb import log_results, name_runs
    from wsss_lightning.steps.corrected_masks import check_corrected_masks
    from wsss_lightning.steps.scored_splits import check_benchmark

    supervision = supervision_of(cfg.pipeline)
    photos = read_photos(cfg, supervision)  # first, since networks need the number of classes
    data_digest, input_digest = check_run(cfg, supervision)
    published = published_run(cfg)
    key = digest_of(
        cfg, input_digest + check_benchmark(cfg) + check_corrected_masks(cfg, supervision)
    )
    stages = stage_cache(cfg, folder, input_digest, repeat)
    title = f"[bold]{escape(cfg.name)}[/] on {escape(cfg.data.name)}, seed {cfg.seed}"
    console.print(title, escape(f"→ {os.path.relpath(folder)}"), soft_wrap=True)
    if published is not None:
        print_plain(summary(*published))
    name_runs(cfg, folder, supervision)
    if photos is not None:
        write_split(photos, folder)
    if not repeat and cfg.resume:
        finished = earlier_results(folder, key)
        if finished is not None:
            console.print("[dim]results exist already: nothing to do[/]")
            log_results(cfg, folder, finished, settings(cfg))
            return objective(cfg, finished.scores)
    fetch_weights(cfg, tags=supervision.uses_seeds)
    scores = instantiate(cfg.pipeline)(cfg, stages)
    results = collect_results(cfg, supervision, scores, stages.seconds, data_digest, published, key)
    if cfg.save_models:  # first, because a run with results counts as finished
        save_models(folder, cfg, results)
    write_results(folder, results)
    show_scores(cfg, scores, stages.seconds, folder)
    log_results(cfg, folder, results, settings(cfg))
    return objective(cfg, scores)


def check_run(cfg: DictConfig, supervision: "Supervision") -> tuple[str, str]:
    """Check trainer, networks, CRF and data, and generate the data set if it is synthetic.

    Returns:
        Digest of the data set's files, and a digest of all further inputs of stages besides the
        configuration and the code.

    Raises:
        InputError: a setting, a file or a device cannot be used; the message names it.
    """
    from wsss_lightning.cli.check_networks import check_networks, resolve_statistics
    from wsss_lightning.cli.checks import (
        batch_sizes,
        check_objective,
        prepare_data,
        train_test_scales,
    )
    from wsss_lightning.steps.check_data import check_data
    from wsss_lightning.steps.config_nodes import crf_settings
    from wsss_lightning.steps.review import prepare_review
    from wsss_lightning.training.trainer import check_trainer

    trainer_digest = check_trainer(cfg.trainer, batch_sizes(cfg, supervision))
    check_targets(cfg, without=("data",))
    resolve_statistics(cfg)
    check_networks(cfg, tags=supervision.uses_seeds)
    for kernels in (cfg.crf, cfg.test_crf):
        crf_settings(kernels)
    prepare_data(cfg)
    prepare_review(cfg, supervision)
    data_digest = check_data(cfg.data, supervision, train_test_scales(cfg, supervision))
    check_objective(cfg)
    return data_digest, f"{data_digest}-{trainer_digest}"


def stage_cache(cfg: DictConfig, folder: Path, input_digest: str, repeat: bool) -> "StageCache":
    """Cache of the run's stages.

    Args:
        cfg: composed configuration.
        folder: for links to stages.
        input_digest: part of each stage's name.
        repeat: as in `run_pipeline`.
    """
    from wsss_lightning.cache.code_digest import CodeGraph
    from wsss_lightning.cache.stage_cache import StageCache
    from wsss_lightning.cli.sweep import SWEEP
    from wsss_lightning.pipelines.base import runtime_of

    # with resume=false, the jobs of a sweep still share the stages that they computed
    session = None if cfg.resume else secrets.token_hex(8) if repeat else os.environ[SWEEP]
    return StageCache(
        folder=folder,
        store=(Path(cfg.output_dir) / "stages").absolute(),
        seed=cfg.seed,
        data_digest=input_digest,
        session=session,
        runtime=runtime_of(cfg),
        code=CodeGraph(allowed_packages()),
    )


def published_run(cfg: DictConfig) -> tuple[Recipe, list[Difference]] | None:
    """The published run that the configuration names, and how the configuration differs from it.

    Returns:
        None if the configuration names no published run.

    Raises:
        InputError: there is no table of the published run.
    """
    name = OmegaConf.select(cfg, "recipe")
    if name is None:
        return None
    recipe = read_recipe(name)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    return recipe, differences(recipe, plain)


def earlier_results(folder: Path, key: str) -> "Results | None":
    """Results of an earlier run of the same data, configuration and code, if there are any."""
    from wsss_lightning.errors import InputError
    from wsss_lightning.results.schema import FILE_NAME, read_results

    try:
        results = read_results(folder / FILE_NAME)
    except InputError:  # none, or damaged: the run writes the file again
        return None
    return results if results.key == key else None


def digest_of(cfg: DictConfig, input_digest: str) -> str:
    """Digest of all that results depend on.

    Args:
        cfg: composed configuration.
        input_digest: digest of the data, the trainer and the true masks.
    """
    from wsss_lightning.cache.code_digest import CodeGraph, targets_in
    from wsss_lightning.cache.stage_cache import by_content

    plain = settings(cfg)
    # the pipeline is among the targets, and with it the functions of all its steps
    code = CodeGraph(allowed_packages()).digest(collect_results, targets_in(plain))
    content = json.dumps([by_content(plain), input_digest, code], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def settings(cfg: DictConfig) -> dict[str, Any]:
    """The composed configuration, without the keys that change no result."""
    from wsss_lightning.training.trainer import arguments_that_count

    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    plain["trainer"] = arguments_that_count(plain["trainer"])
    return {key: value for key, value in plain.items() if key not in NON_SEMANTIC_KEYS}


def collect_results(
    cfg: DictConfig,
    supervision: "Supervision",
    scores: dict[str, float],
    seconds: dict[str, float],
    data_digest: str,
    published: tuple[Recipe, list[Difference]] | None,
    key: str,
) -> "Results":
    """The content of `results.json`.

    Args:
        cfg: composed configuration.
        supervision: supervision of the pipeline.
        scores: by `<step>/<split>/<metric>`.
        seconds: duration of each stage.
        data_digest: digest of the data set's files.
        published: as returned by `published_run`.
        key: as returned by `digest_of`.
    """
    from wsss_lightning.pipelines.base import refiner_steps
    from wsss_lightning.results.annotation import count_annotation
    from wsss_lightning.results.protocol import protocol_of
    from wsss_lightning.results.schema import RecipeRecord, Results
    from wsss_lightning.results.versions import versions

    dataset: Any = OmegaConf.to_container(cfg.data.dataset, resolve=True)
    return Results(
        experiment=cfg.name,
        data=cfg.data.name,
        data_digest=data_digest,
        seed=cfg.seed,
        supervision=supervision.name,
        scores=dict(sorted(scores.items())),
        protocol=protocol_of(cfg, supervision),
        annotation=count_annotation(cfg, supervision),
        overrides=[as_typed(override, cfg) for override in HydraConfig.get().overrides.task],
        dataset=dataset,
        seconds={name: round(value, 2) for name, value in seconds.items()},
        versions=versions(),
        recipe=None if published is None else RecipeRecord(**record(*published)),
        key=key,
        steps=refiner_steps(cfg),
    )


def show_scores(
    cfg: DictConfig, scores: dict[str, float], seconds: dict[str, float], folder: Path
) -> None:
    """Print the score table of a run.

    Args:
        cfg: composed configuration.
        scores: by `<step>/<split>/<metric>`, in the order of the pipeline.
        seconds: duration of each stage.
        folder: folder of the run.
    """
    from wsss_lightning.results.score_table import print_scores
    from wsss_lightning.steps.scored_splits import every_scored_split

    print_scores(
        title=f"{cfg.name} on {cfg.data.name}, seed {cfg.seed} (percent)",
        scores=scores,
        splits=[scored.name for scored in every_scored_split(cfg)],
        has_validation=cfg.data.val is not None,
        seconds=seconds,
        folder=folder,
    )
