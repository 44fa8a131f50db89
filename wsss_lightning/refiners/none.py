"""No refinement."""

from collections.abc import Mapping
from pathlib import Path
from typing import final

from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.refiners.base import Refiner, Splits, run_for_each
from wsss_lightning.steps.crf import constant_background


@final
class NoRefinement(Refiner):
    """The seeds as they are, with a constant background score.

    Args:
        name, label: as in `Refiner`.
        background_score: in [0, 1].
    """

    order = 11

    def __init__(self, name: str, label: str, background_score: float) -> None:
        super().__init__(name, label)
        self.background_score = background_score

    def __call__(
        self, cache: StageCache, data: DictConfig, scores: Splits, trained: Path
    ) -> Mapping[str, Splits]:
        score = self.background_score
        return {
            self.name: run_for_each(
                cache, self.name, constant_background, scores, data, background_score=score
            )
        }
