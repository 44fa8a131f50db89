"""Checks of a composed configuration's values, before any work starts.

Types and ranges of single keys are declared in `config.schema`; this module has the rules that
need more than one key.
"""

from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from omegaconf import DictConfig, ListConfig, OmegaConf

from wsss_lightning.config.fields import check_field, shown
from wsss_lightning.config.renamed import check_renamed
from wsss_lightning.config.schema import HIGHEST_SEED, Clusters, Config, Count, Schedule
from wsss_lightning.errors import InputError, did_you_mean

STRIDED = 4  # pixels a cell of the CAMs that cam.alignment=irn stores for IRN's random walk

# schedule: the module that it trains
TRAININGS = {
    "fit.method": "method",
    "fit.segmenter": "segmenter",
    "refine.schedule": "refine.module",
    "pipeline.first_schedule": "pipeline.first",
}
Seed = Annotated[int, Ge(0), Le(HIGHEST_SEED)]
# nodes and keys below groups, which OmegaConf does not type
NODES: dict[str, type] = {
    "refine.schedule": Schedule,
    "pipeline.first_schedule": Schedule,
    "pipeline.clusters": Clusters,
}
KEYS: dict[str, Any] = {
    "data.num_classes": Count,
    "data.val_fraction": Annotated[float, Ge(0), Lt(1), "0.2 is usual; 0: no validation split"],
    "data.split_seed": Seed,
    "refine.labels.gt_prob": Annotated[float, Gt(0), Lt(1), "0.7 is usual"],
}


def check_values(cfg: DictConfig) -> None:
    """Check types and ranges of all keys that the schema declares, and rules between keys.

    Raises:
        InputError: a value is out of range; the message names its key, the value and the range.
    """
    check_renamed(cfg)
    check_node(cfg, Config, "")
    for name, schema in NODES.items():
        node = OmegaConf.select(cfg, name)
        if node is not None:
            check_node(node, schema, name)
    for key, kind in KEYS.items():
        value = OmegaConf.select(cfg, key)
        if value is not None:
            check_field(key, value, kind)
    check_seeds(cfg)
    check_loggers(cfg)
    for name in TRAININGS:
        _check_sizes(cfg, name)
    _check_epochs(cfg)
    _check_encoders(cfg)
    _check_stop_epochs(cfg)
    _check_classes(cfg)
    _check_cams(cfg)


def check_node(node: Any, schema: type, key: str) -> None:
    """Check the values of a node against the annotations of a dataclass.

    Args:
        node: a mapping.
        schema: dataclass whose fields are the keys of the node.
        key: key of the node; empty for the whole configuration.

    Raises:
        InputError: a key is unknown or not set, or its value does not fit.
    """
    kinds = get_type_hints(schema, include_extras=True)
    prefix = f"{key}." if key else ""
    if not isinstance(node, DictConfig):
        raise InputError(
            f"{key} is {shown(node)}, but it is a mapping of {', '.join(kinds)}; set each by its "
            f"name, as in {prefix}{next(iter(kinds))}=VALUE."
        )
    for name in node:
        if name not in kinds:
            raise InputError(f"{prefix}{name} is not a key; {did_you_mean(str(name), kinds)}")
    for name, kind in kinds.items():
        if name not in node or OmegaConf.is_missing(node, name):
            if kind is Any:  # the class that the node builds reports missing parameters
                continue
            raise InputError(f"{prefix}{name} is not set; give it, as in {prefix}{name}=VALUE.")
        if kind is Any:
            continue
        members = (one for one in (kind, *get_args(kind)) if isinstance(one, type))
        below = next((one for one in members if is_dataclass(one)), None)
        if below is None:
            check_field(f"{prefix}{name}", node[name], kind)
        elif node[name] is not None or below is kind:
            check_node(node[name], below, f"{prefix}{name}")


def check_loggers(cfg: DictConfig) -> None:
    """Check that no logger has a folder of its own: logs are written below each step's folder.

    Raises:
        InputError: a logger is given a folder.
    """
    for name in cfg.get("logger") or ():
        key = f"logger.{name}.save_dir"
        folder = OmegaConf.select(cfg, key)
        if folder is not None:
            raise InputError(
                f"{key} is {folder}, but logs are written below the run; leave it out, and choose "
                "the folder of all runs by output_dir=DIR."
            )


def check_seeds(cfg: DictConfig) -> None:
    """Check every key called `seed`: a whole number that all random generators accept.

    Raises:
        InputError: a seed is something else.
    """
    for key, value in _leaves(cfg, ""):
        if key.rpartition(".")[2] == "seed" and value is not None:
            check_field(key, value, Seed)


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, DictConfig):
        yield key, node
        return
    for name in node:
        if not OmegaConf.is_missing(node, name):
            yield from _leaves(node[name], f"{key}.{name}" if key else str(name))


def _check_sizes(cfg: DictConfig, name: str) -> None:
    """At most one rule sets the size of training images, and scale steps fit their range."""
    size, scale, step = (
        OmegaConf.select(cfg, f"{name}.{key}") for key in ("long_side", "scale", "scale_step")
    )
    if size is not None and scale is not None:
        raise InputError(
            f"{name}.long_side is {shown(size)} and {name}.scale is {shown(scale)}, but only one "
            "of them can give the size; set the other to null."
        )
    if step is not None and not (scale and _divides(step, scale)):
        raise InputError(
            f"{name}.scale_step is {shown(step)} and {name}.scale is {shown(scale)}, but steps "
            "must lead from the smallest factor to the largest; set both, as in "
            f"{name}.scale=[0.5,1.5] {name}.scale_step=0.25, or set {name}.scale_step to null."
        )


def _divides(step: float, ends: Sequence[float]) -> bool:
    steps = (ends[1] - ends[0]) / step
    return round(steps) >= 1 and abs(steps - round(steps)) < 1e-6


def _check_epochs(cfg: DictConfig) -> None:
    """A training without epochs needs the file of a whole network."""
    for schedule, module in TRAININGS.items():
        key, weights = f"{schedule}.max_epochs", f"{module}.net.weights"
        unused = schedule == "pipeline.first_schedule" and cfg.fit.method.max_epochs == 0
        if OmegaConf.select(cfg, key) != 0 or unused:
            continue
        if not OmegaConf.select(cfg, weights):
            raise InputError(
                f"{key} is 0, which loads a trained network, but {weights} names none; set it "
                f"to the file of a whole network, or {key} to 1 or more."
            )


def _check_encoders(cfg: DictConfig) -> None:
    """An encoder comes from the file of a whole network or from an earlier step, not from both."""
    for choice, word, module in (
        ("fit.segmenter.init_from", "classifier", "segmenter"),
        ("refine.init_from", "classifier", "refine.module"),
        ("pipeline.init_from", "last_round", "method"),
    ):
        key = f"{module}.net.weights"
        weights = OmegaConf.select(cfg, key)
        if weights and OmegaConf.select(cfg, choice) == word:
            raise InputError(
                f"{key} is {weights}, a whole network, and {choice} is {word}, which would replace "
                f"its encoder; set {choice} to backbone, or {key} to null."
            )


def _check_stop_epochs(cfg: DictConfig) -> None:
    """SC-CAM stops each round within its schedule."""
    stops = OmegaConf.select(cfg, "pipeline.stop_epochs")
    if stops is None or cfg.fit.method.max_epochs == 0:  # no rounds: a network is given
        return
    rounds, last = cfg.pipeline.rounds, cfg.fit.method.max_epochs
    epochs = list(stops) if isinstance(stops, ListConfig) else []
    whole = all(isinstance(epoch, int) and not isinstance(epoch, bool) for epoch in epochs)
    if len(epochs) != rounds or not whole or not all(1 <= epoch <= last for epoch in epochs):
        raise InputError(
            f"pipeline.stop_epochs is {shown(stops)}, but there must be one whole number from 1 to "
            f"fit.method.max_epochs ({last}) for each of the {rounds} rounds of pipeline.rounds; "
            "set these, or null to train each round to the end."
        )


def _check_classes(cfg: DictConfig) -> None:
    """The head of every network has one output for each class of the data."""
    if OmegaConf.is_missing(cfg.data, "num_classes"):
        return  # the constructors of the networks need it
    for part in ("method", "segmenter"):
        outputs = OmegaConf.select(cfg, f"{part}.num_classes")
        if outputs is not None and outputs != cfg.data.num_classes:
            raise InputError(
                f"{part}.num_classes is {outputs}, but data.num_classes is {cfg.data.num_classes}; "
                "leave it out, and the head has one output for each class of the data."
            )
    classes = OmegaConf.select(cfg, "data.dataset.classes")
    if classes is not None and len(classes) != cfg.data.num_classes:
        raise InputError(
            f"data.num_classes is {cfg.data.num_classes}, but data.dataset.classes names "
            f"{len(classes)} ({', '.join(map(str, classes))}); the head has one output for each "
            "class, so make both agree (background counts in neither)."
        )


def _check_cams(cfg: DictConfig) -> None:
    """The CAMs that are read from the classifier must exist and fit the refining network."""
    stride = OmegaConf.select(cfg, "refine.module.net.stride")
    if cfg.cam.alignment == "irn" and stride is not None and stride != STRIDED:
        raise InputError(
            f"refine.module.net.stride is {stride}, but with cam.alignment=irn the random walk "
            f"starts from CAMs with one cell for every {STRIDED} pixels; set it to {STRIDED}, or "
            "cam.alignment to aligned or psa."
        )
    if cfg.cam.sub_maps and OmegaConf.select(cfg, "method.net.sub_categories") is None:
        method = cfg.method.get("_target_", "").rpartition(".")[2]
        raise InputError(
            f"cam.sub_maps is true, but method={method} has no sub-categories; set it to false, or "
            "choose experiment=sc_cam."
        )
