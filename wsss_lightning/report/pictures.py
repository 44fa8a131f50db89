"""The same images through every step of every method, and where they are wrong.

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
from wsss_lightning.report.comparison import CAUSES
from wsss_lightning.report.runs import DataSet, Method, RunResult, Step
from wsss_lightning.steps.datasets import name_keys
from wsss_lightning.steps.labels import step_name
from wsss_lightning.steps.previews import evenly_spaced
from wsss_lightning.utils.files import write_atomically

RED = (230, 0, 38)
SIDE = 176  # pixels of the longer side of a tile
FULL = 2000  # pixels of the longer side of a picture in full size
STORED = re.compile(r"[0-9a-f]{16}\.jpg")  # name of one
Picture = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Tile:
    """A small picture, what stands below it, and the name of the file that has it in full size."""

    source: str
    caption: str
    full: str


@dataclass(frozen=True)
class Probe:
    """An image through all steps.

    Args:
        name: of the image.
        about: what stands beside its name.
        given: the image itself, and its true mask where there is one.
        rows: tiles of each method, in the order of its steps.
    """

    name: str
    about: str
    given: list[Tile]
    rows: dict[str, list[Tile]]

    @property
    def all_rows(self) -> list[list[Tile]]:
        return [self.given, *self.rows.values()]


class Album:
    """Pictures of a data set's methods; of each the run of its first seed.

    Args:
        data: its methods.
        folder: that gets the pictures in full size; made with the first of them.

    Raises:
        InputError: the data set cannot be read from where the runs read it.
    """

    def __init__(self, data: DataSet, folder: Path) -> None:
        first = data.methods[0].runs[0].results
        reader = dict(first["reader"])
        if reader.get("mask_ids"):  # JSON has no numbers for keys
            reader["mask_ids"] = {int(key): name for key, name in reader["mask_ids"].items()}
        node = OmegaConf.create({"reader": reader})
        check_targets(node)
        self.data, self.folder, self._make = data, folder, instantiate(node.reader)
        self._readers: dict[str, VOCDataset] = {}
        self._used: list[UInt8[np.ndarray, "_ _"]] = []

    def reader(self, split: str) -> VOCDataset:
        """A split, read once.

        Raises:
            InputError: it cannot be read.
        """
        if split not in self._readers:
            try:
                self._readers[split] = self._make(split=split)
            except TypeError as error:  # of a constructor that has other arguments by now
                raise InputError(
                    f"the data of {self.data.title} were read by another version ({error})."
                ) from error
        return self._readers[split]

    def probe(self, name: str, split: str, about: str, methods: list[Method]) -> Probe:
        """What every step of every method made of an image."""
        i, image, truth = self._image(name, split)
        reader = self.reader(split)
        tags = [c for c, t in zip(reader.classes, reader.tags[i], strict=True) if t]
        shown = ", ".join(tags) or "none"
        if truth is None:
            given = [self._tile(image, f"image, tags: {shown}")]
        else:
            given = [
                self._tile(image, "image"),
                self._tile(mask_overlay(image, truth), f"truth: {shown}"),
            ]
            self._used.append(truth)
        rows = {}
        for method in methods:
            run = method.runs[0]
            tiles = [self._heat(run, split, name, image)]
            for folder, caption in _masks(run, method, split):
                if (folder / f"{name}.png").is_file():
                    mask = load_mask(folder / f"{name}.png")
                    self._used.append(mask)
                    tiles.append(self._tile(mask_overlay(image, mask), caption))
            rows[method.name] = [tile for tile in tiles if tile is not None]
        return Probe(name, about, given, {name: row for name, row in rows.items() if row})

    def worst(self, method: Method, step: Step, wrong: np.ndarray, names: list[str]) -> list[Tile]:
        """Of each cause of mistakes the image with most of it, those pixels in red.

        Args:
            wrong: (n e) pixels of each image by cause, of the method's first run.
            names: of the n images.
        """
        folder = masks_of(method.runs[0], step)
        if folder is None:
            return []
        tiles = []
        for e, cause in enumerate(WRONG):
            if not wrong[:, e].any():
                continue
            name = names[int(wrong[:, e].argmax())]
            _, image, truth = self._image(name, step[1])
            if truth is None:
                return []
            mask = load_mask(folder / f"{name}.png")
            here = error_types(torch.from_numpy(mask).long(), torch.from_numpy(truth).long()) == cause
            shown = mask_overlay(image, mask)
            dimmed = 0.25 * shown[here.numpy()] + 0.75 * np.array(RED)
            shown[here.numpy()] = dimmed.astype(np.uint8)
            tiles.append(self._tile(shown, f"{CAUSES[e]}: {name}"))
        return tiles

    def legend(self) -> dict[str, str]:
        """Colour of each class that was shown."""
        reader = next(iter(self._readers.values()), None)
        if reader is None:
            return {}
        colours = label_colours()
        found = class_legend(self._used, reader.classes)
        return {name: "#" + bytes(colours[label].tolist()).hex() for name, label in found.items()}

    def evenly_spaced(self, split: str, count: int) -> list[str]:
        """Names of images of a split, from its first to its last."""
        names = self.reader(split).names
        return [names[i] for i in evenly_spaced(len(names), count)]

    def _image(self, name: str, split: str) -> tuple[int, Picture, UInt8[np.ndarray, "H W"] | None]:
        reader = self.reader(split)
        if name not in reader.names:
            raise InputError(f"{name} is no longer in {split} of {reader.root}.")
        i = reader.names.index(name)
        truth = reader.mask(i) if reader.has_masks() else None
        return i, np.asarray(reader.image(i)), truth

    def _heat(self, run: RunResult, split: str, name: str, image: Picture) -> Tile | None:
        path = run.stage(f"seeds/{split}") / f"{name}.npz"
        if not path.is_file():
            return None
        score, _ = load_score(path)
        return self._tile(heat_overlay(image, score.max(0, initial=0)), "seeds")

    def _tile(self, picture: Picture, caption: str) -> Tile:
        """Store a picture in full size, and make a small one of it."""
        whole = _jpeg(picture, FULL, quality=90)
        name = f"{hashlib.sha256(whole).hexdigest()[:16]}.jpg"
        path = self.folder / name
        if not path.is_file():
            self.folder.mkdir(exist_ok=True)
            write_atomically(path, lambda file: file.write(whole))
        small = base64.b64encode(_jpeg(picture, SIDE, quality=72)).decode()
        return Tile("data:image/jpeg;base64," + small, caption, name)


def masks_of(run: RunResult, step: Step) -> Path | None:
    """Folder of the label maps of a step, if the run has them."""
    name, split = step
    folders = {
        "pseudo": run.folder / "pseudo",
        "segmentation": run.folder / "predictions" / split,
        "segmentation_crf": run.folder / "predictions_crf_masks" / split,
    }
    folder = folders.get(name, run.folder / f"{name}_masks" / split)
    return folder if folder.is_dir() else None


def _masks(run: RunResult, method: Method, split: str) -> list[tuple[Path, str]]:
    """Folders of label maps of a split, in the order of their making, and what they are."""
    found = []
    for step, points in method.rounds().items():
        if step == ("labels", split):
            found += [(run.folder / f"round_{r}" / "labels", f"labels {r}") for r, _ in points]
    own = bool(found)  # labels of rounds, of which the last are the pseudo masks
    for step in method.steps():
        folder = masks_of(run, step)
        if step[1] == split and folder is not None and not (own and step[0] == "pseudo"):
            found.append((folder, step_name(step[0])))
    return found


def _jpeg(picture: Picture, side: int, quality: int) -> bytes:
    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    held = io.BytesIO()
    image.save(held, format="JPEG", quality=quality, optimize=True)
    return held.getvalue()


def album_of(data: DataSet, folder: Path) -> tuple[Album | None, str]:
    """The album, or None and why there is none."""
    try:
        album = Album(data, folder)
        album.reader(data.splits[-1])
    except InputError as error:
        return None, f"No pictures: {name_keys(str(error))}"
    return album, ""


def remove_others(folder: Path, kept: set[str]) -> None:
    """Remove pictures that an earlier page had, and the folder where none is left."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if STORED.fullmatch(path.name) and path.name not in kept:
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
