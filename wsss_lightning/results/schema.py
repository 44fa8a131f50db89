"""The content of `results.json`: one dataclass for the writer and every reader."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from wsss_lightning.errors import InputError
from wsss_lightning.results.upgrade import upgrade_version_1
from wsss_lightning.steps.labels import StepInfo, declare_steps
from wsss_lightning.utils.files import write_json

FILE_NAME: Final = "results.json"
SCHEMA: Final = 2
"""Version that is written. Version 1, whose files have no `schema`, is upgraded when it is read."""


@dataclass(frozen=True)
class Splits:
    """Names of the training and the validation split; `val` is None without a validation split."""

    train: str
    val: str | None


@dataclass(frozen=True)
class ScoredImages:
    """Images of a split that was scored, and the folder of their true masks."""

    images: int
    masks: str | None


@dataclass(frozen=True)
class SeedProtocol:
    """How seeds are made and scored.

    Args:
        tags: `given`, or `predicted` by the classifier.
        scales, flip: scales of the images, and whether mirror images are added.
        thresholds: rule by which the background threshold of each metric is chosen.
        alignment, normalisation: of the activation maps; None in results of version 1.
    """

    tags: str
    scales: list[float]
    flip: bool
    thresholds: dict[str, str]
    alignment: str | None = None
    normalisation: str | None = None


@dataclass(frozen=True)
class SegmentationProtocol:
    """How the segmentation network is initialised and tested.

    Args:
        init_from: `backbone` or `classifier`.
        initial_weights: file name, `hub`, or `random`; None in results of version 1.
        scales, flip: of test images.
        long_side: long side of test images, pixels; None: images keep their size.
        crf: parameters of the CRF on its output; None: no CRF.
    """

    init_from: str
    scales: list[float]
    flip: bool
    initial_weights: str | None = None
    long_side: int | None = None
    crf: dict[str, Any] | None = None


@dataclass(frozen=True)
class Protocol:
    """Rules under which the scores were made. Fields after `splits` are None where unknown.

    Args:
        splits: names of the training and the validation split.
        train_masks_used_for: uses of masks of the training split that a person drew, such as
            `scoring`, `tags`, `boxes`, `training` or `corrections` (of pseudo masks).
        true_masks_digest: digest of the true masks of all splits; equal digests mean comparable
            scores.
        scored_splits: by name of the split.
        tags_source, boxes_source: value of `data.dataset.tags` and `data.dataset.boxes`.
        box_labels, relabel: functions that turn boxes into labels and update them.
        initial_weights: initial weights of the first network, as in `SegmentationProtocol`.
        normalisation: mean and std of the backbone's input.
        precision: precision of the trainer.
        miou: definition of the metric.
        corrected_masks_digest: digest of the masks that replaced pseudo masks (`pseudo.masks`).
    """

    splits: Splits
    train_masks_used_for: list[str]
    true_masks_digest: str | None = None
    scored_splits: dict[str, ScoredImages] | None = None
    tags_source: str | None = None
    boxes_source: str | None = None
    box_labels: str | None = None
    relabel: str | None = None
    initial_weights: str | None = None
    normalisation: dict[str, list[float]] | None = None
    precision: str | None = None
    miou: str | None = None
    seeds: SeedProtocol | None = None
    segmentation: SegmentationProtocol | None = None
    corrected_masks_digest: str | None = None


@dataclass(frozen=True)
class ReviewCounts:
    """Work of a person on tags and pseudo masks (`pseudo.review`).

    Args:
        images: number of images of the training split with a decision.
        decisions: number of decisions that count, by kind: `accept`, `reject`, `tag`, `ignore`,
            `box` and `scribble`.
        seconds: time between the decisions, without breaks.
        digest: digest of the file.
    """

    images: int
    decisions: dict[str, int]
    seconds: float
    digest: str


@dataclass(frozen=True)
class Annotation:
    """Number of annotations that a run used, by kind; None where it is unknown.

    Args:
        images: number of images of the training split.
        tag_questions: number of tags to decide: one for each class of each image.
        boxes: number of drawn boxes.
        masks: number of segmented images.
        objects_outlined: number of objects in those masks.
        held_out_masks: number of masks that only choose the held-out threshold.
        corrected_masks: number of pseudo masks that a person corrected (`pseudo.masks`).
        review: work on the results of an earlier run; None: there was none.
    """

    images: int | None
    tag_questions: int | None
    boxes: int | None
    masks: int | None
    objects_outlined: int | None
    held_out_masks: int | None
    corrected_masks: int | None = 0
    review: ReviewCounts | None = None


@dataclass(frozen=True)
class RecipeRecord:
    """The published run that a run follows, and each setting in which it differs."""

    name: str
    differences: list[dict[str, Any]]


@dataclass(frozen=True)
class Results:
    """One finished run.

    Args:
        experiment: name.
        data: name of the data set.
        data_digest: digest of the files of the data set.
        seed: seed of all random numbers.
        supervision: `tags`, `boxes` or `masks` (`Supervision.name`).
        scores: in [0, 1], rank correlations in [-1, 1], by `<step>/<split>/<metric>`; may hold
            values that are not numbers.
        protocol: rules under which the scores were made.
        annotation: number of annotations used.
        overrides: command-line arguments, `KEY=VALUE`.
        dataset: configuration node that builds the data set.
        seconds: duration of each stage, by name.
        versions: versions of Python, packages and this code.
        recipe: None if the run follows no published run.
        key: digest of everything the results depend on.
        trainings: names of the stages that trained a network, where links to them were not kept.
        steps: label and order of the refiner's steps, by the name that leads their scores.
    """

    experiment: str
    data: str
    data_digest: str
    seed: int
    supervision: str
    scores: dict[str, Any]
    protocol: Protocol
    annotation: Annotation
    overrides: list[str]
    dataset: dict[str, Any]
    seconds: dict[str, Any]
    versions: dict[str, Any]
    recipe: RecipeRecord | None = None
    key: str | None = None
    trainings: list[str] | None = None
    steps: dict[str, StepInfo] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, without background."""
        return [str(name) for name in self.dataset["classes"]]

    @property
    def dataset_node(self) -> dict[str, Any]:
        """`dataset` as configuration: ids of `mask_ids` are numbers, which JSON keys cannot be."""
        ids = self.dataset.get("mask_ids")
        if not ids:
            return dict(self.dataset)
        return {**self.dataset, "mask_ids": {int(key): name for key, name in ids.items()}}


_validator: Final = TypeAdapter(Results)


def write_results(folder: Path, results: Results) -> None:
    """Write `results.json` into a run's folder, atomically."""
    write_json(folder / FILE_NAME, {"schema": SCHEMA, **asdict(results)})


def read_results(path: Path) -> Results:
    """Read a `results.json` of any version up to `SCHEMA`, and declare the steps that it names.

    Raises:
        InputError: the file cannot be read, is damaged, or has a newer version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}). Delete it and repeat the run, which reuses its "
            "finished stages and writes the file again."
        ) from error
    version = content.get("schema", 1) if isinstance(content, Mapping) else 1
    if type(version) is not int or version < 1:
        raise InputError(_damaged(path, f"has schema: {version!r}"))
    if version > SCHEMA:
        raise InputError(
            f"{path} has schema version {version}, but this wsss_lightning reads versions 1 to "
            f"{SCHEMA}. Update wsss_lightning, or leave the run out."
        )
    try:
        if version == 1:
            content = upgrade_version_1(content)
        # JSON mode is strict about types, but takes lists and mappings for dataclasses
        results = _validator.validate_json(json.dumps(content), strict=True)
        if not isinstance(results.dataset.get("classes"), list):
            raise KeyError("dataset.classes")
    except ValidationError as error:
        raise InputError(_damaged(path, _first_fault(error))) from error
    except KeyError as error:
        raise InputError(_damaged(path, f"has no {error.args[0]}")) from error
    except (TypeError, AttributeError, ValueError) as error:
        raise InputError(_damaged(path, f"holds no results ({error})")) from error
    declare_steps(results.steps)
    return results


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return f"has no {key}"
    return f"has {key}: {fault['input']!r:.60}" if key else "holds no results"


def _damaged(path: Path, fault: str) -> str:
    return (
        f"{path} {fault}; the file is damaged, or another version of wsss_lightning wrote it. "
        "Repeat its run with this version, or leave it out."
    )
