"""Checks of arguments, masks and boxes before work starts.

Letters: c classes, n images.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from wsss_lightning.data.images import read_header
from wsss_lightning.data.mask_survey import MaskSurvey
from wsss_lightning.data.sources.box_sources import BoxSource
from wsss_lightning.data.sources.masks import BACKGROUND, IGNORED
from wsss_lightning.data.sources.true_masks import TrueMasks
from wsss_lightning.data.split_image import SplitImage
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.text import shorten

NUM_SURVEYED: Final = 200
"""Maximum number of masks to inspect, and of further masks for tagged classes that these lack."""
NUM_MESSAGES: Final = 5


def check_arguments(
    root: Path, image_dir: str, on_missing_labels: str, classes: Sequence[str]
) -> None:
    """Check arguments of `VOCDataset`.

    Args:
        root: folder of the dataset.
        image_dir: folder of images, relative to `root`.
        on_missing_labels: `error` or `background`.
        classes: names without background.

    Raises:
        InputError: a folder is missing, or a value is invalid.
    """
    if not root.is_dir():
        raise InputError(
            f"`root` is {root}, but there is no such folder; set `root=DIR` to the folder that "
            f"holds {image_dir}."
        )
    if not (root / image_dir).is_dir():
        raise InputError(
            f"{root / image_dir} is missing; set `root=DIR` to the folder that holds it, or "
            "`image_dir` to the folder of images."
        )
    if on_missing_labels not in ("error", "background"):
        raise InputError(
            f"`on_missing_labels` is {on_missing_labels}; set it to error, or to background to "
            "keep images without labels as pure background."
        )
    invalid = {name for name in classes if classes.count(name) > 1 or not name.strip()}
    reserved = {BACKGROUND, IGNORED} & set(classes)
    if invalid or reserved or not 0 < len(classes) < IGNORE:
        raise InputError(
            f"`classes` is {list(classes)}; name 1 to {IGNORE - 1} classes, each once and without "
            f"{BACKGROUND}, which is always label 0, and {IGNORED}."
        )


def check_pseudo_masks(folder: Path, images: Sequence[SplitImage]) -> None:
    """Check that each image has a pseudo mask of its size.

    Raises:
        InputError: a pseudo mask is missing, damaged or of another size.
    """
    for image in images:
        path = folder / f"{image.name}.png"
        image.check_mask_size(path, read_header(path).upright)


def check_true_masks(
    masks: TrueMasks, images: Sequence[SplitImage], tags: Float[Tensor, "n c"]
) -> list[str]:
    """Check sizes of all true masks and pixels of some (`MaskSurvey`).

    Args:
        masks: true masks of the split.
        images: images of the split.
        tags: multi-hot tags of the images.

    Returns:
        Remarks for the user.

    Raises:
        InputError: only some images have masks; a mask is damaged, of another size, or contradicts
            the tags or the classes.
    """
    if not masks.any_exists():
        unused = masks.unused()
        if not unused:
            return []
        return [
            f"no image has a mask in {masks.folder}, but the folder holds other files "
            f"({shorten(unused)}); a mask has the name of its image"
        ]
    for image in images:
        masks.check_exists(image)
        fact = masks.fact(image)
        if isinstance(fact, InputError):
            raise fact
        if fact is not None:
            image.check_mask_size(masks.path(image), fact.header.upright)
    survey = _survey(masks, images, tags)
    survey.check()
    return survey.notes()


def _survey(
    masks: TrueMasks, images: Sequence[SplitImage], tags: Float[Tensor, "n c"]
) -> MaskSurvey:
    """Evenly spaced masks, then masks of images tagged with classes that those do not show."""
    survey = MaskSurvey(masks.reader, masks.split)

    def add(indices: Iterable[int]) -> None:
        for i in indices:
            labels = (tags[i].nonzero().flatten() + 1).tolist()
            survey.add(masks.reader.inspect(masks.path(images[i])), labels)

    first = np.linspace(0, len(images) - 1, min(NUM_SURVEYED, len(images))).astype(int).tolist()
    add(first)
    classes = [label - 1 for label in survey.never_shown()]
    more = tags[:, classes].any(1).nonzero().flatten().tolist() if classes else []
    add([i for i in more if i not in set(first)][:NUM_SURVEYED])
    return survey


def check_boxes(
    boxes: BoxSource, images: Sequence[SplitImage], split: str, source: str, allow_none: bool
) -> None:
    """Check all boxes, and report all invalid ones together.

    Args:
        boxes: boxes of the split.
        images: images of the split.
        split: named in messages.
        source: source of the boxes, named in messages.
        allow_none: images may be without boxes.

    Raises:
        InputError: a box is invalid, or an image has none.
    """
    boxes.check_file()
    messages: list[str] = []
    without: list[str] = []
    for image in images:
        problems = boxes.problems(image)
        messages += problems
        if not problems and not len(boxes.read(image)):
            without.append(image.name)
    if len(messages) > 1:
        first = "\n  ".join(messages[:NUM_MESSAGES])
        more = len(messages) - NUM_MESSAGES
        rest = f"\n  and {more} more" if more > 0 else ""
        raise InputError(f"{len(messages)} boxes of split {split!r} are invalid:\n  {first}{rest}")
    if messages:
        raise InputError(messages[0])
    if without and not allow_none:
        raise InputError(
            f"{len(without)} images of {split} have no box in {source} ({shorten(without)}); draw "
            "one, take them off the list, or set `on_missing_labels=background` to keep them as "
            "pure background."
        )
