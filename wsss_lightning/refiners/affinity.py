"""Refinement by learned affinities: AffinityNet and IRN."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

from hydra.utils import get_class
from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.refiners.base import Refiner, Splits, run_for_each
from wsss_lightning.steps.affinity import confident_labels, propagate, random_walk_settings
from wsss_lightning.steps.config_nodes import crf_settings
from wsss_lightning.steps.crf import crf as dense_crf
from wsss_lightning.steps.labels import StepInfo
from wsss_lightning.steps.train import train


@final
class Affinity(Refiner):
    """Labels on which two CRFs agree -> affinities -> random walk -> DenseCRF.

    Args:
        name, label: as in `Refiner`.
        labels: `parameters` of both CRFs, `gt_prob` as in `steps.crf.crf`, and under `low` (much
            background) and `high` (little background) the `power` or the `score` of the background.
        init_from: the network starts from the pretrained `backbone`, or from the encoder of the
            `classifier`.
        module: configuration of the `AffinityModule`.
        schedule: schedule of its training.
        walk: `RandomWalkSettings`, and a `batch_size`.
        crf: parameters of the final CRF; None: none.
    """

    order = 20

    def __init__(
        self,
        name: str,
        label: str,
        labels: DictConfig,
        init_from: Literal["backbone", "classifier"],
        module: DictConfig,
        schedule: DictConfig,
        walk: DictConfig,
        crf: DictConfig | None,
    ) -> None:
        super().__init__(name, label)
        self.confident, self.init_from, self.module = labels, init_from, module
        self.schedule, self.walk, self.crf = schedule, walk, crf

    def steps(self) -> dict[str, StepInfo]:
        steps = super().steps()
        if self.crf is not None:
            steps[f"{self.name}_crf"] = StepInfo(f"{self.label} + CRF", self.order + 1)
        return steps

    def check(self) -> None:
        random_walk_settings(self.walk)
        crf_settings(self.confident.parameters)
        if self.crf is not None:
            crf_settings(self.crf)

    def __call__(
        self, cache: StageCache, data: DictConfig, scores: Splits, trained: Path
    ) -> Mapping[str, Splits]:
        network = self._train(cache, data, scores[data.train], trained)
        walked = run_for_each(
            cache, self.name, propagate, scores, data, trained=network, walk=self.walk
        )
        if self.crf is None:
            return {self.name: walked}
        refined = run_for_each(
            cache,
            f"{self.name}_crf",
            dense_crf,
            walked,
            data,
            parameters=self.crf,
            background_power=None,
            background_score=None,
        )
        return {self.name: walked, f"{self.name}_crf": refined}

    def _train(self, cache: StageCache, data: DictConfig, scores: Path, trained: Path) -> Path:
        """Train the network on labels on which both CRFs agree."""
        cls: Any = get_class(self.module._target_)
        sides = {
            side: cache.run(
                f"{self.name}/labels_{side}",
                dense_crf,
                scores=scores,
                data=data,
                split=data.train,
                parameters=self.confident.parameters,
                background_power=self.confident[side].power,
                background_score=self.confident[side].score,
                gt_prob=self.confident.gt_prob,
                bits=16,
            )
            for side in ("low", "high")
        }
        labels = cache.run(
            f"{self.name}/labels",
            confident_labels,
            data=data,
            split=data.train,
            prefer_class=cls.prefers_class,
            low=sides["low"],
            high=sides["high"],
        )
        return cache.run(
            f"{self.name}/network",
            train,
            memory_keys=("refine.schedule.batch_size", "refine.schedule.crop_size"),
            module=self.module,
            data=data,
            schedule=self.schedule,
            target="masks",
            masks=labels,
            marginals=sides,
            encoder_from=trained if self.init_from == "classifier" else None,
        )
