"""One reader for every data set: Pascal VOC's folders, with a class list of its own.

Letters: c classes, n boxes, H W an image.
"""

import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as images

from wsss_lightning.data.batch import Sample
from wsss_lightning.data.checks import MaskSurvey
from wsss_lightning.data.file_facts import Fact, FileFacts
from wsss_lightning.data.images import SUFFIXES, read_header, read_rgb
from wsss_lightning.data.scores import load_mask
from wsss_lightning.data.sources import masks as mask_files
from wsss_lightning.data.sources import tags as tag_files
from wsss_lightning.data.sources.boxes import (
    Annotation,
    BoxTable,
    RawBox,
    boxes_of_instances,
    clip_and_round,
    exceeds_image,
    read_coco,
    read_csv,
    read_xml,
)
from wsss_lightning.data.sources.lists import list_path, read_list
from wsss_lightning.data.sources.masks import BACKGROUND, MaskReader, read_ids
from wsss_lightning.data.sources.names import ClassNames, Companions, ImageIndex, some
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.ops.masks import IGNORE

SLACK: Final = 2  # pixels
SURVEYED: Final = 200  # masks that are looked at before work starts, at most, and as many again
# of images tagged with classes that these do not show


class BoxCounts(NamedTuple):
    """Boxes of a split.

    Attributes:
        boxes: that are used.
        cut: of these, that reached beyond their image.
        unboxed: tags whose class has no box in the image.
        left_out: objects of a COCO file without height or width.
    """

    boxes: int
    cut: int
    unboxed: int
    left_out: int


@final
class VOCDataset(Dataset[Sample]):
    """A split of a data set in VOC layout: images with tags, and masks or boxes if asked for.

    Images are turned upright by their EXIF orientation. Where masks or boxes only fit an image as
    it is stored, it is used as it is stored, and `notes` says so.

    Args:
        root: folder of the data set.
        split: a key of `lists`.
        classes: names without background; the i-th has tag i and label i + 1.
        lists: file of image names of each split, below root (`sources.lists.read_list`); None: the
            data set has no such split.
        tags: where tags come from: `xml` (objects in annotations, difficult ones too), `masks`
            (labels in true masks, all of which are read), or a file below root: a .csv
            (`sources.tags.read_csv`) or a .npy with a dictionary of vectors (`cls_labels.npy`); or
            `boxes`: the classes of an image's boxes.
        mask_ids: class, `background` or `ignored`, of each id in the masks; with it, classes of
            annotations and tables that `classes` lacks are left out. None: masks hold labels
            already, and all names must be known.
        image_dir: folder of images, below root.
        mask_dir: folder of true masks, below root.
        annotation_dir: folder of XML annotations, below root.
        on_missing_labels: an image without any tag, or without any box where boxes are asked for, is an
            `error`, or `background` and kept.
        boxes: where boxes come from: `xml`; `masks` (around the instances in `instance_dir`, their
            class from the true masks); or a file below root: a .json of COCO, or a .csv; `{split}`
            in its name stands for the split.
        instance_dir: folder of instance masks, below root.
        difficult: keep boxes that the XML marks as difficult.
        mask_colours: colour of each class in the masks, in place of `mask_ids`.
        unmapped: what ids or colours without a name count as (`sources.masks.MaskReader`).
        masks: folder of pseudo masks `<name>.png`, of our labels, read in place of the true ones.
        with_masks: samples carry masks.
        with_boxes: samples carry boxes.
        wrong: where given, what is wrong with single images is put here by their name, and those
            images are left out, rather than the first of them refused.

    Attributes:
        names: of the images (`sources.names`), in the order of the list.
        tags: (n c) multi-hot.
        notes: what a user should know of how the files were read.

    Raises:
        InputError: anything about the files that cannot be used, with the file's name.
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
        unmapped: mask_files.Unmapped | None = None,
        masks: str | Path | None = None,
        with_masks: bool = True,
        with_boxes: bool = False,
        wrong: dict[str, str] | None = None,
    ) -> None:
        self.wrong = wrong
        self.root = Path(root).expanduser()
        self.split, self.classes = split, list(classes)
        self.num_classes = len(self.classes)
        self.image_dir, self.mask_dir = self.root / image_dir, self.root / mask_dir
        self.annotation_dir = self.root / annotation_dir
        self.boxes_from, self.difficult = boxes, difficult
        self.instance_dir = self.root / instance_dir
        self.pseudo = None if masks is None else Path(masks)
        self.with_masks, self.with_boxes = with_masks, with_boxes
        self._check_folders(image_dir)
        if on_missing_labels not in ("error", "background"):
            raise InputError(
                f"data.dataset.on_missing_labels is {on_missing_labels}; set it to error, or to background to keep "
                "images without tags as pure background."
            )
        self.on_missing_labels = on_missing_labels
        self._check_classes()
        self._class_names = ClassNames(self.classes)
        self.mask_reader = MaskReader(self.classes, mask_ids, mask_colours, unmapped)
        self.subset = self.mask_reader.mapped

        self._index = ImageIndex(self.image_dir, self.mask_dir)
        path = list_path(self.root, split, lists)
        listed = read_list(path, self._index)
        self.notes = list(listed.notes)
        self.names = [name for name, _ in listed.images]
        self._images = [file for _, file in listed.images]
        self._parsed: dict[str, Annotation] = {}
        self._left_out: set[str] = set()
        if listed.absent:
            self._refuse(listed.absent, self._describe_absent(listed.absent))
        self._facts = self._look_at_images()
        self._turned = self._decide_turns()
        self.tags = self._read_tags(tags)
        if self._left_out:
            self.notes.append(
                f"classes of {tags} that data.dataset.classes lacks are left out: "
                f"{some(sorted(self._left_out))}"
            )
        without = [n for n, t in zip(self.names, self.tags, strict=True) if not t.any()]
        if without and on_missing_labels == "error":
            self._refuse(
                without,
                f"{len(without)} images of {split} have no tag in {tags} ({some(without)}); tag "
                "them, take them off the list, or set data.dataset.on_missing_labels=background to keep them "
                "as pure background.",
            )

    @cached_property
    def _masks(self) -> Companions:
        return Companions(self.mask_dir, mask_files.SUFFIXES, self._index)

    @cached_property
    def _annotations(self) -> Companions:
        return Companions(self.annotation_dir, (".xml",), self._index)

    @cached_property
    def _instances(self) -> Companions:
        return Companions(self.instance_dir, mask_files.SUFFIXES, self._index)

    def view(
        self, with_masks: bool = True, with_boxes: bool = False, masks: Path | None = None
    ) -> "VOCDataset":
        """The same split with other contents of its samples; files are not read again.

        Args:
            with_masks: samples carry masks.
            with_boxes: samples carry boxes.
            masks: folder of pseudo masks that stand for the true ones.
        """
        other = copy.copy(self)
        other.with_masks, other.with_boxes = with_masks, with_boxes
        other.pseudo = None if masks is None else Path(masks)
        return other

    def _refuse(self, names: Iterable[str], message: str) -> None:
        """Raise what is wrong with these images, or note it where that was asked for."""
        if self.wrong is None:
            raise InputError(message)
        self.wrong.update(dict.fromkeys(names, message))

    def _check_folders(self, image_dir: str) -> None:
        if not self.root.is_dir():
            raise InputError(
                f"data.root is {self.root}, but there is no such folder; give the folder that "
                f"holds {image_dir} by data.root=DIR."
            )
        if not self.image_dir.is_dir():
            raise InputError(
                f"{self.image_dir} is missing; data.root must hold the images there, or "
                "data.dataset.image_dir must say where they are."
            )

    def _check_classes(self) -> None:
        wrong = {name for name in self.classes if self.classes.count(name) > 1 or not name.strip()}
        reserved = {BACKGROUND, mask_files.IGNORED} & set(self.classes)
        if wrong or reserved or not 0 < self.num_classes < IGNORE:
            raise InputError(
                f"data.dataset.classes is {self.classes}; name 1 to {IGNORE - 1} classes, each once "
                f"and without {BACKGROUND}, which is always label 0, and {mask_files.IGNORED}."
            )

    def _describe_absent(self, absent: Sequence[str]) -> str:
        hint = self._index.why_absent(absent[0])
        return (
            f"{len(absent)} images on the list of {self.split} are not in {self.image_dir} "
            f"({some(absent)}); add them ({', '.join(SUFFIXES)}), or take them off the list."
            f"{' ' if hint else ''}{hint}"
        )

    def _look_at_images(self) -> list[Fact]:
        """Header and digest of every image; those that cannot be read are refused."""
        masks = [self._masks.find(n, p) for n, p in zip(self.names, self._images, strict=True)]
        self._mask_of = dict(zip(self.names, masks, strict=True))
        facts = FileFacts(self.root).of([*self._images, *(mask for mask in masks if mask)])
        self._mask_facts = {mask: facts[mask] for mask in masks if mask}
        for name, path in zip(self.names, self._images, strict=True):
            fact = facts[path]
            if isinstance(fact, InputError):
                self._refuse([name], str(fact))
        readable = [i for i, path in enumerate(self._images) if isinstance(facts[path], Fact)]
        self.names = [self.names[i] for i in readable]
        self._images = [self._images[i] for i in readable]
        return [fact for path in self._images if isinstance(fact := facts[path], Fact)]

    def _decide_turns(self) -> list[bool]:
        """Whether each image is turned upright by its EXIF orientation.

        It is, unless the size of its mask or annotation, or its boxes, fit only the image as it is
        stored. Sizes tell nothing of a square image, or one that is turned by 180 degrees: it is
        treated as those of the same split whose sizes tell.
        """
        turned = [True] * len(self.names)
        undecided, votes = [], {True: 0, False: 0}
        oriented = [i for i, fact in enumerate(self._facts) if fact.orientation != 1]
        for i in oriented:
            fact = self._facts[i]
            sizes = self._sizes_of_boxes(i)
            mask = self.find_mask(i)
            if mask is not None and isinstance(mask_fact := self._mask_facts[mask], Fact):
                sizes.add(mask_fact.header.upright)
            upright, stored = fact.header.upright, fact.header.stored
            if upright == stored or not sizes & {upright, stored}:
                undecided.append(i)
            elif {upright, stored} <= sizes:
                self._refuse(
                    [self.names[i]],
                    f"{self._images[i]} has EXIF orientation {fact.orientation}; of its mask and "
                    f"annotation one fits the turned image ({upright[1]}x{upright[0]}), the other "
                    f"the image as it is stored ({stored[1]}x{stored[0]}); make both from one.",
                )
            else:
                turned[i] = upright in sizes
                votes[turned[i]] += 1
        for i in undecided:
            turned[i] = not (votes[False] and not votes[True])
        stored_ones = [self.names[i] for i in oriented if not turned[i]]
        if len(oriented) > len(stored_ones):
            self.notes.append(
                f"{len(oriented) - len(stored_ones)} images are turned upright by their EXIF "
                "orientation"
            )
        if stored_ones:
            self.notes.append(
                f"{len(stored_ones)} images have an EXIF orientation that is not applied, since "
                f"masks or boxes fit the images as they are stored ({some(stored_ones)})"
            )
        return turned

    def _sizes_of_boxes(self, i: int) -> set[tuple[int, int]]:
        """(H, W) that the boxes of an image were drawn at, by their file or by where they lie."""
        size = self._annotated_size(i)
        if size is not None:
            return {size}
        if self.boxes_from == "masks" or not self._box_path(i).is_file():
            return set()
        try:
            boxes = self._drawn_as_written(i)
        except InputError:  # reported where boxes are used
            return set()
        header = self._facts[i].header
        # a tool may round a corner to a place behind the last pixel
        fitting = {
            (height, width)
            for height, width in (header.upright, header.stored)
            if not any(exceeds_image(box, height + SLACK, width + SLACK) for box in boxes)
        }
        return fitting if boxes and len(fitting) == 1 else set()

    def _annotated_size(self, i: int) -> tuple[int, int] | None:
        """(H, W) that boxes were drawn at, where their file says so."""
        if self.boxes_from == "xml":
            try:
                return self._annotation(i).size if self._annotation_path(i).is_file() else None
            except InputError:  # reported where the annotation is used
                return None
        if self.boxes_from.endswith(".json"):
            path = self._box_path(0)
            return self._box_table.sizes.get(self.names[i]) if path.is_file() else None
        return None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Sample:
        image = images.to_dtype(images.pil_to_tensor(self.image(i)), torch.float32, scale=True)
        sample = Sample(image=image, tags=self.tags[i], name=self.names[i])
        if self.with_masks:
            sample["mask"] = torch.from_numpy(self.mask(i).astype(np.int64))
        if self.with_boxes:
            sample["boxes"] = torch.from_numpy(self.boxes(i))
        return sample

    def image(self, i: int) -> Image.Image:
        """The picture, RGB."""
        return read_rgb(self._images[i], self._turned[i])

    def image_size(self, i: int) -> tuple[int, int]:
        """(H, W) of the picture."""
        header = self._facts[i].header
        return header.upright if self._turned[i] else header.stored

    def digest(self, i: int) -> str:
        """Of the content of the image file."""
        return self._facts[i].digest

    def mask(self, i: int) -> UInt8[np.ndarray, "H W"]:
        """Labels 0..c and 255, of the pseudo mask where a folder was given, else the true one."""
        if self.pseudo is None:
            return self._true_mask(i)
        path = self.pseudo / f"{self.names[i]}.png"
        mask = load_mask(path)
        self._check_size(path, mask.shape, i)
        wrong = np.unique(mask[(mask > self.num_classes) & (mask != IGNORE)])
        if len(wrong):
            raise InputError(
                f"{path} holds id {some(wrong.tolist())}, but labels are 0 (background) to "
                f"{self.num_classes} and {IGNORE} (ignored); make pseudo masks of these classes."
            )
        return mask

    def _true_mask(self, i: int) -> UInt8[np.ndarray, "H W"]:
        path = self.mask_path(i)
        self.check_mask_exists(i)
        mask = self.mask_reader.read(path)
        self._check_size(path, mask.shape, i)
        if (mask < 0).any():
            survey = MaskSurvey(self.mask_reader, self.split)
            survey.add(self.mask_reader.look(path), ())
            raise InputError(survey.problems()[0])
        return mask.astype(np.uint8)

    def check_mask_exists(self, i: int) -> None:
        """Raises: InputError: the image has no true mask."""
        if self.find_mask(i) is not None:
            return
        path = self.mask_path(i)
        if not self.has_masks():
            raise InputError(
                f"{path} is missing, and so are all masks of {self.split}; add them, or say where "
                "they are by data.dataset.mask_dir."
            )
        raise InputError(
            f"{path} is missing, but other masks of {self.split} exist; add it, or take "
            f"{self.names[i]} off the list."
        )

    def _check_size(self, path: Path, size: tuple[int, ...], i: int) -> None:
        height, width = self.image_size(i)
        if size != (height, width):
            raise InputError(
                f"{path} is of {size[1]}x{size[0]} pixels, but its image {self._images[i].name} is "
                f"of {width}x{height}; make the mask from the image of that size."
            )

    def find_mask(self, i: int) -> Path | None:
        """The file of the true mask of an image, if there is one."""
        return self._mask_of[self.names[i]]

    def mask_path(self, i: int) -> Path:
        """Where the true mask of an image is, or would be."""
        return self.find_mask(i) or self._masks.expected(self.names[i])

    def has_masks(self) -> bool:
        """Whether any image of this split has a true mask; tags are enough to train on."""
        return any(self.find_mask(i) is not None for i in range(len(self)))

    def boxes(self, i: int) -> Float[np.ndarray, "n 5"]:
        """Class 1..c, x0, y0, x1, y1 in pixels from 0, ends exclusive, cut to the image."""
        if self.boxes_from == "masks":
            return self._boxes_of_instances(i).astype(np.float32)
        size = self.image_size(i)
        found = []
        for drawn in self._drawn(i):
            label = self._label_of(drawn, size, i)
            if label is not None:
                found.append((label, *(clip_and_round(drawn, *size) or ())))
        return np.array(found, np.float32).reshape(-1, 5)

    def _label_of(self, drawn: RawBox, size: tuple[int, int], i: int) -> int | None:
        """Label of a box; None for one that a view of some classes leaves out.

        Raises:
            InputError: its class is not known, or it holds no pixel of the image.
        """
        path = self._box_path(i)
        known = self._known(drawn.name, path)
        if known is None:
            return None
        where = f"{path} has a {drawn.name}"
        if path.suffix != ".xml":
            where += f" in {self.names[i]} ({drawn.where})"
        if drawn.corners is None:
            raise InputError(
                f"{where} without a box in numbers ({drawn.numbers}); give all four as numbers."
            )
        if clip_and_round(drawn, *size) is None:
            raise InputError(
                f"{where} whose box ({drawn.numbers}) holds no pixel of the image of "
                f"{size[1]}x{size[0]}; mend the box, or take it out."
            )
        return known + 1

    def _drawn(self, i: int) -> list[RawBox]:
        """Boxes of an image as they stand in the file.

        Raises:
            InputError: they were drawn on an image of another size.
        """
        drawn = self._drawn_as_written(i)
        size = self._annotated_size(i)
        if drawn and size is not None and size != self.image_size(i):
            height, width = self.image_size(i)
            raise InputError(
                f"{self._box_path(i)} says that {self.names[i]} is of {size[1]}x{size[0]} pixels, "
                f"but {self._images[i].name} is of {width}x{height}: its boxes belong to an image "
                "of another size. Scale the boxes, or bring back the image that was annotated."
            )
        return drawn

    def _drawn_as_written(self, i: int) -> list[RawBox]:
        if self.boxes_from != "xml":
            return self._box_table.boxes.get(self.names[i], [])
        boxes = self._annotation(i).boxes
        return [box for box in boxes if self.difficult or not box.difficult]

    @cached_property
    def _box_table(self) -> BoxTable:
        """Boxes of all images, of a file that holds them together, by the images' names."""
        path = self._box_path(0)
        readers = {".json": read_coco, ".csv": read_csv}
        if path.suffix.lower() not in readers:
            raise InputError(
                f"data.dataset.boxes is {self.boxes_from}; set it to xml, masks, or a .json (COCO) "
                "or .csv file below data.root."
            )
        if not path.is_file():
            raise InputError(
                f"{path} is missing; give the file of boxes by data.dataset.boxes=FILE."
            )
        table = readers[path.suffix.lower()](path)
        split = frozenset(self.names)
        by_name = {written: self._index.name(written, split) for written in table.boxes}
        absent = [written for written in table.boxes if not self._index.find(written)]
        named: dict[str, list[RawBox]] = {}
        for written, name in by_name.items():
            if name is not None:
                named.setdefault(name, []).extend(table.boxes[written])
        sizes = {name: size for w, size in table.sizes.items() if (name := by_name[w]) is not None}
        if absent:
            self.notes.append(
                f"{path.name} has boxes of {len(absent)} images that are not in {self.image_dir} "
                f"({some(absent)})"
            )
            self._refuse_unboxed(path, named, absent)
        return BoxTable(named, sizes, table.left_out)

    def _refuse_unboxed(self, path: Path, named: Mapping[str, Any], absent: Sequence[str]) -> None:
        """An image that the file does not know may be one that it calls by another name."""
        unknown = [name for name in self.names if name not in named]
        if unknown and self.on_missing_labels == "background":
            raise InputError(
                f"{path} knows nothing of {len(unknown)} images of {self.split} ({some(unknown)}), "
                f"but has boxes of images that are not in {self.image_dir} ({some(absent)}); write "
                "the names of the images there."
            )

    def _box_path(self, i: int) -> Path:
        """The file that boxes of an image come from."""
        if self.boxes_from == "xml":
            return self._annotation_path(i)
        if self.boxes_from == "masks":
            return self._companion(self._instances, i)
        return self.root / Path(self.boxes_from.replace("{split}", self.split)).expanduser()

    def has_boxes(self) -> bool:
        """Whether there is anything to read boxes from."""
        return len(self) > 0 and self._box_path(0).is_file()

    def _boxes_of_instances(self, i: int) -> np.ndarray:
        path = self._box_path(i)
        instances = read_ids(path)
        self._check_size(path, instances.shape, i)
        try:
            return boxes_of_instances(instances, self._true_mask(i))
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{path} does not fit the mask of its image: {error}; mend one of them."
            ) from error

    def count_boxes(self) -> BoxCounts:
        """How many boxes there are, and what of them was mended."""
        boxes = cut = unboxed = 0
        for i in range(len(self)):
            found = self.boxes(i)
            boxes += len(found)
            tagged = (self.tags[i].nonzero().flatten() + 1).tolist()
            unboxed += len(set(tagged) - set(found[:, 0].astype(int).tolist()))
            if self.boxes_from != "masks":
                size = self.image_size(i)
                for drawn in self._drawn(i):
                    known = self._known(drawn.name, self._box_path(i)) is not None
                    cut += known and exceeds_image(drawn, *size)
        left_out = 0 if self.boxes_from in ("xml", "masks") else self._box_table.left_out
        return BoxCounts(boxes, cut, unboxed, left_out)

    def check(self) -> None:
        """Look at masks and boxes before work starts.

        Sizes of all masks are checked, and the pixels of some (`MaskSurvey`). Images are looked at
        when the split is built.

        Raises:
            InputError: a mask is absent, cut off, of another size, or does not show what its image
                is tagged with; or a box holds no pixel. Masks and boxes only if samples carry them.
        """
        if self.with_masks and self.pseudo is not None:
            for i, name in enumerate(self.names):
                path = self.pseudo / f"{name}.png"
                self._check_size(path, read_header(path).upright, i)
        elif self.with_masks and self.has_masks():
            for i in range(len(self)):
                self.check_mask_exists(i)
                path = self.mask_path(i)
                fact = self._mask_facts[path]
                if isinstance(fact, InputError):
                    raise fact
                self._check_size(path, fact.header.upright, i)
            survey = self._survey()
            for problem in survey.problems():
                raise InputError(problem)
            self.notes += survey.notes()
        elif self.with_masks:
            unused = self._masks.unused(self.names)
            if unused:
                self.notes.append(
                    f"no image has a mask in {self.mask_dir}, though files are there "
                    f"({some(unused)}); a mask has the name of its image"
                )
        if self.with_boxes:
            self._check_boxes()

    def _survey(self) -> MaskSurvey:
        """Masks of evenly chosen images, and more of those tagged with classes not seen there."""
        survey = MaskSurvey(self.mask_reader, self.split)
        chosen = np.linspace(0, len(self) - 1, min(SURVEYED, len(self))).astype(int).tolist()
        self._look_at_masks(survey, chosen)
        unseen = [label - 1 for label in survey.unseen()]
        more = self.tags[:, unseen].any(1).nonzero().flatten().tolist() if unseen else []
        self._look_at_masks(survey, [i for i in more if i not in set(chosen)][:SURVEYED])
        return survey

    def _look_at_masks(self, survey: MaskSurvey, chosen: Iterable[int]) -> None:
        for i in chosen:
            tagged = (self.tags[i].nonzero().flatten() + 1).tolist()
            survey.add(self.mask_reader.look(self.mask_path(i)), tagged)

    def _check_boxes(self) -> None:
        """All boxes at once, so that all that is wrong can be mended at once."""
        wrong: list[str] = []
        without: list[str] = []
        for i, name in enumerate(self.names):
            size, before = self.image_size(i), len(wrong)
            if self.boxes_from == "masks":
                wrong += _complaints(self._boxes_of_instances, i)
            else:
                wrong += _complaints(self._drawn, i)
                for box in self._drawn(i) if len(wrong) == before else []:
                    wrong += _complaints(self._label_of, box, size, i)
            if len(wrong) == before and not len(self.boxes(i)):
                without.append(name)
        if len(wrong) > 1:
            first = "\n  ".join(wrong[:5])
            more = f"\n  and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise InputError(
                f"{len(wrong)} boxes of split {self.split!r} are invalid:\n  {first}{more}"
            )
        if wrong:
            raise InputError(wrong[0])
        if without and self.on_missing_labels == "error":
            raise InputError(
                f"{len(without)} images of {self.split} have no box in {self.boxes_from} "
                f"({some(without)}); draw one, take them off the list, or set "
                "data.dataset.on_missing_labels=background to keep them as pure background."
            )

    def fingerprint(self) -> str:
        """Digest of names, tags, labels, and the content of the images."""
        digest = hashlib.sha256(repr((self.names, self.classes)).encode())
        digest.update(self.mask_reader.digest_source())
        digest.update(self.tags.numpy().tobytes())
        digest.update(repr([fact.digest for fact in self._facts]).encode())
        digest.update(repr(self._turned).encode())
        if self.with_boxes:
            for i in range(len(self)):
                digest.update(self.boxes(i).tobytes() + b"|")
        return digest.hexdigest()[:12]

    def mask_fingerprint(self) -> str:
        """Digest of the content of the true masks; those that are absent count as well."""
        facts = [self._mask_facts.get(self.mask_path(i)) for i in range(len(self))]
        known = [fact.digest if isinstance(fact, Fact) else "none" for fact in facts]
        return hashlib.sha256(repr(known).encode()).hexdigest()[:12]

    def _known(self, name: str, where: Path) -> int | None:
        """Index of a class; None for one that a view of some classes leaves out."""
        index = self._class_names.index(name)
        if index is not None:
            return index
        if self.subset:
            self._left_out.add(name)
            return None
        raise InputError(
            f"{where} names the class {name!r}, which data.dataset.classes lacks; "
            f"{did_you_mean(name, self.classes)} To leave a class out, give data.dataset.mask_ids."
        )

    def _annotation_path(self, i: int) -> Path:
        return self._companion(self._annotations, i)

    def _companion(self, companions: Companions, i: int) -> Path:
        """The file of an image, or where one is expected."""
        name = self.names[i]
        return companions.find(name, self._images[i]) or companions.expected(name)

    def _annotation(self, i: int) -> Annotation:
        name = self.names[i]
        if name not in self._parsed:
            self._parsed[name] = read_xml(self._annotation_path(i))
        return self._parsed[name]

    def _read_tags(self, source: str) -> Float[Tensor, "n c"]:
        shown = {"xml": self._shown_in_xml, "boxes": self._shown_by_boxes, "masks": self._shown}
        if source in shown:
            return self._tags_of_each(shown[source])
        path = self.root / Path(source).expanduser()
        if path.suffix.lower() not in (".csv", ".tsv", ".npy"):
            raise InputError(
                f"data.dataset.tags is {source}; set it to xml, masks, boxes, or a .csv, .tsv or "
                ".npy file below data.root."
            )
        if not path.is_file():
            raise InputError(f"{path} is missing; give the file of tags by data.dataset.tags=FILE.")
        if path.suffix.lower() == ".npy":
            table = tag_files.read_npy(path, self._index, self._class_names)
        else:
            table = tag_files.read_csv(path, self._index, self._class_names, self.subset)
        self._left_out |= table.left_out
        absent = [name for name in self.names if name not in table.tags]
        if absent:
            others = (
                f" It has tags of {len(table.absent)} images that are not in {self.image_dir} "
                f"({some(table.absent)})."
                if table.absent
                else ""
            )
            self._refuse(
                absent,
                f"{path} has no tags for {len(absent)} images of {self.split} ({some(absent)}); "
                f"add them, or take these images off the list.{others}",
            )
            self._keep([i for i, name in enumerate(self.names) if name in table.tags])
        if not self.names:
            return torch.zeros(0, self.num_classes)
        return torch.from_numpy(np.stack([table.tags[name] for name in self.names]))

    def _tags_of_each(self, shown: Callable[[int], Sequence[int]]) -> Float[Tensor, "n c"]:
        """Multi-hot rows of the classes (from 0) that are shown in each image."""
        tags = torch.zeros(len(self.names), self.num_classes)
        kept = []
        for i, name in enumerate(self.names):
            try:
                tags[i, list(shown(i))] = 1
                kept.append(i)
            except InputError as error:
                self._refuse([name], str(error))
        self._keep(kept)
        return tags[kept]

    def _keep(self, kept: Sequence[int]) -> None:
        self.names = [self.names[i] for i in kept]
        self._images = [self._images[i] for i in kept]
        self._facts = [self._facts[i] for i in kept]
        self._turned = [self._turned[i] for i in kept]

    def _shown_in_xml(self, i: int) -> list[int]:
        path = self._annotation_path(i)
        known = (self._known(box.name, path) for box in self._annotation(i).boxes)
        return [c for c in known if c is not None]

    def _shown_by_boxes(self, i: int) -> list[int]:
        return [int(label) - 1 for label in self.boxes(i)[:, 0]]

    def _shown(self, i: int) -> list[int]:
        labels = np.unique(self._true_mask(i))
        return [int(label) - 1 for label in labels if 0 < label < IGNORE]


def _complaints(look: Callable[..., object], *at: object) -> list[str]:
    """The message of the InputError of `look(*at)`, if there is one."""
    try:
        look(*at)
    except InputError as error:
        return [str(error)]
    return []
