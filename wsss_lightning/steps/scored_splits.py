"""Splits on which a run is scored: its own, and a part of the training split that papers use.

Papers train on one list and score on a part of it: on VOC 2012 seeds and pseudo masks come from the
10,582 images of train_aug, and their published mIoU is that of the 1,464 of train.
"""

from dataclasses import dataclass

from omegaconf import DictConfig

from wsss_lightning.config.splits import splits_of
from wsss_lightning.errors import InputError
from wsss_lightning.steps.datasets import datasets_of


@dataclass(frozen=True)
class ScoredSplit:
    """A split, and the data whose true masks it is scored with.

    Args:
        name: name of the split.
        data: configuration of the data; `dataset.mask_dir` is the folder of the true masks.
        digest: digest of the true masks if `data` differs from that of the run; else empty.
    """

    name: str
    data: DictConfig
    digest: str = ""


def scored_splits(cfg: DictConfig, split: str) -> list[ScoredSplit]:
    """Splits that score the label maps of a split: itself, and `benchmark.split` for training."""
    splits = [ScoredSplit(split, cfg.data)]
    benchmark = _benchmark(cfg)
    if benchmark is not None and split == cfg.data.train:
        splits.append(benchmark)
    return splits


def every_scored_split(cfg: DictConfig) -> list[ScoredSplit]:
    """All splits that a run is scored on, each once."""
    return [one for split in splits_of(cfg.data) for one in scored_splits(cfg, split)]


def check_benchmark(cfg: DictConfig) -> str:
    """Check `benchmark` before work starts.

    Returns:
        Digest of its true masks; empty where there is no further split to score.

    Raises:
        InputError: an image of `benchmark.split` is not in `data.train`, or the split is scored
            already, with other masks.
    """
    benchmark = _benchmark(cfg)
    if benchmark is None:
        return ""
    wanted = datasets_of(benchmark.data)(benchmark.name, with_masks=False).names
    known = set(datasets_of(cfg.data)(cfg.data.train, with_masks=False).names)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise InputError(
            f"benchmark.split is {benchmark.name}, but {len(missing)} of its {len(wanted)} images "
            f"are not in data.train={cfg.data.train} ({', '.join(missing[:3])}), so they have no "
            "seeds or pseudo masks to score; choose a part of the training split, or set "
            "benchmark.split=null."
        )
    return benchmark.digest


def _benchmark(cfg: DictConfig) -> ScoredSplit | None:
    """`benchmark` as a split; None where it adds nothing to the splits of the run."""
    name, mask_dir = cfg.benchmark.split, cfg.benchmark.mask_dir
    if name is None:
        return None
    own = cfg.data.dataset.mask_dir
    if name in splits_of(cfg.data):
        if mask_dir is None or mask_dir == own:
            return None
        raise InputError(
            f"benchmark.split is {name} with the masks of {mask_dir}, but {name} is a split of the "
            f"run and is scored with the masks of {own}; set data.dataset.mask_dir={mask_dir}, or "
            "benchmark.split=null."
        )
    data = cfg.data.copy()
    if mask_dir is not None:
        data.dataset.mask_dir = mask_dir
    digest = datasets_of(data)(name).mask_fingerprint()
    return ScoredSplit(name, data, digest)
