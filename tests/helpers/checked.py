"""A composed configuration as a run checks it."""

from omegaconf import DictConfig, OmegaConf

from wsss_lightning.config.schema import check_targets, check_values


def check(cfg: DictConfig) -> None:
    check_values(cfg)
    check_targets(cfg)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
