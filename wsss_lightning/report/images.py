"""Images after every step of every method, and images of their errors.

Letters: H W an image.
"""

import base64
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from jaxtyping import UInt8
from omegaconf import OmegaConf
from PIL import Image

from wsss_lightning.config.targets import check_targets
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.scores import load_mask, load_score
from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.error_analysis import WRONG, error_types
from wsss_lightning.figures.overlays import class_legend, heat_overlay, label_colours, mask_overlay
from wsss_lightning.pipelines.masks_to_learn import PSEUDO_HEADINGS
from wsss_lightning.report.comparison import ERROR_NAMES
from wsss_lightning.report.methods import DataSet, Method
from wsss_lightning.report.runs import RunResult, Step
from wsss_lightning.steps.datasets import name_keys
from wsss_lightning.steps.labels import step_label
from wsss_lightning.steps.preview_images import evenly_spaced
from wsss_lightning.utils.files import write_atomically

RED = (230, 0, 38)
TILE_SIZE = 176  # longer side of a tile, pixels
FULL_SIZE = 2000  # longer side of an image in full size, pixels
IMAGE_FILE = re.compile(r"[0-9a-f]{16}\.jpg")  # name of a stored image
RGB = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Tile:
    """A small image as a data URL, its caption, and the name of its file in full size."""

    source: str
    caption: str
    full: str


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

    def example(self, name: str, split: str, note: str, methods: list[Method]) -> Example:
        """An image after every step of every method.

        Args:
            name: name of the image.
            split: split of the image.
            note: shown next to the name.
            methods: methods to show.
        """
        i, image, truth = self._image(name, split)
        dataset = self.dataset(split)
        tags = [c for c, t in zip(dataset.classes, dataset.tags[i], strict=True) if t]
        tag_text = ", ".join(tags) or "none"
        if truth is None:
            tiles = [self._tile(image, f"image, tags: {tag_text}")]
        else:
            true_mask = mask_overlay(image, truth)
            tiles = [self._tile(image, "image"), self._tile(true_mask, f"true mask: {tag_text}")]
            self._shown_masks.append(truth)
        return Example(name, note, tiles, self._rows(name, split, image, methods))

    def _rows(
        self, name: str, split: str, image: RGB, methods: list[Method]
    ) -> dict[str, list[Tile]]:
        """Tiles of each method that has any: seeds, then the masks of each step."""
        rows = {}
        for method in methods:
            run = method.runs[0]
            tiles = [self._heat(run, split, name, image)]
            for folder, caption in _masks(run, method, split):
                if (folder / f"{name}.png").is_file():
                    mask = load_mask(folder / f"{name}.png")
                    self._shown_masks.append(mask)
                    tiles.append(self._tile(mask_overlay(image, mask), caption))
            rows[method.name] = [tile for tile in tiles if tile is not None]
        return {method: row for method, row in rows.items() if row}

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
            _, image, truth = self._image(name, step[1])
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

    def evenly_spaced(self, split: str, count: int) -> list[str]:
        """Names of images of a split, from its first to its last."""
        names = self.dataset(split).names
        return [names[i] for i in evenly_spaced(len(names), count)]

    def _image(self, name: str, split: str) -> tuple[int, RGB, UInt8[np.ndarray, "H W"] | None]:
        """Index, image and true mask of an image by its name."""
        dataset = self.dataset(split)
        if name not in dataset.names:
            raise InputError(f"{name} is no longer in split {split} of {dataset.root}.")
        i = dataset.names.index(name)
        truth = dataset.mask(i) if dataset.has_masks() else None
        return i, np.asarray(dataset.image(i)), truth

    def _heat(self, run: RunResult, split: str, name: str, image: RGB) -> Tile | None:
        path = run.stage(f"seeds/{split}") / f"{name}.npz"
        if not path.is_file():
            return None
        score, _ = load_score(path)
        return self._tile(heat_overlay(image, score.max(0, initial=0)), "seeds")

    def _tile(self, image: RGB, caption: str) -> Tile:
        """Store an image in full size, and make a tile of it."""
        full = _jpeg(image, FULL_SIZE, quality=90)
        name = f"{hashlib.sha256(full).hexdigest()[:16]}.jpg"
        path = self.folder / name
        if not path.is_file():
            self.folder.mkdir(exist_ok=True)
            write_atomically(path, lambda file: file.write(full))
        small = base64.b64encode(_jpeg(image, TILE_SIZE, quality=72)).decode()
        return Tile("data:image/jpeg;base64," + small, caption, name)


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


def _masks(run: RunResult, method: Method, split: str) -> list[tuple[Path, str]]:
    """Folders of the masks of a split in the order of the pipeline, with their captions."""
    folders = []
    for step, points in method.rounds().items():
        if step == ("labels", split):
            folders += [(run.folder / f"round_{r}" / "labels", f"labels {r}") for r, _ in points]
    has_rounds = bool(folders)  # then the labels of the last round are the pseudo masks
    for step in method.steps():
        folder = masks_of(run, step)
        if step[1] == split and folder is not None and not (has_rounds and step[0] == "pseudo"):
            folders.append((folder, step_label(step[0])))
    return folders


def _jpeg(pixels: RGB, side: int, quality: int) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


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


def remove_other_images(folder: Path, kept: set[str]) -> None:
    """Remove images of an earlier page, and the folder if it becomes empty.

    Args:
        folder: folder of images in full size.
        kept: names of files to keep.
    """
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if IMAGE_FILE.fullmatch(path.name) and path.name not in kept:
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
