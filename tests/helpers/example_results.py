"""Results of a run that never took place."""

from dataclasses import replace
from typing import Any

from wsss_lightning.results.schema import Annotation, Protocol, Results, SeedProtocol, Splits


def example_results(**changes: Any) -> Results:
    """Results of `experiment=cam` on ten images, with other values for some fields."""
    results = Results(
        experiment="cam",
        data="pets",
        data_digest="files-train-val",
        seed=0,
        supervision="tags",
        scores={"seeds/train/miou": 0.5, "segmentation/val/miou": 0.625},
        protocol=Protocol(
            splits=Splits("train", "val"),
            train_masks_used_for=["scoring"],
            true_masks_digest="a-b",
            seeds=SeedProtocol("given", [1.0], True, {"miou": "fixed at 0.2"}),
        ),
        annotation=Annotation(10, 20, 0, 0, 0, 1),
        overrides=["experiment=cam", "seed=0"],
        dataset={
            "_target_": "wsss_lightning.data.dataset.VOCDataset",
            "root": "photos",
            "classes": ["cat", "dog"],
        },
        seconds={"classifier": 60.0},
        versions={"code": "0"},
    )
    return replace(results, **changes)
