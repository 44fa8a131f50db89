"""Splits of a run's data set, each read once by a process however many stages use it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import final

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from wsss_lightning.data.dataset import VOCDataset


@final
class Splits:
    """Builds a split when it is first asked for, and gives views of it from then on.

    Args:
        build: builds a split, given `split`.
    """

    def __init__(self, build: Callable[..., VOCDataset]) -> None:
        self._build = build
        self._built: dict[str, VOCDataset] = {}

    def __call__(
        self,
        split: str,
        with_masks: bool = True,
        with_boxes: bool = False,
        masks: Path | None = None,
    ) -> VOCDataset:
        """A split whose samples carry what is asked for (`VOCDataset.view`)."""
        if split not in self._built:
            self._built[split] = self._build(split=split)
        return self._built[split].view(with_masks, with_boxes, masks)


_opened: dict[str, Splits] = {}


def datasets_of(data: DictConfig) -> Splits:
    """Splits of a data set, by the `reader` node of its configuration."""
    settings = OmegaConf.to_container(data.dataset, resolve=True)
    key = json.dumps(settings, sort_keys=True, default=str)
    if key not in _opened:
        _opened[key] = Splits(instantiate(data.dataset))
    return _opened[key]


def forget_splits() -> None:
    """Read files again from now on; a run does so at its start, since they may have changed."""
    _opened.clear()
