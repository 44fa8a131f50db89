"""Where masks come from: the stages of a run, or a folder of index masks.

Letters: H W an image.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8

from wsss_lightning.data.images import read_header
from wsss_lightning.data.scores import load_mask
from wsss_lightning.data.sources.masks import BACKGROUND
from wsss_lightning.data.sources.names import ImageIndex
from wsss_lightning.data.stage_files import finished_images, image_file
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.results.schema import FILE_NAME, Results, read_results
from wsss_lightning.utils.text import shorten

CLASSES_FILE: Final = "classes.json"
MASKS: Final = "masks"  # folder in the results of `predict`
# stages of the training split alone
SPLIT_STAGES: Final = ("pseudo", "kept", "corrected", "reviewed")


@dataclass(frozen=True)
class RunData:
    """Classes and images of a run.

    Args:
        results: content of results.json.
        images: folder of the images.
        masks: folder of the true masks.
    """

    results: Results
    images: Path
    masks: Path

    @property
    def train(self) -> str:
        """Name of the training split."""
        return self.results.protocol.splits.train


@dataclass(frozen=True)
class MaskSource:
    """Masks and the images that they belong to.

    Args:
        folder: folder of the masks `<name>.png`.
        names: names of the images, sorted.
        classes: names of labels 1 to c.
        split: split of the images, or the name of the folder.
        index: finds the image files.
    """

    folder: Path
    names: list[str]
    classes: list[str]
    split: str
    index: ImageIndex

    def image(self, name: str) -> Path:
        """File of an image.

        Raises:
            InputError: it is missing, or several files have the name.
        """
        return find_image(self.index, name)

    def mask(self, name: str) -> UInt8[np.ndarray, "H W"]:
        """Labels 0 to c and 255.

        Raises:
            InputError: the mask is damaged, holds other labels, or has another size than its image
                as labelling tools show it.
        """
        path = image_file(self.folder, name, ".png")
        mask = load_mask(path)
        other = np.unique(mask[(mask > len(self.classes)) & (mask != IGNORE)]).tolist()
        if other:
            raise InputError(
                f"{path} holds id {shorten(other)}, but there are {len(self.classes)} classes "
                f"({shorten(self.classes)}); give masks whose ids are 0 (background) to "
                f"{len(self.classes)} and {IGNORE} (ignored)."
            )
        check_size(path, mask.shape, self.image(name))
        return mask


def open_run(folder: Path, images: Path | None = None) -> RunData:
    """Classes and images of a run.

    Args:
        folder: folder of the run.
        images: replaces the folder of images that the run used.

    Raises:
        InputError: results.json or the images are missing.
    """
    results = read_results(folder / FILE_NAME)
    dataset = results.dataset
    root = Path(str(dataset.get("root", "")))
    used = images or root / str(dataset.get("image_dir", ""))
    if not used.is_dir():
        raise InputError(
            f"{used}, the folder of images of {folder}, does not exist; give it with --images DIR."
        )
    return RunData(results, used, root / str(dataset.get("mask_dir", "")))


def open_source(
    path: Path,
    stage: str | None = None,
    split: str | None = None,
    images: Path | None = None,
    classes: Sequence[str] | None = None,
) -> MaskSource:
    """Masks of a run, or of a folder.

    Args:
        path: folder of a run; or of index masks, with `classes.json` unless `classes` are given.
        stage: of a run, such as `predictions`; None: `pseudo`.
        split: of a run; None: the training split.
        images: folder of the images; None: the one that the run used.
        classes: names of labels 1 to c; None: those of the run, or of `classes.json`.

    Raises:
        InputError: there are no masks, classes or images.
    """
    if (path / FILE_NAME).is_file():
        run = open_run(path, images)
        used_split = split or run.train
        folder = _stage_folder(path, stage or "pseudo", used_split, run.train)
        names = list(classes) if classes else run.results.classes
        return _source(folder, names, used_split, ImageIndex(run.images, run.masks))
    if not path.is_dir():
        raise InputError(f"{path} does not exist; give the folder of a run, or of masks.")
    if stage or split:
        raise InputError(
            f"{path} has no {FILE_NAME}, so it has no stages or splits; leave out --from and "
            "--split, or give the folder of a finished run."
        )
    if images is None:
        raise InputError(
            f"{path} has no {FILE_NAME}; give the folder of its images with --images DIR."
        )
    if not images.is_dir():
        raise InputError(f"--images is {images}, but there is no such folder.")
    names = list(classes) if classes else read_classes(path / CLASSES_FILE)
    folder = path / MASKS if (path / MASKS).is_dir() else path
    return _source(folder, names, path.resolve().name, ImageIndex(images, folder))


def read_classes(path: Path) -> list[str]:
    """Names of labels 1 to c from a `classes.json`, as `predict` and `import-masks` write it.

    It is a list of names with background first, or of mappings with `label` and `name`.

    Raises:
        InputError: the file is missing or holds no such list.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing, so the classes of the masks are unknown; give their names in the "
            "order of labels 1, 2, ... with --classes cat,dog."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); give --classes cat,dog.") from error
    try:
        names = [str(one["name"]) if isinstance(one, dict) else one for one in content]
        labels = [one["label"] if isinstance(one, dict) else i for i, one in enumerate(content)]
        if labels != list(range(len(names))) or not all(isinstance(name, str) for name in names):
            raise ValueError("labels are not 0, 1, 2, ...")
        if len(names) < 2 or names[0] != BACKGROUND:
            raise ValueError(f"it does not start with {BACKGROUND}")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} holds no classes ({error}); write names as in "
            f'["{BACKGROUND}", "cat", "dog"], or give --classes cat,dog.'
        ) from error
    return names[1:]


def find_image(index: ImageIndex, name: str) -> Path:
    """File of the image with exactly this name.

    Raises:
        InputError: it is missing, or several files have the name.
    """
    files = [path for found, path in index.find(name) if found == name]
    if len(files) != 1:
        listed = f"there are {shorten([f.name for f in files])}" if files else "it is not there"
        hint = "" if files else f" {index.why_absent(name)}"
        raise InputError(
            f"the image {name} is needed from {index.folder}, but {listed}; give the folder of the "
            f"images with --images DIR.{hint}"
        )
    return files[0]


def check_size(path: Path | str, size: tuple[int, ...], image: Path) -> None:
    """Check that a mask has the size of its image as labelling tools show it.

    Raises:
        InputError: it has another size.
    """
    header = read_header(image)
    if size == header.upright:
        return
    height, width = header.upright
    text = (
        f"{path} is of {size[1]}x{size[0]} pixels, but the image {image.name} is of "
        f"{width}x{height}"
    )
    if size == header.stored:
        raise InputError(
            f"{text} as labelling tools show it, which apply its EXIF orientation "
            f"{header.orientation}; rotate the image file itself, so that it needs no orientation."
        )
    raise InputError(f"{text}; give masks of the images in their original size.")


def _source(folder: Path, classes: list[str], split: str, index: ImageIndex) -> MaskSource:
    names = sorted(name for name in finished_images(folder, ".png") if not _is_hidden(name))
    if not names:
        raise InputError(f"{folder} holds no masks (.png); give a folder that does.")
    return MaskSource(folder, names, classes, split, index)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _stage_folder(run: Path, stage: str, split: str, train: str) -> Path:
    """Folder of the masks of a stage and split."""
    candidates = [run / stage / split]
    if stage.rpartition("/")[2] in (*SPLIT_STAGES, "labels"):
        if split != train:
            raise InputError(
                f"{stage} has masks of the training split {train} only, not of {split}; choose "
                f"--from predictions, or leave out --split."
            )
        candidates = [run / stage]
    for folder in candidates:
        if folder.is_dir() and finished_images(folder, ".png"):
            return folder
    known = _mask_stages(run)
    listed = shorten(known, 12) if known else "no masks at all"
    raise InputError(
        f"{run} has no masks {stage} of {split}, but {listed}; give --from STAGE, and --split "
        "SPLIT if the stage has several."
    )


def _mask_stages(run: Path) -> list[str]:
    """Stages of a run that hold masks, with their splits."""
    folders = [path for depth in ("*", "*/*", "*/*/*") for path in run.glob(depth)]
    return sorted(
        {
            folder.relative_to(run).as_posix()
            for folder in folders
            if folder.is_dir()
            and folder.relative_to(run).parts[0] != "pictures"
            and next(folder.glob("*.png"), None) is not None
        }
    )
