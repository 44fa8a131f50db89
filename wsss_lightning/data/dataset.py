"""The dataset of every experiment: images with tags, and masks or boxes.

Letters: c classes, n images or boxes, H W an image.
"""

import copy
import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as F

from wsss_lightning.data.batch import Sample
from wsss_lightning.data.checks import (
    check_arguments,
    check_boxes,
    check_pseudo_masks,
    check_true_masks,
)
from wsss_lightning.data.file_facts import Fact, FileFacts
from wsss_lightning.data.images import SUFFIXES
from wsss_lightning.data.orientation import decide_orientations
from wsss_lightning.data.scores import load_mask
from wsss_lightning.data.sources.annotations import Annotations
from wsss_lightning.data.sources.box_sources import (
    BoxCounts,
    BoxSource,
    InstanceBoxes,
    TableBoxes,
    XmlBoxes,
    count_boxes,
)
from wsss_lightning.data.sources.lists import list_path, read_list
from wsss_lightning.data.sources.masks import MaskReader, Unmapped
from wsss_lightning.data.sources.names import ClassNames, ImageIndex
from wsss_lightning.data.sources.tag_sources import (
    Retags,
    indices_from_boxes,
    indices_from_mask,
    indices_from_xml,
    retag,
    tags_of_images,
    tags_of_table,
)
from wsss_lightning.data.sources.true_masks import TrueMasks
from wsss_lightning.data.split_image import SplitImage, notes_of_depth
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.text import shorten


@final
class VOCDataset(Dataset[Sample]):
    """A split of a dataset in the layout of Pascal VOC.

    Samples hold `image` (3 H W) float32 in [0, 1], `tags` (c) multi-hot, `name` and `mask` (H W)
    int64 with 255 ignored; `view` adds `boxes` (n 5), removes masks, or replaces them by pseudo
    masks. EXIF orientations are applied, unless masks or boxes only fit the images as stored
    (`decide_orientations`).

    Args:
        root: folder of the dataset.
        split: a key of `lists`.
        classes: names without background; the i-th has tag i and label i + 1.
        lists: file of image names of each split, relative to `root` (`sources.lists.read_list`);
            None: there is no such split.
        tags: source of tags. `xml`: all objects in the annotations, difficult ones too. `masks`:
            labels in the true masks. `boxes`: classes of the boxes. Otherwise a file relative to
            `root`: a .csv (`sources.tags.read_csv`), or a .npy with a dictionary of multi-hot
            vectors (`cls_labels.npy`).
        mask_ids: class, `background` or `ignored` of each id in the masks. If given, files may
            mention classes that `classes` lacks, which are left out. None: masks hold labels, and
            all names must be known.
        image_dir: folder of images, relative to `root`.
        mask_dir: folder of true masks, relative to `root`.
        annotation_dir: folder of XML annotations, relative to `root`.
        on_missing_labels: `error` refuses images without tags, and without boxes if boxes are
            used; `background` keeps them as pure background.
        boxes: source of boxes. `xml`: the annotations. `masks`: bounding boxes of the instances in
            `instance_dir`, with classes from the true masks. Otherwise a file relative to `root`:
            a .json of COCO or a .csv; `{split}` in its name is replaced.
        instance_dir: folder of instance masks, relative to `root`.
        difficult: keep boxes that the XML marks as difficult.
        mask_colours: colour of each class in the masks, in place of `mask_ids`.
        unmapped: meaning of ids or colours without a name (`sources.masks.MaskReader`).
        retags: corrections of tags, {split: {image: {class: whether it is shown}}}.
        problems: if given, images that cannot be used are left out, and the reason is stored here
            by image name. None: the first reason is raised.

    Attributes:
        names: names of the images, in the order of the list.
        tags: (n c) multi-hot.
        notes: remarks for the user about the files.

    Raises:
        InputError: a file or an argument cannot be used.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        classes: Sequence[str],
        lists: Mapping[str, str | None],
        tags: str,
        mask_ids: Mapping[int, str] | None,
        image_dir: str,
        mask_dir: str,
        annotation_dir: str,
        on_missing_labels: str,
        boxes: str = "xml",
        instance_dir: str = "SegmentationObject",
        difficult: bool = True,
        mask_colours: Mapping[Any, Any] | None = None,
        unmapped: Unmapped | None = None,
        retags: Retags | None = None,
        problems: dict[str, str] | None = None,
    ) -> None:
        self.root = Path(root).expanduser()
        self.split, self.classes, self.num_classes = split, list(classes), len(classes)
        self.boxes_from, self.on_missing_labels, self._problems = boxes, on_missing_labels, problems
        self.with_masks, self.with_boxes = True, False
        self.pseudo_masks: Path | None = None
        check_arguments(self.root, image_dir, on_missing_labels, self.classes)
        self.mask_reader = MaskReader(self.classes, mask_ids, mask_colours, unmapped)
        self._classes = ClassNames(self.classes, subset=self.mask_reader.mapped)
        index = ImageIndex(self.root / image_dir, self.root / mask_dir)
        self._masks = TrueMasks(self.root / mask_dir, index, self.mask_reader, split)
        self.notes: list[str] = []
        self._images = self._open_images(list_path(self.root, split, lists), index)
        annotations = Annotations(self.root / annotation_dir, index)
        instances = InstanceBoxes(self.root / instance_dir, index, self._masks)
        self._boxes: BoxSource = (
            XmlBoxes(self._classes, annotations, difficult)
            if boxes == "xml"
            else instances
            if boxes == "masks"
            else self._open_box_table(boxes, index)
        )
        self.notes += decide_orientations(self._images, self._masks, self._boxes, self._refuse)
        self.tags = self._read_tags(tags, index, annotations)
        self.names = [image.name for image in self._images]
        corrected = (retags or {}).get(split, {})
        retag(self.tags, self.names, self._classes, corrected)
        self._check_tags(tags, corrected)

    def _open_images(self, path: Path, index: ImageIndex) -> list[SplitImage]:
        """Images on the list whose header can be read."""
        listed = read_list(path, index)
        self.notes += listed.notes
        if listed.missing:
            hint = index.why_absent(listed.missing[0])
            self._refuse(
                listed.missing,
                f"{len(listed.missing)} images on the list of {self.split} are not in "
                f"{index.folder} ({shorten(listed.missing)}); add them ({', '.join(SUFFIXES)}), or "
                f"take them off the list.{' ' if hint else ''}{hint}",
            )
        masks = self._masks.locate(listed.images)
        facts = FileFacts(self.root).of([*(file for _, file in listed.images), *masks])
        self._masks.set_facts(facts)
        images = []
        for name, file in listed.images:
            if isinstance(fact := facts[file], Fact):
                images.append(SplitImage(name, file, fact))
            else:
                self._refuse([name], str(fact))
        self.notes += notes_of_depth(images)
        return images

    def _open_box_table(self, source: str, index: ImageIndex) -> TableBoxes:
        return TableBoxes(
            self._classes,
            self.root / Path(source.replace("{split}", self.split)).expanduser(),
            index,
            [image.name for image in self._images],
            self.split,
            allow_unlisted=self.on_missing_labels == "background",
            notes=self.notes,
        )

    def _read_tags(
        self, source: str, index: ImageIndex, annotations: Annotations
    ) -> Float[Tensor, "n c"]:
        """Tags of the images, without those that cannot be used."""
        indices_of = {
            "xml": partial(indices_from_xml, annotations=annotations, classes=self._classes),
            "boxes": partial(indices_from_boxes, boxes=self._boxes),
            "masks": partial(indices_from_mask, masks=self._masks),
        }
        if source in indices_of:
            self._images, tags = tags_of_images(
                indices_of[source], self._images, self.num_classes, self._refuse
            )
        else:
            path = self.root / Path(source).expanduser()
            self._images, tags = tags_of_table(
                path, self._images, index, self._classes, self.split, self._refuse
            )
        return tags

    def _check_tags(self, source: str, corrected: Container[str]) -> None:
        """Refuse images without tags unless a person removed them; note skipped classes."""
        if self._classes.skipped:
            self.notes.append(
                f"classes of {source} that the dataset does not use are left out: "
                f"{shorten(sorted(self._classes.skipped))}"
            )
        tagged = zip(self.names, self.tags.any(1).tolist(), strict=True)
        without = [name for name, has_tag in tagged if not has_tag and name not in corrected]
        if without and self.on_missing_labels == "error":
            self._refuse(
                without,
                f"{len(without)} images of {self.split} have no tag in {source} "
                f"({shorten(without)}); tag them, take them off the list, or set "
                "`on_missing_labels=background` to keep them as pure background.",
            )

    def _refuse(self, names: Iterable[str], message: str) -> None:
        """Raise why these images cannot be used, or store it in `problems`."""
        if self._problems is None:
            raise InputError(message)
        self._problems.update(dict.fromkeys(names, message))

    def view(
        self, with_masks: bool = True, with_boxes: bool = False, masks: Path | None = None
    ) -> "VOCDataset":
        """The same split with other entries in its samples; no file is read again.

        Args:
            with_masks: add masks to samples.
            with_boxes: add boxes to samples.
            masks: folder of pseudo masks `<name>.png`, used in place of the true masks.
        """
        other = copy.copy(self)
        other.with_masks, other.with_boxes = with_masks, with_boxes
        other.pseudo_masks = None if masks is None else Path(masks)
        return other

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> Sample:
        image = F.to_dtype(F.pil_to_tensor(self.image(i)), torch.float32, scale=True)
        sample = Sample(image=image, tags=self.tags[i], name=self._images[i].name)
        if self.with_masks:
            sample["mask"] = torch.from_numpy(self.mask(i).astype(np.int64))
        if self.with_boxes:
            sample["boxes"] = torch.from_numpy(self.boxes(i))
        return sample

    def image(self, i: int) -> Image.Image:
        """Image i, RGB."""
        return self._images[i].read()

    def image_size(self, i: int) -> tuple[int, int]:
        """(H, W) of image i, from its header."""
        return self._images[i].size

    def digest(self, i: int) -> str:
        """Digest of the file of image i."""
        return self._images[i].fact.digest

    def mask(self, i: int) -> UInt8[np.ndarray, "H W"]:
        """Labels 0 to c and 255 of the true mask of image i, or of its pseudo mask (`view`).

        Raises:
            InputError: the mask is missing, damaged, of another size, or holds invalid ids.
        """
        image = self._images[i]
        if self.pseudo_masks is None:
            return self._masks.read(image)
        path = self.pseudo_masks / f"{image.name}.png"
        mask = load_mask(path)
        image.check_mask_size(path, mask.shape)
        invalid = np.unique(mask[(mask > self.num_classes) & (mask != IGNORE)])
        if len(invalid):
            raise InputError(
                f"{path} holds id {shorten(invalid.tolist())}, but labels are 0 (background) to "
                f"{self.num_classes} and {IGNORE} (ignored); make pseudo masks of these classes."
            )
        return mask

    def boxes(self, i: int) -> Float[np.ndarray, "n 5"]:
        """Label 1 to c, x0, y0, x1, y1 in whole pixels inside image i, ends exclusive.

        Raises:
            InputError: a file is missing or damaged, or a box is invalid.
        """
        return self._boxes.read(self._images[i])

    def mask_path(self, i: int) -> Path:
        """Path of the true mask of image i, which may be missing."""
        return self._masks.path(self._images[i])

    def check_mask_exists(self, i: int) -> None:
        """Raise an `InputError` if image i has no true mask."""
        self._masks.check_exists(self._images[i])

    def has_masks(self) -> bool:
        """Whether any image of the split has a true mask."""
        return self._masks.any_exists()

    def has_boxes(self) -> bool:
        """Whether the source of boxes exists."""
        return len(self) > 0 and self._boxes.path(self._images[0]).is_file()

    def count_boxes(self) -> BoxCounts:
        """Count the boxes of the split."""
        return count_boxes(self._boxes, self._images, self.tags)

    def check(self) -> None:
        """Check the masks and boxes that samples carry (`data.checks`), and extend `notes`.

        Raises:
            InputError: a mask or box cannot be used.
        """
        if self.with_masks and self.pseudo_masks is not None:
            check_pseudo_masks(self.pseudo_masks, self._images)
        elif self.with_masks:
            self.notes += check_true_masks(self._masks, self._images, self.tags)
        if self.with_boxes:
            allow_none = self.on_missing_labels == "background"
            check_boxes(self._boxes, self._images, self.split, self.boxes_from, allow_none)

    def fingerprint(self) -> str:
        """Digest of names, classes, tags and image contents, and of boxes if samples carry them."""
        digest = hashlib.sha256(repr((self.names, self.classes)).encode())
        digest.update(self.mask_reader.digest_source())
        digest.update(self.tags.numpy().tobytes())
        digest.update(repr([image.fact.digest for image in self._images]).encode())
        digest.update(repr([image.apply_orientation for image in self._images]).encode())
        if self.with_boxes:
            for i in range(len(self)):
                digest.update(self.boxes(i).tobytes() + b"|")
        return digest.hexdigest()[:12]

    def mask_fingerprint(self) -> str:
        """Digest of the contents of the true masks, and of which are missing."""
        facts = map(self._masks.fact, self._images)
        digests = [fact.digest if isinstance(fact, Fact) else "none" for fact in facts]
        return hashlib.sha256(repr(digests).encode()).hexdigest()[:12]
