"""Refinement by a DenseCRF."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, final

from annotated_types import Ge
from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.refiners.base import Refiner, Splits, run_for_each
from wsss_lightning.steps.config_nodes import crf_settings
from wsss_lightning.steps.crf import crf


@final
class CRF(Refiner):
    """DenseCRF of the seeds.

    Args:
        name, label: as in `Refiner`.
        parameters: a node of the group `crf`.
        background_power: the background score is (1 - max) ** power; None: a constant.
        background_score: the constant.
        area_factor: an image keeps its seeds if the area of a label changes by more than this
            factor, or a label disappears (`densecrf.refinement_damage`); None: never.
    """

    order = 12

    def __init__(
        self,
        name: str,
        label: str,
        parameters: DictConfig,
        background_power: float | None,
        background_score: float | None,
        area_factor: Annotated[float, Ge(1), "5 is a start"] | None,
    ) -> None:
        super().__init__(name, label)
        self.parameters, self.area_factor = parameters, area_factor
        self.background_power = background_power
        self.background_score = None if background_power is not None else background_score

    def __call__(
        self, cache: StageCache, data: DictConfig, scores: Splits, trained: Path
    ) -> Mapping[str, Splits]:
        return {
            self.name: run_for_each(
                cache,
                self.name,
                crf,
                scores,
                data,
                parameters=self.parameters,
                background_power=self.background_power,
                background_score=self.background_score,
                area_factor=self.area_factor,
            )
        }

    def check(self) -> None:
        crf_settings(self.parameters)
