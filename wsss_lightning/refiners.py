"""What betters seeds: a folder of scores in, a folder of marginals out."""

from pathlib import Path

from omegaconf import DictConfig

from wsss_lightning.run import Run
from wsss_lightning.stages import Stages


def none(
    run: Run,
    do: Stages,
    data: DictConfig,
    split: str,
    scores: Path,
    *,
    name: str,
    background_score: float,
) -> Path:
    """The seeds as they are, behind a constant background."""
    return run.stage(
        f"{name}/{split}",
        do.background,
        scores=scores,
        data=data,
        split=split,
        background_score=background_score,
    )


def crf(
    run: Run,
    do: Stages,
    data: DictConfig,
    split: str,
    scores: Path,
    *,
    name: str,
    parameters: DictConfig,
    background_power: float | None,
    background_score: float | None,
    area_factor: float | None,
) -> Path:
    """DenseCRF; background as (1 - max) ** background_power, or constant where that is null.

    With `area_factor`, an image keeps its seeds where refinement visibly does harm.
    """
    return run.stage(
        f"{name}/{split}",
        do.crf,
        scores=scores,
        data=data,
        split=split,
        parameters=parameters,
        background_power=background_power,
        background_score=None if background_power is not None else background_score,
        area_factor=area_factor,
    )
