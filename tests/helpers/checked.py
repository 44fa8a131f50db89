"""A composed configuration as a run checks it."""

from omegaconf import DictConfig, OmegaConf

from wsss_lightning.config.ranges import check_values
from wsss_lightning.config.targets import check_targets


def check(cfg: DictConfig) -> None:
    check_values(cfg)
    check_targets(cfg)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
