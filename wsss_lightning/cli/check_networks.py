"""Builds the networks of a run and calls each once before the first stage starts.

Misspelt names and shapes that do not match are reported within a second instead of after hours of
training. Networks are built on torch's meta device, where tensors have a shape but no values, so
nothing is initialised, computed or stored.
"""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from wsss_lightning.config.parameter_errors import parameters_as_keys, with_key
from wsss_lightning.errors import InputError
from wsss_lightning.methods.base import TagMethod, make_optimizer
from wsss_lightning.methods.cam_predictor import CamPredictor
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.nets.backbones import Backbone
from wsss_lightning.nets.weights import misfits, shapes_of
from wsss_lightning.ops.resize import grid_side
from wsss_lightning.steps.config_nodes import backbone_nodes, set_statistics

PARTS = ("backbone", "method", "pipeline", "refine", "segmenter")
"""Nodes of the configuration that hold networks."""


def resolve_statistics(cfg: DictConfig) -> None:
    """Write the mean and std of the input into the node of every backbone.

    They become part of each stage's key, and are stored with trained networks. A segmentation
    network that the run does not train is left alone, since only the hub may know its statistics.

    Raises:
        InputError: a backbone's name is unknown, or as in `Backbone.statistics`.
    """
    unused = () if cfg.pipeline.get("segment", True) else ("segmenter",)
    for key in PARTS:
        if key in cfg and key not in unused:
            set_statistics(cfg[key])


def check_networks(cfg: DictConfig, tags: bool) -> None:
    """Build every network that a run trains, and run it on an image of its training size.

    Weights from the hub are not loaded (see `fetch_weights`).

    Args:
        cfg: composed configuration.
        tags: whether the run learns from tags and trains `method`.

    Raises:
        InputError: names, options, layers or weight files do not match; the message names keys.
    """
    built = {key: _checked(cfg, key, crop) for key, crop in _modules(cfg, tags)}
    initialised = [("pipeline.first", "method", cfg.pipeline.get("init_from") == "last_round")]
    for key, choice in (
        ("segmenter", "fit.segmenter.init_from"),
        ("refine.module", "refine.init_from"),
    ):
        initialised.append(("method", key, OmegaConf.select(cfg, choice) == "classifier"))
    for source, target, is_chosen in initialised:
        if is_chosen and source in built and target in built:
            _check_same_encoder(built[source], built[target], f"{target}.net.backbone")
    if tags:
        with parameters_as_keys(cfg.refine):
            instantiate(cfg.refine, _convert_="none").check()


def fetch_weights(cfg: DictConfig, tags: bool) -> None:
    """Download weights from the hub, once for each backbone that the run trains.

    Args:
        cfg: composed configuration.
        tags: as in `check_networks`.

    Raises:
        InputError: the hub cannot be reached.
    """
    modules = (OmegaConf.select(cfg, key) for key, _ in _modules(cfg, tags))
    nodes = [node for module in modules for node in backbone_nodes(module)]
    for node in {repr(node): node for node in nodes if node.pretrained}.values():
        with parameters_as_keys(node):
            instantiate(node).build()


def _modules(cfg: DictConfig, tags: bool) -> Iterator[tuple[str, int]]:
    """Key of each LightningModule that the run trains, and the size of its training images."""
    if tags:
        yield "method", cfg.fit.method.crop_size
        if "first" in cfg.pipeline:
            yield "pipeline.first", cfg.fit.method.crop_size
        if "module" in cfg.refine:
            yield "refine.module", cfg.refine.schedule.crop_size
    if cfg.pipeline.get("segment", True):
        yield "segmenter", cfg.fit.segmenter.crop_size


def _checked(cfg: DictConfig, key: str, crop: int) -> Any:
    cam = cfg.cam if key in ("method", "pipeline.first") else None
    node = OmegaConf.select(cfg, key)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*non-meta parameter.*")
        try:
            return _build_and_run(node, key, crop, cam, "meta")
        except Exception:  # a user error, or an operation that the meta device lacks
            return _build_on_cpu(node, key, crop, cam)


def _build_on_cpu(node: DictConfig, key: str, crop: int, cam: DictConfig | None) -> Any:
    """Build a module on the CPU; an error about backbone options explains how to drop them."""
    try:
        return _build_and_run(node, key, crop, cam, "cpu")
    except InputError as error:
        options = {one.name for one in backbone_nodes(node) if one.options}
        if not options or "options" not in str(error):
            raise
        names = " or ".join(f"backbone=timm backbone.name={name}" for name in sorted(options))
        raise InputError(f"{error} {names} starts without options.") from error


def _build_and_run(
    node: DictConfig, key: str, crop: int, cam: DictConfig | None, device: str
) -> Any:
    """Build a module without weights from the hub, and run its network on an image.

    Args:
        node: configuration of the module.
        key: key of the node.
        crop: height of the image, pixels.
        cam: settings of CAMs, whose layer must return feature maps; None: no layer is checked.
        device: on which the module is built.
    """
    plain = OmegaConf.create(OmegaConf.to_container(node, resolve=True))
    for backbone in backbone_nodes(plain):
        backbone.pretrained = False
    with torch.device(device), torch.no_grad(), parameters_as_keys(node):
        module = instantiate(plain).eval()
        stride = module.net.backbone.output_stride
        # not square, because some networks accept only one size
        image = torch.zeros(2, 3, crop, grid_side(crop, 1.5, stride))
        try:
            module.net(image)
        except Exception as error:  # networks may raise any exception
            if with_key(str(error), node) or isinstance(error, InputError):
                raise
            reason = str(error).rstrip(".")
            raise InputError(
                f"{key} is built, but its network cannot process images of "
                f"{image.shape[-2]}x{image.shape[-1]} pixels: {reason}. Choose another "
                "backbone.name, or options with which it accepts images of any size."
            ) from error
        if isinstance(module, TagMethod):
            _check_stride(module.net.backbone, module.net.features(image), image)
            if cam is not None and cam.layer:
                with parameters_as_keys(cam):
                    CamPredictor(module, CamSettings()).activation(image, cam.layer)
        make_optimizer(module)
    return module


def _check_stride(backbone: Backbone, features: torch.Tensor, image: torch.Tensor) -> None:
    side, cells, stride = image.shape[-1], features.shape[-1], backbone.output_stride
    if cells not in (side // stride, -(-side // stride)):
        real = 2 ** round(math.log2(side / cells))  # cells at the border are partial
        raise InputError(
            f"backbone.output_stride is {stride}, but the last features of {backbone.name} have "
            f"stride {real}; set backbone.output_stride={real}, or choose another backbone."
        )


def _check_same_encoder(trained: Any, module: Any, key: str) -> None:
    """Check that a network can be initialised with the encoder of an earlier training."""
    given, wanted = trained.net.encoder.state_dict(), shapes_of(module.net.encoder)
    fault = misfits(given, wanted, set(given) - set(wanted))
    if fault:
        raise InputError(
            f"{key} does not match the classifier's encoder, which initialises the network: "
            f"{fault}. Give both the same backbone, or initialise with the backbone's own weights "
            "(fit.segmenter.init_from=backbone, refine.init_from=backbone, "
            "pipeline.init_from=backbone)."
        )
    first, second = trained.net.backbone.statistics, module.net.backbone.statistics
    if first != second:
        raise InputError(
            f"{key} normalises with mean {second.mean} and std {second.std}, but is initialised "
            f"with the classifier's encoder, which uses {first.mean} and {first.std}; give both "
            "the same backbone.mean and backbone.std."
        )
