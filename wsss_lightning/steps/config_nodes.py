"""Nodes of the configuration as objects."""

from collections.abc import Iterator
from typing import Any, get_type_hints

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from wsss_lightning.config.fields import check_field
from wsss_lightning.config.parameter_errors import parameters_as_keys
from wsss_lightning.densecrf.api import choose, mean_field
from wsss_lightning.densecrf.parameters import CRFParameters


def settings_of(node: DictConfig) -> dict[str, Any]:
    """A node as keyword arguments."""
    return {str(key): value for key, value in OmegaConf.to_container(node, resolve=True).items()}  # type: ignore[union-attr]


def crf_settings(node: DictConfig) -> tuple[CRFParameters, str]:
    """Parameters and engine of a CRF.

    Raises:
        InputError: a value is out of range, or the engine is unknown or not installed.
    """
    import torch

    settings = settings_of(node)
    engine = settings.pop("engine")
    for name, kind in get_type_hints(CRFParameters).items():
        if name in settings:
            check_field(f"{node._get_full_key(None)}.{name}", settings[name], kind)
    with parameters_as_keys(node):
        parameters = CRFParameters(**settings)
        choose(engine, [])
        if engine in ("native", "pydensecrf"):
            mean_field(
                torch.zeros(1, 1, 3, dtype=torch.uint8), torch.zeros(2, 1, 1), parameters, engine
            )
    return parameters, engine


def backbone_nodes(node: Any) -> Iterator[DictConfig]:
    """Nodes of backbones below a node, each as often as it is referred to."""
    if isinstance(node, DictConfig):
        if str(node.get("_target_", "")).endswith(".Backbone"):
            yield node
        for name in node:
            if not OmegaConf.is_missing(node, name):
                yield from backbone_nodes(node[name])
    elif isinstance(node, ListConfig):
        for item in node:
            yield from backbone_nodes(item)


def set_statistics(node: DictConfig) -> None:
    """Write the mean and std of each backbone's weights into its node."""
    for backbone in backbone_nodes(node):
        if backbone.get("mean") is None or backbone.get("std") is None:
            with parameters_as_keys(backbone):
                statistics = instantiate(backbone).statistics
            with open_dict(backbone):
                backbone.mean, backbone.std = list(statistics.mean), list(statistics.std)


def remove_weights(module: DictConfig) -> None:
    """Remove initial weights from a module's node, since its trained weights replace them.

    Every key `weights` becomes null and every key `pretrained` false, at any depth.
    """
    for node in backbone_nodes(module):
        if node.get("freeze_norm") is None:
            node.freeze_norm = bool(node.get("pretrained") or node.get("weights"))
    _remove_weights(module)


def _remove_weights(node: Any) -> None:
    if isinstance(node, DictConfig):
        for key, none in (("weights", None), ("pretrained", False)):
            if node.get(key):
                node[key] = none
    if isinstance(node, (DictConfig, ListConfig)):
        for child in node.values() if isinstance(node, DictConfig) else node:
            _remove_weights(child)
