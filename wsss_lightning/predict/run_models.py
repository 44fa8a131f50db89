"""The trained networks of a finished run, and their descriptions."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wsss_lightning.config.renamed import current_config, current_module
from wsss_lightning.errors import InputError
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.ops.masks import voc_palette
from wsss_lightning.predict.model_info import ModelInfo
from wsss_lightning.results.schema import FILE_NAME, Results, read_results
from wsss_lightning.steps.config_nodes import (
    backbone_nodes,
    remove_weights,
    set_statistics,
    settings_of,
)

NETWORKS: Final = ("segmentation", "classifier")  # the default first
CAM_KEYS: Final[tuple[str, ...]] = (
    *("scales", "flip", "long_side", "layer"),
    *("sub_maps", "tags", "alignment", "normalisation"),
)


def trainings(results: Results) -> dict[str, str]:
    """Name of the last stage that trained each network of a run.

    Pipelines with rounds train several: `round_3/classifier` is the last one of SC-CAM.
    """
    last: dict[str, str] = {}
    for name in results.seconds:
        network = name.rpartition("/")[2]
        if network in NETWORKS:
            last[network] = name
    # the network after the rounds, wherever the order of stages was lost
    return last | {network: network for network in NETWORKS if network in results.seconds}


def describe(network: str, trained: Path, cfg: DictConfig, results: Results) -> ModelInfo:
    """Description of a trained network of a run.

    Args:
        network: `segmentation` or `classifier`.
        trained: folder of its training.
        cfg: composed configuration of the run.
        results: results of the run.
    """
    stored: Any = OmegaConf.to_container(OmegaConf.load(trained / "module.yaml"))
    node = OmegaConf.create(current_module(stored))
    set_statistics(node)
    backbone = next(backbone_nodes(node))
    segments = network == "segmentation"
    name = "segmenter" if segments else "method"
    initial = _initial_weights(network, backbone, cfg, results)
    remove_weights(node)
    schedule = cfg.fit[name]
    test = settings_of(cfg.test)
    palette = voc_palette()
    return ModelInfo(
        task="segmentation" if segments else "classification",
        module=settings_of(node),
        classes=results.classes,
        colours=[list(palette[3 * i : 3 * i + 3]) for i in range(len(results.classes) + 1)],
        mean=[float(value) for value in backbone.mean],
        std=[float(value) for value in backbone.std],
        sizes=_plain({key: schedule.get(key) for key in ("crop_size", "long_side", "scale")}),
        test={key: test[key] for key in ("scales", "flip", "long_side")} if segments else None,
        cam=None if segments else _cam_settings(cfg, int(backbone.output_stride)),
        crf=settings_of(cfg.test_crf if segments else cfg.crf),
        uses_crf=bool(segments and cfg.test.crf),
        batch_size=cfg.test.batch_size if segments else cfg.cam.batch_size,
        provenance=provenance_of(results, initial, cfg),
    )


def open_run(folder: Path) -> tuple[DictConfig, Results]:
    """Composed configuration and results of a finished run.

    Raises:
        InputError: one of them is missing or damaged.
    """
    results = read_results(folder / FILE_NAME)
    path = folder / "hydra" / "config.yaml"
    try:
        stored: Any = OmegaConf.to_container(OmegaConf.load(path))
        cfg = OmegaConf.create(current_config(stored))
    except (OSError, ValueError, OmegaConfBaseException) as error:
        raise InputError(
            f"{path} cannot be read ({error}), but the settings of the run's networks are needed; "
            "repeat the run, which reuses its finished stages and writes its models."
        ) from error
    if "test_crf" not in cfg and "crf" in cfg:  # before version 0.2 there was one CRF
        cfg.test_crf = cfg.crf
    return cfg, results


def _cam_settings(cfg: DictConfig, stride: int) -> dict[str, Any]:
    settings = settings_of(cfg.cam)
    kept: dict[str, Any] = {key: settings[key] for key in CAM_KEYS if key in settings}
    CamSettings(**kept, stride=stride)
    return {**kept, "stride": stride}


def _initial_weights(
    network: str, backbone: DictConfig, cfg: DictConfig, results: Results
) -> dict[str, Any]:
    """Name and source of the initial weights, without their folder."""
    protocol, from_classifier = results.protocol, False
    if network == "segmentation" and protocol.segmentation is not None:
        weights = protocol.segmentation.initial_weights
        from_classifier = protocol.segmentation.init_from == "classifier"
    else:
        weights = protocol.initial_weights
    return {"backbone": backbone.name, "weights": weights, "after_classifier": from_classifier}


def provenance_of(results: Results, initial: dict[str, Any], cfg: DictConfig) -> dict[str, Any]:
    """Data, supervision, scores and versions of a run; scores that are not finite are left out.

    Args:
        results: results of the run.
        initial: initial weights of the network.
        cfg: composed configuration.
    """
    protocol = results.protocol
    return {
        "experiment": results.experiment,
        "data": results.data,
        "data_digest": results.data_digest,
        "seed": results.seed,
        "supervision": results.supervision,
        "pipeline": str(OmegaConf.select(cfg, "pipeline._target_")),
        "annotation": {key: value for key, value in asdict(results.annotation).items() if value},
        "train_masks_used_for": protocol.train_masks_used_for,
        "splits": vars(protocol.splits),
        "miou": protocol.miou,
        "scores": {key: value for key, value in results.scores.items() if _is_finite(value)},
        "initial_weights": initial,
        "overrides": [without_folders(one) for one in results.overrides],
        "recipe": None if results.recipe is None else results.recipe.name,
        "versions": {key: str(value) for key, value in results.versions.items()},
    }


def _is_finite(score: Any) -> bool:
    """Whether a score is a number that JSON can hold; mAP of a split without tags is NaN."""
    return isinstance(score, (int, float)) and math.isfinite(score)


def without_folders(override: str) -> str:
    """An override whose value, if it is a path, is shortened to its last part.

    A model is passed on, and folders of the machine that trained it are nobody else's business.
    """
    key, equals, value = override.partition("=")
    path = value.strip("'\"")
    if not equals or not path.startswith(("/", "~", "./", "../")):
        return override
    return f"{key}=.../{Path(path).name}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return settings_of(OmegaConf.create(values))
