"""What betters seeds: folders of scores in, folders of marginals out.

A refiner takes the scores of every split and the trained method that made them, and returns the
marginals of every split behind each of its steps, in their order; the last is what it is for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import Run
from wsss_lightning.steps.affinity import AffinityStages
from wsss_lightning.steps.stages import Stages

Splits = Mapping[str, Path]
Steps = Mapping[str, Splits]


def none(
    run: Run,
    do: Stages,
    data: DictConfig,
    scores: Splits,
    trained: Path,
    *,
    name: str,
    background_score: float,
) -> Steps:
    """The seeds as they are, behind a constant background."""
    marginals = {
        split: run.stage(
            f"{name}/{split}",
            do.background,
            scores=seeds,
            data=data,
            split=split,
            background_score=background_score,
        )
        for split, seeds in scores.items()
    }
    return {name: marginals}


def crf(
    run: Run,
    do: Stages,
    data: DictConfig,
    scores: Splits,
    trained: Path,
    *,
    name: str,
    parameters: DictConfig,
    background_power: float | None,
    background_score: float | None,
    area_factor: float | None,
) -> Steps:
    """DenseCRF; background as (1 - max) ** background_power, or constant where that is null.

    With `area_factor`, an image keeps its seeds where refinement visibly does harm.
    """
    marginals = {
        split: run.stage(
            f"{name}/{split}",
            do.crf,
            scores=seeds,
            data=data,
            split=split,
            parameters=parameters,
            background_power=background_power,
            background_score=None if background_power is not None else background_score,
            area_factor=area_factor,
        )
        for split, seeds in scores.items()
    }
    return {name: marginals}


def affinity(
    run: Run,
    do: Stages,
    data: DictConfig,
    scores: Splits,
    trained: Path,
    *,
    name: str,
    labels: DictConfig,
    init_from: str,
    module: DictConfig,
    schedule: DictConfig,
    walk: DictConfig,
    crf: DictConfig | None,
) -> Steps:
    """Labels on which two CRFs agree -> affinities -> a walk along them -> DenseCRF.

    Args:
        labels: `parameters` of both CRFs, `gt_prob` as of `Stages.crf`, and what gives the
            background its `score` or its `power`, under `low` (much) and `high` (little).
        init_from: the network begins with that of the `backbone` or of the `classifier`.
        module: the `AffinityModule`.
        schedule: of its training, as `fit.segmenter`.
        walk: `RandomWalkSettings`, and the `batch_size` of its images.
        crf: parameters of a last CRF; None: the walk is the last step.
    """
    own = AffinityStages(do.trainer, do.logger, do.workers, do.minutes)
    learner: Any = get_class(module._target_)
    sides = {
        side: run.stage(
            f"{name}/labels_{side}",
            do.crf,
            scores=scores[data.train],
            data=data,
            split=data.train,
            parameters=labels.parameters,
            background_power=labels[side].power,
            background_score=labels[side].score,
            gt_prob=labels.gt_prob,
            bits=16,
        )
        for side in ("low", "high")
    }
    confident = run.stage(
        f"{name}/labels",
        own.confident,
        data=data,
        split=data.train,
        prefer_class=learner.prefers_class,
        **sides,
    )
    learnt = run.stage(
        f"{name}/network",
        do.fit,
        module=module,
        data=data,
        schedule=schedule,
        supervision="masks",
        masks=confident,
        marginals=sides,
        initial=trained if init_from == "classifier" else None,
    )
    propagate = {
        split: run.stage(
            f"{name}/{split}",
            own.walk,
            trained=learnt,
            scores=seeds,
            data=data,
            split=split,
            walk=walk,
        )
        for split, seeds in scores.items()
    }
    if crf is None:
        return {name: propagate}
    smoothed = {
        split: run.stage(
            f"{name}_crf/{split}",
            do.crf,
            scores=marginals,
            data=data,
            split=split,
            parameters=crf,
            background_power=None,
            background_score=None,
        )
        for split, marginals in propagate.items()
    }
    return {name: propagate, f"{name}_crf": smoothed}
