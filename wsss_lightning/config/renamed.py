"""Keys, values and targets of the previous release, with their new names.

Old keys on the command line are translated with a note. In a configuration file they are errors
that name the new key. This module can be deleted with version 0.3.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from wsss_lightning.errors import InputError

UNTIL = "0.3"

# old key, or common prefix of several keys: the new one
KEYS: dict[str, str] = {
    "data.reader.untagged": "data.dataset.on_missing_labels",
    "data.dataset.untagged": "data.dataset.on_missing_labels",
    "data.reader": "data.dataset",
    "data.looks": "data.subcategories",
    "data.generate.looks": "data.generate.subcategories",
    "score.bits": "cam.storage_bits",
    "score": "cam",
    "runs": "output_dir",
    "slots": "device_groups",
    "pictures": "num_previews",
    "pipeline.plateau": "pipeline.min_change",
    "pipeline.network": "pipeline.training",
    "pipeline.begin": "pipeline.init_from",
    "fit.segmenter.encoder": "fit.segmenter.init_from",
    "refine.encoder": "refine.init_from",
    "relabel.least": "relabel.min_fill",
    "relabel.certainty": "relabel.label_confidence",
    "box_labels.least": "box_labels.min_fill",
}
for _module in ("method", "segmenter", "refine.module", "pipeline.first"):
    KEYS[f"{_module}.head_factor"] = f"{_module}.head_lr_multiplier"
    KEYS[f"{_module}.power"] = f"{_module}.poly_power"
    KEYS[f"{_module}.net.taps"] = f"{_module}.net.feature_layers"
    KEYS[f"{_module}.net.tap_channels"] = f"{_module}.net.feature_channels"

# new key: {old value: new value}
VALUES: dict[str, dict[str, str]] = {
    "pipeline.training": {"afresh": "scratch", "continued": "finetune"},
    "pipeline.init_from": {"initial": "backbone", "last": "last_round"},
}

_SIMPLE_DOES_IT = "wsss_lightning.methods.simple_does_it"
TARGETS: dict[str, str] = {
    "wsss_lightning.callbacks.wandb_logger.TrainingLogger": (
        "wsss_lightning.training.loggers.WandbTrainingLogger"
    ),
    "wsss_lightning.data.tiny_world.generate": "wsss_lightning.data.synthetic.generate.generate",
    "wsss_lightning.data.voc_layout.VOCLayout": "wsss_lightning.data.dataset.VOCDataset",
    "wsss_lightning.functional.boxes.denoised": f"{_SIMPLE_DOES_IT}.boxes.denoised",
    "wsss_lightning.functional.boxes.naive": f"{_SIMPLE_DOES_IT}.boxes.naive",
    "wsss_lightning.functional.boxes.paint_boxes": f"{_SIMPLE_DOES_IT}.boxes.paint_boxes",
    "wsss_lightning.functional.boxes.paint_cores": f"{_SIMPLE_DOES_IT}.boxes.paint_cores",
    "wsss_lightning.functional.boxes.smaller": f"{_SIMPLE_DOES_IT}.boxes.smaller",
    "wsss_lightning.functional.grabcut.paint_agreement": (
        f"{_SIMPLE_DOES_IT}.grabcut.paint_agreement"
    ),
    "wsss_lightning.functional.grabcut.paint_grabcut": f"{_SIMPLE_DOES_IT}.grabcut.paint_grabcut",
    "wsss_lightning.methods.affinity.AffinityLearner": (
        "wsss_lightning.methods.affinity_net.module.AffinityNetModule"
    ),
    "wsss_lightning.methods.classifier.Classifier": "wsss_lightning.methods.cam.module.Classifier",
    "wsss_lightning.methods.irn.BoundaryLearner": "wsss_lightning.methods.irn.module.IRNModule",
    "wsss_lightning.methods.sc_cam.SCCAM": "wsss_lightning.methods.sc_cam.module.SCCAM",
    "wsss_lightning.methods.seam.SEAM": "wsss_lightning.methods.seam.module.SEAM",
    "wsss_lightning.methods.segmenter.Segmenter": (
        "wsss_lightning.methods.segmentation.module.Segmenter"
    ),
    "wsss_lightning.nets.affinity_net.AffinityNet": (
        "wsss_lightning.methods.affinity_net.network.AffinityNet"
    ),
    "wsss_lightning.nets.cam_net.CamNet": "wsss_lightning.methods.cam.network.CamNet",
    "wsss_lightning.nets.deeplab.DeepLabV1": (
        "wsss_lightning.methods.segmentation.deeplab.DeepLabV1"
    ),
    "wsss_lightning.nets.deeplab.DeepLabV2": (
        "wsss_lightning.methods.segmentation.deeplab.DeepLabV2"
    ),
    "wsss_lightning.nets.irn_net.BoundaryNet": "wsss_lightning.methods.irn.network.BoundaryNet",
    "wsss_lightning.nets.seam_net.SeamNet": "wsss_lightning.methods.seam.network.SeamNet",
    "wsss_lightning.nets.segmentation_net.SegmentationNet": (
        "wsss_lightning.methods.segmentation.network.SegmentationNet"
    ),
    "wsss_lightning.nets.sub_cam_net.SubCamNet": "wsss_lightning.methods.sc_cam.network.SubCamNet",
    "wsss_lightning.pipelines.boxes": "wsss_lightning.pipelines.boxes.boxes",
    "wsss_lightning.pipelines.full_supervision": (
        "wsss_lightning.pipelines.full_supervision.full_supervision"
    ),
    "wsss_lightning.pipelines.sc_cam": "wsss_lightning.pipelines.sc_cam.sc_cam",
    "wsss_lightning.pipelines.tags": "wsss_lightning.pipelines.image_labels.image_labels",
    "wsss_lightning.processes.Processes": "wsss_lightning.training.distributed.PerStageDDP",
    "wsss_lightning.refiners.affinity": "wsss_lightning.refiners.affinity.Affinity",
    "wsss_lightning.refiners.crf": "wsss_lightning.refiners.crf.CRF",
    "wsss_lightning.refiners.none": "wsss_lightning.refiners.none.NoRefinement",
}

# parameters that networks have gained since, which only affect their initial weights
NEW_PARAMETERS: dict[str, dict[str, Any]] = {
    "wsss_lightning.methods.cam.network.CamNet": {"head_init": "default", "weights": None},
    "wsss_lightning.methods.sc_cam.network.SubCamNet": {"head_init": "default", "weights": None},
    "wsss_lightning.methods.seam.network.SeamNet": {"weights": None},
}

OVERRIDE = re.compile(r"([+~]*)([^=@+~]+)(=.*)?", re.DOTALL)


def new_key(key: str) -> str | None:
    """New name of a key of the previous release; None if the key was not renamed."""
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        new = KEYS.get(".".join(parts[:end]))
        if new is not None:
            return ".".join([new, *parts[end:]])
    return None


def new_target(target: str) -> str | None:
    """New name of a class or function of the previous release; None if it was not renamed."""
    return TARGETS.get(target)


def translate_overrides(overrides: Iterable[str]) -> list[str]:
    """Overrides with the new names of keys and values; prints a note for each that was renamed."""
    translated = []
    for word in overrides:
        new = current_override(word)
        if new != word:
            old_key, new_key = (one.partition("=")[0].lstrip("+~") for one in (word, new))
            both = (word, new) if old_key == new_key else (old_key, new_key)
            print(
                f"note: {both[0]} was renamed to {both[1]}; the old name works until version "
                f"{UNTIL}.",
                file=sys.stderr,
            )
        translated.append(new)
    return translated


def current_name(key: str) -> str:
    """The current name of a key; a key that was not renamed stays as it is."""
    return new_key(key) or key


def current_override(word: str) -> str:
    """An override with the current names of its key and value."""
    match = OVERRIDE.fullmatch(word)
    if match is None:
        return word
    prefix, key, value = match[1], match[2], match[3] or ""
    new = current_name(key)
    values = VALUES.get(new, {})
    # applies to each value of a sweep
    value = re.sub(r"\w+", lambda found: values.get(found[0], found[0]), value) if values else value
    return f"{prefix}{new}{value}"


def current_config(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration with the current names of keys and targets.

    Args:
        plain: configuration as nested dictionaries; stays as it is.
    """
    config = _current_targets(plain)
    for old, new in KEYS.items():
        *parents, name = old.split(".")
        node = _node(config, parents)
        if node is None or name not in node:
            continue
        value = node.pop(name)
        *parents, name = new.split(".")
        target = config
        for parent in parents:
            target = target.setdefault(parent, {})
        both = isinstance(value, dict) and isinstance(target.get(name), dict)
        target[name] = {**value, **target[name]} if both else value
    return config


def current_module(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The stored node of a module with the current names of keys, targets and parameters."""
    module = current_config({"method": plain})["method"]
    network = _node(module, ["net"])
    if network is not None:
        for name, value in NEW_PARAMETERS.get(str(network.get("_target_")), {}).items():
            network.setdefault(name, value)
    return module


def _current_targets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: (new_target(item) or item)
            if key == "_target_" and isinstance(item, str)
            else _current_targets(item)
            for key, item in value.items()
        }
    return [_current_targets(item) for item in value] if isinstance(value, list) else value


def _node(config: Any, names: Iterable[str]) -> dict[str, Any] | None:
    """The dictionary at a path; None if there is none."""
    for name in names:
        config = config.get(name) if isinstance(config, dict) else None
    return config if isinstance(config, dict) else None


def check_renamed(cfg: DictConfig) -> None:
    """Check that no configuration file uses a key or a value of the previous release.

    Raises:
        InputError: a file uses one; the message gives the new name.
    """
    for old, new in KEYS.items():
        parent, _, name = old.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if isinstance(node, DictConfig) and name in node:
            raise InputError(
                f"{old} was renamed to {new}; rename it in the configuration file that sets it."
            )
    for key, values in VALUES.items():
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str) and value in values:
            raise InputError(
                f"{key} is {value}, which was renamed to {values[value]}; set the new value."
            )
