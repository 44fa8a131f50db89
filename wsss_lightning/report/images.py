"""Images after every step of every method, and images of their errors.

Letters: H W an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from hydra.utils import instantiate
from jaxtyping import UInt8
from omegaconf import OmegaConf

from wsss_lightning.config.targets import check_targets
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import load_mask
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.error_analysis import WRONG, error_types
from wsss_lightning.figures.image_grid import Overlay
from wsss_lightning.figures.overlays import (
    class_legend,
    confidence_overlay,
    heat_overlay,
    label_colours,
    mask_overlay,
)
from wsss_lightning.pipelines.masks_to_learn import PSEUDO_HEADINGS
from wsss_lightning.report.comparison import ERROR_NAMES
from wsss_lightning.report.methods import DataSet, Method
from wsss_lightning.report.runs import RunResult, Step
from wsss_lightning.report.tiles import RGB, Tile, make_tile
from wsss_lightning.steps.datasets import name_keys
from wsss_lightning.steps.labels import step_label
from wsss_lightning.steps.preview_images import (
    class_scores,
    confidence,
    evenly_spaced,
    identical_columns,
    miou_label,
    stored_probabilities,
    tagged_names,
)
from wsss_lightning.utils.console import track

RED = (230, 0, 38)
Mask = UInt8[np.ndarray, "_ _"]
BAR_STOPS = 9  # colours of a colour bar
Masks = Mapping[str, Mask]
Probabilities = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Example:
    """An image after all steps.

    Args:
        name: name of the image.
        note: shown next to the name.
        input: the image itself, and its true mask if there is one.
        rows: tiles of each method, in the order of the steps.
    """

    name: str
    note: str
    input: list[Tile]
    rows: dict[str, list[Tile]]

    @property
    def all_rows(self) -> list[list[Tile]]:
        """The input's tiles, then those of each method."""
        return [self.input, *self.rows.values()]


class _Picture(NamedTuple):
    """An image of a split.

    position: index in the split.
    image: RGB.
    truth: true mask, if there is one.
    """

    position: int
    image: RGB
    truth: Mask | None


class ImageSource:
    """Makes tiles of a data set's images, and of the first run of each method.

    Args:
        data: its methods.
        folder: for images in full size; created with the first of them.

    Raises:
        InputError: the data set cannot be read from the folder that the runs used.
    """

    def __init__(self, data: DataSet, folder: Path) -> None:
        node = OmegaConf.create({"dataset": data.methods[0].runs[0].results.dataset_node})
        check_targets(node)
        self.data, self.folder, self._build = data, folder, instantiate(node.dataset)
        self._datasets: dict[str, VOCDataset] = {}
        self._shown_masks: list[UInt8[np.ndarray, "_ _"]] = []
        self._shown_overlays: dict[str, Overlay] = {}
        self._probabilities_shown = False

    def dataset(self, split: str) -> VOCDataset:
        """A split, which is read once.

        Raises:
            InputError: it cannot be read.
        """
        if split not in self._datasets:
            try:
                self._datasets[split] = self._build(split=split)
            except TypeError as error:  # the constructor's arguments have changed since the run
                raise InputError(
                    f"another version of wsss_lightning read the data of {self.data.title} "
                    f"({error})."
                ) from error
        return self._datasets[split]

    def examples(
        self, split: str, notes: Mapping[str, str], methods: Sequence[Method]
    ) -> list[Example]:
        """Images after every step of every method.

        Steps of a method with the same masks in all of these images are shown once.

        Args:
            split: split of the images.
            notes: text beside the name of each image to show.
            methods: methods to show.
        """
        masks = {method.name: [_masks(method, split, name) for name in notes] for method in methods}
        groups = {name: identical_columns(of_images) for name, of_images in masks.items()}
        known = {method.name: _probabilities(method.runs[0], split) for method in methods}
        examples = []
        for i, (name, note) in enumerate(track(notes.items(), len(notes), "images")):
            picture, rows = self._picture(name, split), {}
            for method in methods:
                maps = self._maps(method, split, picture, known[method.name])
                of_image, of_method = masks[method.name][i], groups[method.name]
                rows[method.name] = [*maps, *self._mask_tiles(split, picture, of_image, of_method)]
            present = {method: row for method, row in rows.items() if row}
            examples.append(Example(name, note, self._input(split, picture), present))
        return examples

    def _input(self, split: str, picture: _Picture) -> list[Tile]:
        """The image, and its true mask if there is one."""
        i, image, truth = picture
        dataset = self.dataset(split)
        tags = [c for c, t in zip(dataset.classes, dataset.tags[i], strict=True) if t]
        tag_text = ", ".join(tags) or "none"
        if truth is None:
            return [self._tile(image, f"image, tags: {tag_text}")]
        self._shown_masks.append(truth)
        true_mask = mask_overlay(image, truth)
        return [self._tile(image, "image"), self._tile(true_mask, f"true mask: {tag_text}")]

    def _maps(
        self, method: Method, split: str, picture: _Picture, known: Probabilities | None
    ) -> list[Tile]:
        """A heat map of each class, and the confidence of the last refinement."""
        i, image, _ = picture
        name, tiles = self.dataset(split).names[i], []
        seeds = method.runs[0].stage(f"seeds/{split}")
        if image_file(seeds, name, ".npz").is_file():
            of_image = None if known is None else known.get(name)
            for one in class_scores(self.dataset(split), i, seeds, of_image):
                tiles.append(
                    self._tile(heat_overlay(image, one.score), f"CAM of {one.name}", one.numbers)
                )
            self._shown_overlays["CAM score"] = heat_overlay
            self._probabilities_shown |= of_image is not None
        marginals = _marginals(method, split, name)
        if marginals is not None:
            sure = confidence(marginals)
            numbers = f"mean {sure.mean():.2f}"
            tiles.append(self._tile(confidence_overlay(image, sure), "confidence", numbers))
            self._shown_overlays["confidence"] = confidence_overlay
        return tiles

    def _mask_tiles(
        self, split: str, picture: _Picture, masks: Masks, groups: Sequence[Sequence[str]]
    ) -> list[Tile]:
        """A tile of each group of steps with the same masks."""
        _, image, truth = picture
        num_labels, tiles = self.dataset(split).num_classes + 1, []
        for group in groups:
            if group[0] in masks:
                mask = masks[group[0]]
                self._shown_masks.append(mask)
                score = "" if truth is None else miou_label(mask, truth, num_labels)
                tiles.append(self._tile(mask_overlay(image, mask), " = ".join(group), score))
        return tiles

    def worst(self, method: Method, step: Step, wrong: np.ndarray, names: list[str]) -> list[Tile]:
        """For each error type, the image with most pixels of that type, shown in red.

        Args:
            method: method whose first run is shown.
            step: step whose masks are shown.
            wrong: (n e) wrong pixels of each image by error type, of the method's first run.
            names: names of the n images.
        """
        folder = masks_of(method.runs[0], step)
        if folder is None:
            return []
        tiles = []
        for e, error_type in enumerate(WRONG):
            if not wrong[:, e].any():
                continue
            name = names[int(wrong[:, e].argmax())]
            _, image, truth = self._picture(name, step[1])
            if truth is None:
                return []
            mask = load_mask(folder / f"{name}.png")
            types = error_types(torch.from_numpy(mask).long(), torch.from_numpy(truth).long())
            errors = (types == error_type).numpy()
            overlay = mask_overlay(image, mask)
            overlay[errors] = (0.25 * overlay[errors] + 0.75 * np.array(RED)).astype(np.uint8)
            tiles.append(self._tile(overlay, f"{ERROR_NAMES[e]}: {name}"))
        return tiles

    def legend(self) -> dict[str, str]:
        """Colour of each class that is shown."""
        dataset = next(iter(self._datasets.values()), None)
        if dataset is None:
            return {}
        colours = label_colours()
        labels = class_legend(self._shown_masks, dataset.classes)
        return {name: "#" + bytes(colours[label].tolist()).hex() for name, label in labels.items()}

    def colour_bars(self) -> dict[str, str]:
        """Colours from 0 to 1 of each kind of map that is shown, as a CSS gradient, by meaning."""
        levels = np.linspace(0, 1, BAR_STOPS, dtype=np.float32)[None]
        grey = np.full((1, BAR_STOPS, 3), 128, np.uint8)
        notes = {"CAM score": " (p: probability of the tag)"} if self._probabilities_shown else {}
        return {
            meaning + notes.get(meaning, ""): ", ".join(
                "#" + bytes(colour.tolist()).hex() for colour in overlay(grey, levels)[0]
            )
            for meaning, overlay in self._shown_overlays.items()
        }

    def evenly_spaced(self, split: str, count: int) -> list[str]:
        """Names of images of a split, from its first to its last."""
        names = self.dataset(split).names
        return [names[i] for i in evenly_spaced(len(names), count)]

    def tagged(self, split: str) -> set[str]:
        """Names of the images of a split that have a tag."""
        return tagged_names(self.dataset(split))

    def _picture(self, name: str, split: str) -> _Picture:
        """An image of a split by its name."""
        dataset = self.dataset(split)
        if name not in dataset.names:
            raise InputError(f"{name} is no longer in split {split} of {dataset.root}.")
        i = dataset.names.index(name)
        truth = dataset.mask(i) if dataset.has_masks() else None
        return _Picture(i, np.asarray(dataset.image(i)), truth)

    def _tile(self, image: RGB, caption: str, numbers: str = "") -> Tile:
        return make_tile(self.folder, image, caption, numbers)


def masks_of(run: RunResult, step: Step) -> Path | None:
    """Folder of the masks of a step; None if the run does not have it."""
    name, split = step
    folders = {
        **{stage: run.folder / stage for stage in PSEUDO_HEADINGS},
        "segmentation": run.folder / "predictions" / split,
        "segmentation_crf": run.folder / "predictions_crf_masks" / split,
    }
    folder = folders.get(name, run.folder / f"{name}_masks" / split)
    return folder if folder.is_dir() else None


def _masks(method: Method, split: str, name: str) -> dict[str, Mask]:
    """Masks of an image in the order of the pipeline, by the label of their step."""
    run = method.runs[0]
    folders: dict[str, Path] = {}
    for step, points in method.rounds().items():
        if step == ("labels", split):
            folders |= {f"labels {r}": run.folder / f"round_{r}" / "labels" for r, _ in points}
    has_rounds = bool(folders)  # then the labels of the last round are the pseudo masks
    for step in method.steps():
        folder = masks_of(run, step)
        if step[1] == split and folder is not None and not (has_rounds and step[0] == "pseudo"):
            folders[step_label(step[0])] = folder
    paths = {label: image_file(folder, name, ".png") for label, folder in folders.items()}
    return {label: load_mask(path) for label, path in paths.items() if path.is_file()}


def _marginals(method: Method, split: str, name: str) -> Path | None:
    """File of the marginals of an image after the last refinement, if the run has it."""
    steps = [step for step in method.steps() if step[1] == split and step[0] != "seeds"]
    paths = [image_file(method.runs[0].folder.joinpath(*step), name, ".npz") for step in steps]
    return next((path for path in reversed(paths) if path.is_file()), None)


def _probabilities(run: RunResult, split: str) -> Probabilities | None:
    """Probability of each tag, by name of image and class, if the run has it."""
    folder = run.stage(f"tag_probabilities/{split}")
    return stored_probabilities(folder) if folder.is_dir() else None


def open_images(data: DataSet, folder: Path) -> tuple[ImageSource | None, str]:
    """Images of a data set, or None and the reason why it cannot be read.

    Args:
        data: its methods.
        folder: for images in full size.
    """
    try:
        source = ImageSource(data, folder)
        source.dataset(data.splits[-1])
    except InputError as error:
        return None, f"There are no images: {name_keys(str(error))}"
    return source, ""
