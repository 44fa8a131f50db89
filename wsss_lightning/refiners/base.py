"""Interface of refiners."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.steps.labels import StepInfo

Splits = Mapping[str, Path]


class Refiner(ABC):
    """Turns CAM scores of every split into marginals, in one or more steps.

    Args:
        name: name of the first step, in folders and keys of scores.
        label: label of the first step, in tables and images.

    Attributes:
        order: position of its steps in tables; seeds have 10, pseudo masks 70.
    """

    order = 60

    def __init__(self, name: str, label: str) -> None:
        self.name, self.label = name, label

    @abstractmethod
    def __call__(
        self, cache: StageCache, data: DictConfig, scores: Splits, trained: Path
    ) -> Mapping[str, Splits]:
        """Folders of marginals of every split, by step; the last step is the result.

        Args:
            cache: cache of the run's steps.
            data: configuration of the data set.
            scores: folders of CAM scores, by split.
            trained: folder of the classifier that made them.
        """

    def steps(self) -> dict[str, StepInfo]:
        """Label and order of each step, by its name."""
        return {self.name: StepInfo(self.label, self.order)}

    def check(self) -> None:  # noqa: B027 (nothing to check by default)
        """Check settings before any step of the run starts.

        Raises:
            InputError: a value is out of range.
        """


def run_for_each(
    cache: StageCache, name: str, step: Any, scores: Splits, data: DictConfig, **inputs: Any
) -> Splits:
    """Run a step on the scores of every split.

    Args:
        cache: cache of the run's steps.
        name: name of the step.
        step: function that writes the marginals of a split to a folder.
        scores: folders of CAM scores or marginals, by split.
        data: configuration of the data set.
    """
    return {
        split: cache.run(f"{name}/{split}", step, scores=folder, data=data, split=split, **inputs)
        for split, folder in scores.items()
    }
