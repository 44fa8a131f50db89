"""The typed keys of a run, each with its type and range.

OmegaConf reads these classes as its structured configuration, without the metadata in `Annotated`;
`config.ranges` checks the metadata. `Any` marks types that OmegaConf lacks.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt, MinLen

from wsss_lightning.config.fields import Rule, one_of

HIGHEST_SEED = 2**32 - 1  # the highest seed of NumPy's and scikit-learn's generators

Count = Annotated[int, Ge(1)]
Share = Annotated[float, Ge(0), Le(1)]
Scales = Annotated[list[Annotated[float, Gt(0)]], MinLen(1), "[1.0] is the size itself"]
LongSide = Annotated[int, Ge(1), "pixels; null keeps the size of each image"]
Change = Annotated[float, Ge(0)]
Hue = Annotated[float, Ge(0), Le(0.5)]


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_size_range(value: Any) -> bool:
    two = isinstance(value, list) and len(value) == 2 and all(map(is_number, value))
    return two and 0 < value[0] <= value[1]


def _size_range(example: str) -> Rule:
    return Rule(
        _is_size_range, f"null or two positive numbers, the smaller first, such as {example}"
    )


def _are_device_groups(value: Any) -> bool:
    groups = value if isinstance(value, list) else []
    numbers = [i for group in groups if isinstance(group, list) for i in group]
    valid = all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in numbers)
    return (
        bool(groups)
        and all(isinstance(group, list) and group for group in groups)
        and valid
        and len(set(numbers)) == len(numbers)
    )


@dataclass
class Jitter:
    """Photometric changes: factors uniform in 1 +- x; hue shifts uniform in +- x turns."""

    brightness: Change
    contrast: Change
    saturation: Change
    hue: Hue


@dataclass
class HsvJitter:
    """Shifts of hue, saturation and value, uniform in +- x."""

    hue: Hue
    saturation: Share
    value: Share


@dataclass
class Schedule:
    """Length of a training, and the size and augmentation of its images."""

    max_epochs: Annotated[int, Ge(0), "0 takes a given network as it is"]
    max_steps: Count | None
    batch_size: Count
    crop_size: Count
    long_side: Annotated[Any, _size_range("[256, 512]")]
    scale: Annotated[Any, _size_range("[0.5, 1.5]")]
    scale_step: Annotated[float, Gt(0)] | None
    flip: bool
    # null or a mapping, for which OmegaConf cannot override a typed null
    jitter: Annotated[Any, Jitter]
    hsv_jitter: Annotated[Any, HsvJitter]


@dataclass
class Clusters:
    """How SC-CAM clusters the images of each class (`pipeline.clusters`)."""

    algorithm: Annotated[str, one_of("kmeans", "minibatch")]
    n_init: Count
    max_iter: Count
    stability: Annotated[int, Ge(0)]


@dataclass
class SegmenterSchedule(Schedule):
    """Schedule of the segmentation network."""

    init_from: Annotated[str, one_of("backbone", "classifier")]
    validate_crf: bool


@dataclass
class Fit:
    """Schedules of the trainings."""

    method: Schedule
    segmenter: SegmenterSchedule


@dataclass
class Cam:
    """How scores are computed from a trained method."""

    scales: Scales
    flip: bool
    long_side: LongSide | None
    layer: str | None
    sub_maps: bool
    tags: Annotated[str, one_of("given", "predicted")]
    alignment: Annotated[str, one_of("aligned", "irn", "psa")]
    normalisation: Annotated[str, one_of("min_max", "max")]
    storage_bits: Annotated[int, one_of(8, 16)]
    batch_size: Count


@dataclass
class Seeds:
    """How scores become seeds, and how the threshold is chosen."""

    background_score: Annotated[Share, "on VOC 0.15 to 0.3 is usual"]
    background_power: Annotated[float, Gt(0)] | None
    thresholds: Annotated[int, Ge(2), "101 gives steps of 0.01"]
    held_out: Annotated[
        float, Ge(0), Le(0.5), "0.1 sets a tenth of the training images aside for the threshold"
    ]


@dataclass
class Benchmark:
    """A part of the training split on which papers report (`pipelines.scored_splits`)."""

    split: str | None
    mask_dir: str | None


@dataclass
class Pseudo:
    """How marginals become pseudo masks, and which of them are learned from."""

    confidence: Annotated[Share, "0 ignores no pixel"]
    drop_worst: Annotated[float, Ge(0), Lt(1), "0.2 leaves out a fifth of the training images"]
    masks: str | None
    review: str | None
    box_min_fill: Annotated[Share, "0 trusts every box that the mask leaves empty"]


@dataclass
class Test:
    """How the segmentation network is tested."""

    scales: Scales
    flip: bool
    long_side: LongSide | None
    crf: bool
    batch_size: Count


@dataclass
class Config:
    """The top level of every run; each key has its file or its group in `conf/`."""

    name: str
    recipe: str | None
    seed: int
    data: Any
    backbone: Any
    method: Any
    crf: Any
    test_crf: Any
    refine: Any
    box_labels: Any
    relabel: Any
    segmenter: Any
    pipeline: Any
    trainer: Any
    logger: Any
    fit: Fit
    cam: Cam
    seeds: Seeds
    benchmark: Benchmark
    pseudo: Pseudo
    test: Test
    num_previews: Annotated[Count, "evenly spaced images of each preview"]
    workers: Annotated[int, Ge(0)]
    checkpoint_minutes: (
        Annotated[float, Ge(0), "null: checkpoints at the ends of epochs only"] | None
    )
    resume: bool
    save_models: bool
    output_dir: str
    device_groups: Annotated[
        Any,
        Rule(
            _are_device_groups,
            "null or groups of device numbers, each number in one group, such as [[0], [1]] for "
            "two parallel jobs with a GPU each",
        ),
    ]
