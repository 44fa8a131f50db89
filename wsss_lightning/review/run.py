"""A finished run whose masks are reviewed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from hydra.utils import instantiate
from jaxtyping import UInt8
from omegaconf import OmegaConf

from wsss_lightning.config.folder import conf_folder
from wsss_lightning.config.targets import check_targets
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.duplicates import near_duplicates
from wsss_lightning.data.report import ImageReport, thumbnail
from wsss_lightning.data.review.corrections import correct_mask
from wsss_lightning.data.review.state import ImageState
from wsss_lightning.data.scores import load_mask, load_score
from wsss_lightning.data.sources.masks import BACKGROUND
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.data.supervision import TAGS
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.figures.overlays import label_colours
from wsss_lightning.report.images import masks_of
from wsss_lightning.report.runs import RunResult, find_runs
from wsss_lightning.review import pictures
from wsss_lightning.review.ranking import UNKNOWN, worst_first
from wsss_lightning.steps.labels import step_label
from wsss_lightning.steps.quality import TABLE, QualityTable, load_quality
from wsss_lightning.utils.text import shorten

DECIDED: Final = "decided"  # key of the layer that depends on the decisions

PREDICTIONS: Final = {"segmentation_crf": "prediction + CRF", "segmentation": "prediction"}


@dataclass(frozen=True)
class Layer:
    """Masks that are laid over the photos.

    Args:
        key: in addresses.
        label: on the page.
        folder: holds `<name>.png`.
    """

    key: str
    label: str
    folder: Path


@final
class ReviewedRun:
    """Images, masks, score maps and quality of one split of a run.

    Args:
        folder: folder of the run, which holds results.json.
        split: split whose images are shown; None: the training split.

    Raises:
        InputError: the folder holds no run or several, the data set cannot be read, or the run has
            no masks of the split.
    """

    def __init__(self, folder: Path, split: str | None = None) -> None:
        self.run = _only_run(folder)
        results = self.run.results
        splits = results.protocol.splits
        known = [one for one in (splits.train, splits.val) if one is not None]
        self.split = split or splits.train
        if self.split not in known:
            raise InputError(f"--split is {self.split}; {did_you_mean(self.split, known)}")
        self.is_training_split = self.split == splits.train
        self.can_retag = self.is_training_split and results.supervision == TAGS.name
        self.title = f"{results.experiment} on {results.data}, seed {results.seed}"
        self.classes = results.classes
        self.layers = _layers(self.run, self.split, self.is_training_split)
        if not self.layers:
            raise InputError(
                f"{folder} has no masks of {self.split}; repeat the run, whose finished steps are "
                "reused, or choose another --split."
            )
        self.dataset = _open(results.dataset_node, self.split)
        self.names = self.dataset.names
        self._heat = self.run.stage(f"seeds/{self.split}")
        self._lacking()

    @cached_property
    def quality(self) -> QualityTable:
        """Estimated quality of the pseudo masks; empty if the run has none."""
        folder = self.run.folder / "quality"
        if not self.is_training_split or not (folder / TABLE).is_file():
            return QualityTable({}, {})
        return load_quality(folder)

    @cached_property
    def order(self) -> list[int]:
        """Indices of all images, the worst first."""
        return worst_first([self.quality.images.get(name) for name in self.names], self.names)

    @cached_property
    def class_quality(self) -> list[dict[int, float]]:
        """Quality of each tagged class of each image; that of the image where a class has none."""
        of_images, of_masks = self.quality.images, self.quality.masks
        return [
            {
                c: of_masks.get((name, self.classes[c]), of_images.get(name, UNKNOWN))
                for c in self.tags(i)
            }
            for i, name in enumerate(self.names)
        ]

    def describe(self) -> dict[str, Any]:
        """Everything that the page needs at its start, ready for JSON."""
        colours = label_colours()
        return {
            "title": self.title,
            "split": self.split,
            "can_retag": self.can_retag,
            "has_quality": bool(self.quality.images),
            "classes": [
                {"name": name, "colour": "#" + bytes(colours[i + 1].tolist()).hex()}
                for i, name in enumerate(self.classes)
            ],
            "layers": self._describe_layers(),
            "images": [self._describe_image(i) for i in self.order],
        }

    def _describe_layers(self) -> list[dict[str, str]]:
        """The run's layers, and what the next run would learn from."""
        layers = [{"key": layer.key, "label": layer.label} for layer in self.layers]
        if self.is_training_split:
            layers.insert(1, {"key": DECIDED, "label": "with decisions"})
        return layers

    def _describe_image(self, i: int) -> dict[str, Any]:
        name = self.names[i]
        height, width = self.dataset.image_size(i)
        values = {c: self.quality.masks.get((name, self.classes[c])) for c in self.tags(i)}
        return {
            "index": i,
            # a file name may hold bytes that are no text
            "name": name.encode("utf-8", "replace").decode(),
            "size": [width, height],
            "tags": self.tags(i),
            "quality": self.quality.images.get(name),
            "class_quality": {c: value for c, value in values.items() if value is not None},
        }

    def tags(self, i: int) -> list[int]:
        """Indices of the classes that image i is tagged with."""
        return self.dataset.tags[i].nonzero().flatten().tolist()

    def photo(self, i: int) -> bytes:
        """Image i, JPEG."""
        return pictures.photo(self.dataset.image(i))

    def thumbnail(self, i: int) -> bytes:
        """A small version of image i, JPEG."""
        return pictures.photo(self.dataset.image(i), pictures.THUMBNAIL_SIDE)

    def mask(self, i: int, key: str) -> bytes | None:
        """Mask of image i in a layer, PNG; None if the layer does not exist."""
        layer = next((one for one in self.layers if one.key == key), None)
        return None if layer is None else pictures.mask_layer(self._load(layer, i))

    def decided(self, i: int, state: ImageState) -> bytes:
        """Mask of image i as the next run would correct it, PNG."""
        mask, corrections = self._load(self.layers[0], i), state.corrections()
        if corrections is not None:
            labels = {name: label for label, name in enumerate([BACKGROUND, *self.classes])}
            given = {self.classes[c] for c in self.tags(i)}
            tagged = [name for name in self.classes if state.tags.get(name, name in given)]
            mask = correct_mask(mask, corrections, labels, tagged, _box_min_fill())
        return pictures.mask_layer(mask)

    def _load(self, layer: Layer, i: int) -> UInt8[np.ndarray, "H W"]:
        return load_mask(image_file(layer.folder, self.names[i], ".png"))

    def heat(self, i: int, c: int) -> bytes | None:
        """Score map of a class of image i, PNG; None if the run has none."""
        path = image_file(self._heat, self.names[i], ".npz")
        if not path.is_file():
            return None
        score, labels = load_score(path)
        rows = (labels == c + 1).nonzero()[0]
        return pictures.heat_layer(score[rows[0]]) if len(rows) else None

    def is_duplicate(self, i: int, others: Sequence[int]) -> bool:
        """Whether image i shows almost the same as one of others."""
        one, rest = self._report(i), [self._report(j) for j in others]
        if any(report.digest == one.digest for report in rest):
            return True
        return bool(near_duplicates([one], rest))

    @lru_cache(maxsize=4096)  # noqa: B019 (the only run of the process)
    def _report(self, i: int) -> ImageReport:
        image = self.dataset.image(i)
        digest = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
        return ImageReport(self.names[i], digest=digest, thumbnail=thumbnail(image))

    def _lacking(self) -> None:
        """Check that every image has its mask.

        Raises:
            InputError: the data set has images that the run did not have.
        """
        folder = self.layers[0].folder
        absent = [name for name in self.names if not image_file(folder, name, ".png").is_file()]
        if absent:
            raise InputError(
                f"{self.run.folder} has no masks of {len(absent)} images of {self.split} "
                f"({shorten(absent)}): the data set has changed since the run. Repeat the run."
            )


def _box_min_fill() -> float:
    """Default of `pseudo.box_min_fill`."""
    return float(OmegaConf.load(conf_folder() / "config.yaml").pseudo.box_min_fill)


def _only_run(folder: Path) -> RunResult:
    runs = find_runs([folder])
    if len(runs) > 1:
        names = shorten([str(run.folder) for run in runs])
        raise InputError(f"{folder} holds {len(runs)} runs ({names}); give the folder of one.")
    return runs[0]


def _open(node: dict[str, Any], split: str) -> VOCDataset:
    config = OmegaConf.create({"dataset": node})
    check_targets(config)
    try:
        return instantiate(config.dataset)(split=split)
    except TypeError as error:  # the constructor's arguments have changed since the run
        raise InputError(
            f"Another version of wsss_lightning read the data of this run ({error}); repeat it."
        ) from error


def _layers(run: RunResult, split: str, is_training_split: bool) -> list[Layer]:
    """Masks of a split: those that decisions are about first, predictions last."""
    steps = list(PREDICTIONS)
    if is_training_split:
        # the worst masks are ignored in `kept`, and reviewed ones hold earlier decisions already
        steps = ["corrected", "pseudo", "reviewed", "kept", *steps]
    else:
        refined = sorted(run.results.steps, key=lambda name: -run.results.steps[name].order)
        steps = [*refined[:1], *steps]
    folders = [(step, masks_of(run, (step, split))) for step in steps]
    if is_training_split and not (run.folder / "pseudo").is_dir():  # a pipeline of boxes
        labels = run.stage("labels")
        folders.insert(0, ("labels", labels if labels.is_dir() else None))
    return [
        Layer(step, PREDICTIONS.get(step) or step_label(step), folder)
        for step, folder in folders
        if folder is not None
    ]
