"""Data sets of a run: each split is read once per process, however many steps use it."""

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.module import DataModule

if TYPE_CHECKING:
    from wsss_lightning.steps.runtime import Runtime


@final
class Splits:
    """Opens each split once.

    Args:
        build: opens a split, given `split`.
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
        """A split whose samples hold the requested entries (`VOCDataset.view`)."""
        if split not in self._built:
            self._built[split] = self._build(split=split)
        return self._built[split].view(with_masks, with_boxes, masks)


_opened: dict[str, Splits] = {}


def datasets_of(data: DictConfig) -> Splits:
    """The splits of a data set, from its `dataset` node."""
    settings = OmegaConf.to_container(data.dataset, resolve=True)
    key = json.dumps(settings, sort_keys=True, default=str)
    if key not in _opened:
        _opened[key] = Splits(instantiate(data.dataset))
    return _opened[key]


def name_keys(message: str) -> str:
    """Replace parameters of `VOCDataset`, in backticks in messages, by configuration keys."""
    parameters = inspect.signature(VOCDataset).parameters

    def key(match: re.Match[str]) -> str:
        name, rest = match.groups()
        prefix = "data" if name == "root" else "data.dataset"
        return f"{prefix}.{name}{rest}" if name in parameters else match[0]

    return re.sub(r"`(\w+)([^`]*)`", key, message)


def forget_splits() -> None:
    """Read all files again when they are next needed; called at the start of a run."""
    _opened.clear()


def data_module(data: DictConfig, runtime: "Runtime", **arguments: Any) -> DataModule:
    """The DataModule of a data set, seeded by the step's random state.

    Args:
        data: configuration of the data set.
        runtime: gives the number of worker processes.
        arguments: arguments of `DataModule` that replace the defaults for evaluation.
    """
    defaults: dict[str, Any] = {
        "transform": None,
        "batch_size": 1,
        "eval_batch_size": 8,
        "num_workers": runtime.workers,
        "seed": torch.initial_seed() % 2**32,
    }
    return DataModule(
        datasets_of(data), train=data.train, val=data.val, **{**defaults, **arguments}
    )
