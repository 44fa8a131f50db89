"""The protocol: the rules under which the scores of a run were computed."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from wsss_lightning.config.splits import splits_of
from wsss_lightning.data.supervision import BOXES, MASKS, TAGS, Supervision
from wsss_lightning.results.schema import (
    Protocol,
    ScoredImages,
    SeedProtocol,
    SegmentationProtocol,
    Splits,
)
from wsss_lightning.steps.corrected_masks import corrected_digest
from wsss_lightning.steps.datasets import datasets_of
from wsss_lightning.steps.scored_splits import every_scored_split

MIOU = (
    "one confusion matrix per split, background included, pixels of 255 left out, averaged over "
    "the labels that occur in the split's true masks"
)


def protocol_of(cfg: DictConfig, supervision: Supervision) -> Protocol:
    """Protocol of a run.

    Args:
        cfg: composed configuration.
        supervision: supervision of the pipeline.
    """
    datasets = [datasets_of(cfg.data)(split) for split in splits_of(cfg.data)]
    from_tags, from_boxes = supervision is TAGS, supervision is BOXES
    first_network = cfg.method.net if from_tags else cfg.segmenter.net
    return Protocol(
        splits=Splits(cfg.data.train, cfg.data.val),
        train_masks_used_for=_uses_of_train_masks(cfg, supervision),
        true_masks_digest="-".join(dataset.mask_fingerprint() for dataset in datasets),
        scored_splits={
            scored.name: ScoredImages(
                images=len(datasets_of(scored.data)(scored.name)),
                masks=scored.data.dataset.mask_dir,
            )
            for scored in every_scored_split(cfg)
        },
        tags_source=cfg.data.dataset.tags,
        boxes_source=cfg.data.dataset.boxes if from_boxes else None,
        box_labels=_function_name(cfg.box_labels) if from_boxes else None,
        relabel=_function_name(cfg.relabel) if from_boxes else None,
        initial_weights=_initial_weights(first_network),
        normalisation={"mean": list(cfg.backbone.mean), "std": list(cfg.backbone.std)},
        precision=str(cfg.trainer.get("precision")),
        miou=MIOU,
        seeds=_seed_protocol(cfg) if from_tags else None,
        segmentation=SegmentationProtocol(
            init_from=cfg.fit.segmenter.init_from if from_tags else "backbone",
            initial_weights=_initial_weights(cfg.segmenter.net),
            scales=list(cfg.test.scales),
            flip=cfg.test.flip,
            long_side=cfg.test.long_side,
            crf=_parameters(cfg.test_crf) if cfg.test.crf else None,
        ),
        corrected_masks_digest=None if cfg.pseudo.masks is None else corrected_digest(cfg),
    )


def _seed_protocol(cfg: DictConfig) -> SeedProtocol:
    fixed, held_out = cfg.seeds.background_score, cfg.seeds.held_out
    return SeedProtocol(
        tags=cfg.cam.tags,
        scales=list(cfg.cam.scales),
        flip=cfg.cam.flip,
        thresholds={
            "miou": f"fixed at {fixed}",
            "miou_held_out": f"chosen on the masks of a share {held_out} of the split's images, "
            "evenly spaced; scored on all other images",
            "miou_oracle": "the best one for the masks that are scored",
        },
        alignment=cfg.cam.alignment,
        normalisation=cfg.cam.normalisation,
    )


def _uses_of_train_masks(cfg: DictConfig, supervision: Supervision) -> list[str]:
    """Uses of masks of the training split that a person drew."""
    uses = ["scoring"]
    if supervision is MASKS:
        uses.insert(0, "training")
    elif supervision is BOXES and cfg.data.dataset.boxes == "masks":
        uses.insert(0, "boxes")
    elif supervision is TAGS and cfg.data.dataset.tags == "masks":
        uses.insert(0, "tags")
    if cfg.pseudo.masks is not None:
        uses.insert(0, "corrections")
    return uses


def _initial_weights(net: DictConfig) -> str:
    """Weights with which a network is initialised: a file's name, `hub` or `random`."""
    file = net.get("weights") or net.backbone.weights
    if file:
        return Path(file).name
    return "hub" if net.backbone.pretrained else "random"


def _function_name(node: DictConfig) -> str:
    return node._target_.rpartition(".")[2]


def _parameters(node: DictConfig) -> dict[str, object]:
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
