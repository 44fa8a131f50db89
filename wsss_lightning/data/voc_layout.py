"""One reader for every data set: Pascal VOC's folders, with a class list of its own.

Letters: c classes, n boxes, H W an image.
"""

import csv
import hashlib
import os
import pickle
import pickletools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as images

from wsss_lightning.data.batch import Sample
from wsss_lightning.data.box_files import (
    Drawn,
    boxes_of_instances,
    fitted,
    objects_of,
    reaches_out,
    read_coco,
    read_csv,
    read_xml,
)
from wsss_lightning.data.scores import is_whole, load_ids, load_mask, opened
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.functional.masks import IGNORE

SUFFIXES: Final = (".jpg", ".jpeg", ".png")
BACKGROUND: Final = "background"


class BoxCounts(NamedTuple):
    """Of a split: boxes, those cut to their image, and tags whose class has no box there."""

    boxes: int
    cut: int
    unboxed: int


@final
class VOCLayout(Dataset[Sample]):
    """A split of a data set in VOC layout: images with tags, and masks or boxes if asked for.

    Args:
        root: folder of the data set.
        split: a key of `lists`.
        classes: names without background; the i-th has tag i and label i + 1.
        lists: file of image names of each split, below root. A line is a name, or begins with the
            path of an image, as the lists of PSA and SEAM do.
        tags: where tags come from: `xml` (objects in annotations, difficult ones too), `masks`
            (labels in true masks, all of which are read), or a file below root: a .csv with one
            0/1 column a class, or a .npy with a dictionary of vectors (`cls_labels.npy`); or
            `boxes`: the classes of an image's boxes.
        mask_ids: class, or `background`, of each id in the masks; ids it lacks are ignored, and so
            are classes of annotations and CSV columns that `classes` lacks. None: masks hold our
            labels already, and all names must be known.
        image_dir: folder of images, below root.
        mask_dir: folder of true masks, below root.
        annotation_dir: folder of XML annotations, below root.
        untagged: an image without any tag, or without any box where boxes are asked for, is an
            `error`, or `background` and kept.
        boxes: where boxes come from: `xml`; `masks` (around the instances in `instance_dir`, their
            class from the true masks); or a file below root: a .json of COCO, or a .csv; `{split}`
            in its name stands for the split.
        instance_dir: folder of instance masks, below root.
        difficult: keep boxes that the XML marks as difficult.
        masks: folder of pseudo masks `<name>.png`, of our labels, read in place of the true ones.
        with_masks: samples carry masks.
        with_boxes: samples carry boxes.
        wrong: where given, what is wrong with single images is put here by their name, and those
            images are left out, rather than the first of them refused.

    Raises:
        InputError: anything about the files that cannot be used, with the file's name.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        classes: Sequence[str],
        lists: Mapping[str, str],
        tags: str,
        mask_ids: Mapping[int, str] | None,
        image_dir: str,
        mask_dir: str,
        annotation_dir: str,
        untagged: str,
        boxes: str = "xml",
        instance_dir: str = "SegmentationObject",
        difficult: bool = True,
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
        if not self.root.is_dir():
            raise InputError(
                f"data.root is {self.root}, but there is no such folder; give the folder that "
                f"holds {image_dir} by data.root=DIR."
            )
        if untagged not in ("error", "background"):
            raise InputError(
                f"data.reader.untagged is {untagged}; set it to error, or to background to keep "
                "images without tags as pure background."
            )
        self.untagged = untagged
        self._check_classes()
        self.subset = mask_ids is not None
        self.table = self._table(mask_ids)
        self.names = read_list(self.root, split, lists)
        self._images = self._find_images()
        self.tags = self._read_tags(tags)
        without = [n for n, t in zip(self.names, self.tags, strict=True) if not t.any()]
        if without and untagged == "error":
            self._refuse(
                without,
                f"{len(without)} images of {split} have no tag in {tags} ({_some(without)}); tag "
                "them, take them off the list, or set data.reader.untagged=background to keep them "
                "as pure background.",
            )

    def _refuse(self, names: Sequence[str], message: str) -> None:
        """Raise what is wrong with these images, or note it where that was asked for."""
        if self.wrong is None:
            raise InputError(message)
        self.wrong.update(dict.fromkeys(names, message))

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
        path = self._images[i]
        with opened(path) as image:
            if image.mode[0] in "IF":
                # Pillow would clip such levels to 255: a white picture
                raise InputError(
                    f"{path} holds more than 8 bits a channel (mode {image.mode}); save it with 8."
                )
            return image.convert("RGB")

    def image_size(self, i: int) -> tuple[int, int]:
        """(H, W), from the file's header."""
        return _size(self._images[i])

    def mask(self, i: int) -> UInt8[np.ndarray, "H W"]:
        """Labels 0..c and 255, of the pseudo mask where a folder was given, else the true one."""
        if self.pseudo is None:
            return self._true_mask(i)
        path = self.pseudo / f"{self.names[i]}.png"
        mask = load_mask(path)
        self._check_size(path, mask.shape, i)
        wrong = mask[(mask > self.num_classes) & (mask != IGNORE)]
        self._check_labels(path, wrong, "make pseudo masks of these classes.")
        return mask

    def _true_mask(self, i: int) -> UInt8[np.ndarray, "H W"]:
        path = self.mask_path(i)
        self._check_mask_is_there(path, i)
        ids = load_ids(path).astype(np.int64)
        self._check_size(path, ids.shape, i)
        beyond = len(self.table) - 1
        mask = self.table[np.where((ids < 0) | (ids > beyond), beyond, ids)]
        mend = "say what ids mean by data.reader.mask_ids, as in {0: background, 8: cat}."
        self._check_labels(path, ids[mask < 0], mend)
        return mask.astype(np.uint8)

    def _check_mask_is_there(self, path: Path, i: int) -> None:
        if path.is_file():
            return
        if not self.has_masks():
            raise InputError(
                f"{path} is missing, and so are all masks of {self.split}; add them, or say where "
                "they are by data.reader.mask_dir."
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

    def _check_labels(self, path: Path, wrong: np.ndarray, mend: str) -> None:
        if len(wrong):
            raise InputError(
                f"{path} holds id {_some(np.unique(wrong).tolist())}, but labels are 0 "
                f"(background) to {self.num_classes} and 255 (ignored); {mend}"
            )

    def mask_path(self, i: int) -> Path:
        """Where the true mask of an image lies, if there is one."""
        return self.mask_dir / f"{self.names[i]}.png"

    def has_masks(self) -> bool:
        """Whether any image of this split has a true mask; tags are enough to train on."""
        return any(self.mask_path(i).is_file() for i in range(len(self)))

    def boxes(self, i: int) -> Float[np.ndarray, "n 5"]:
        """Class 1..c, x0, y0, x1, y1 in pixels from 0, ends exclusive, cut to the image."""
        if self.boxes_from == "masks":
            return self._boxes_of_instances(i).astype(np.float32)
        size = self.image_size(i)
        found = []
        for drawn in self._drawn(i):
            label = self._label_of(drawn, size, i)
            if label is not None:
                found.append((label, *(fitted(drawn, *size) or ())))
        return np.array(found, np.float32).reshape(-1, 5)

    def _label_of(self, drawn: Drawn, size: tuple[int, int], i: int) -> int | None:
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
            where += f" in {self.names[i]}"
        if drawn.corners is None:
            raise InputError(
                f"{where} without a box in numbers ({drawn.told}); give all four as numbers."
            )
        if fitted(drawn, *size) is None:
            raise InputError(
                f"{where} whose box ({drawn.told}) holds no pixel of the image of "
                f"{size[1]}x{size[0]}; mend the box, or take it out."
            )
        return known + 1

    def _drawn(self, i: int) -> list[Drawn]:
        """Boxes of an image as they stand in the file."""
        if self.boxes_from == "xml":
            drawn = read_xml(self._annotation(i))
            return [box for box in drawn if self.difficult or not box.difficult]
        return self._box_table.get(self.names[i], [])

    @cached_property
    def _box_table(self) -> dict[str, list[Drawn]]:
        """Boxes of all images, of a file that holds them together."""
        path = self._box_path(0)
        readers = {".json": read_coco, ".csv": read_csv}
        if path.suffix not in readers:
            raise InputError(
                f"data.reader.boxes is {self.boxes_from}; set it to xml, masks, or a .json (COCO) "
                "or .csv file below data.root."
            )
        if not path.is_file():
            raise InputError(
                f"{path} is missing; give the file of boxes by data.reader.boxes=FILE."
            )
        return readers[path.suffix](path)

    def _box_path(self, i: int) -> Path:
        """The file that boxes of an image come from."""
        if self.boxes_from == "xml":
            return self._annotation(i)
        if self.boxes_from == "masks":
            return self.instance_dir / f"{self.names[i]}.png"
        return self.root / self.boxes_from.replace("{split}", self.split)

    def _boxes_of_instances(self, i: int) -> np.ndarray:
        path = self._box_path(i)
        instances = load_ids(path)
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
                    cut += known and reaches_out(drawn, *size)
        return BoxCounts(boxes, cut, unboxed)

    def check(self) -> None:
        """Look at every header before work starts; pixels are judged where they are read.

        Files whose end is not as it must be are decoded in full: they may be cut off.

        Raises:
            InputError: an image does not open or is cut off, a mask is absent or of another size,
                or a box is no box; masks and boxes only if samples shall carry them.
        """
        masks = self.with_masks and (self.pseudo is not None or self.has_masks())
        for i in range(len(self)):
            self.image_size(i)
            if not is_whole(self._images[i]):
                self.image(i)  # or it ends in an unusual way
            if masks and self.pseudo is not None:
                path = self.pseudo / f"{self.names[i]}.png"
                self._check_size(path, _size(path), i)
            elif masks:
                path = self.mask_path(i)
                self._check_mask_is_there(path, i)
                self._check_size(path, _size(path), i)
                if not is_whole(path):
                    load_ids(path)
        if self.with_boxes:
            self._check_boxes()

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
            raise InputError(f"{len(wrong)} boxes of {self.split} are none:\n  {first}{more}")
        if wrong:
            raise InputError(wrong[0])
        if without and self.untagged == "error":
            raise InputError(
                f"{len(without)} images of {self.split} have no box in {self.boxes_from} "
                f"({_some(without)}); draw one, take them off the list, or set "
                "data.reader.untagged=background to keep them as pure background."
            )

    def fingerprint(self) -> str:
        """Digest of names, tags, labels and the images' sizes in bytes: notices changed data."""
        digest = hashlib.sha256(repr((self.names, self.classes)).encode())
        digest.update(self.table.tobytes())
        digest.update(self.tags.numpy().tobytes())
        digest.update(repr([path.stat().st_size for path in self._images]).encode())
        if self.with_boxes:
            for i in range(len(self)):
                digest.update(self.boxes(i).tobytes() + b"|")
        return digest.hexdigest()[:12]

    def _check_classes(self) -> None:
        wrong = {name for name in self.classes if self.classes.count(name) > 1 or not name.strip()}
        if wrong or BACKGROUND in self.classes or not 0 < self.num_classes < IGNORE:
            raise InputError(
                f"data.reader.classes is {self.classes}; name 1 to {IGNORE - 1} classes, each once "
                f"and without {BACKGROUND}, which is always label 0."
            )

    def _table(self, mask_ids: Mapping[int, str] | None) -> Int16[np.ndarray, "_"]:
        """Label of each id in a mask, -1 if it must not occur; last entry: all larger ids."""
        if mask_ids is None:
            table = np.full(257, -1, np.int16)
            table[: self.num_classes + 1] = np.arange(self.num_classes + 1)
            table[IGNORE] = IGNORE
            return table
        table = np.full(65537, IGNORE, np.int16)
        labels = {name: label for label, name in enumerate([BACKGROUND, *self.classes])}
        for raw, name in mask_ids.items():
            if name not in labels:
                raise InputError(
                    f"data.reader.mask_ids gives id {raw} to {name}, which is no class; "
                    f"{did_you_mean(name, labels)}"
                )
            if not isinstance(raw, int) or not 0 <= raw < 65536:
                raise InputError(
                    f"data.reader.mask_ids has the id {raw!r}, but ids are whole numbers from 0 to "
                    "65535, as in {0: background, 8: cat}."
                )
            table[raw] = labels[name]
        return table

    def _find_images(self) -> list[Path]:
        if not self.image_dir.is_dir():
            raise InputError(
                f"{self.image_dir} is missing; data.root must hold the images there, or "
                "data.reader.image_dir must say where they are."
            )
        # of several files of one name the first suffix counts, in whatever order they are listed
        rank = {suffix: i for i, suffix in enumerate(SUFFIXES)}
        paths = [path for path in self.image_dir.iterdir() if path.suffix.lower() in rank]
        paths.sort(key=lambda path: (-rank[path.suffix.lower()], path.name))
        by_name = {path.stem: path for path in paths}
        absent = [name for name in self.names if name not in by_name]
        if absent:
            self._refuse(
                absent,
                f"{len(absent)} images on the list of {self.split} are not in {self.image_dir} "
                f"({_some(absent)}); add them ({', '.join(SUFFIXES)}), or take them off the list.",
            )
            self.names = [name for name in self.names if name in by_name]
        return [by_name[name] for name in self.names]

    def _known(self, name: str, where: Path) -> int | None:
        """Index of a class; None for one that a view of some classes leaves out."""
        if name in self.classes:
            return self.classes.index(name)
        if self.subset:
            return None
        raise InputError(
            f"{where} names the class {name!r}, which data.reader.classes lacks; "
            f"{did_you_mean(name, self.classes)} To leave a class out, give data.reader.mask_ids."
        )

    def _annotation(self, i: int) -> Path:
        return self.annotation_dir / f"{self.names[i]}.xml"

    def _read_tags(self, source: str) -> Float[Tensor, "n c"]:
        shown = {"xml": self._shown_in_xml, "boxes": self._shown_by_boxes, "masks": self._shown}
        if source in shown:
            return self._tags_of_each(shown[source])
        path = self.root / source
        readers: dict[str, Callable[[Path], Mapping[str, Any]]] = {
            ".csv": self._read_csv,
            ".npy": self._read_npy,
        }
        if path.suffix not in readers:
            raise InputError(
                f"data.reader.tags is {source}; set it to xml, masks, boxes, or a .csv or "
                ".npy file below data.root."
            )
        if not path.is_file():
            raise InputError(f"{path} is missing; give the file of tags by data.reader.tags=FILE.")
        by_name = readers[path.suffix](path)
        absent = [name for name in self.names if name not in by_name]
        if absent:
            self._refuse(
                absent,
                f"{path} has no tags for {len(absent)} images of {self.split} ({_some(absent)}); "
                "add them, or take these images off the list.",
            )
            self._keep([i for i, name in enumerate(self.names) if name in by_name])
        if not self.names:
            return torch.zeros(0, self.num_classes)
        return torch.stack([torch.as_tensor(by_name[name]) for name in self.names]).float()

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

    def _shown_in_xml(self, i: int) -> list[int]:
        path = self._annotation(i)
        named = [node.findtext("name", "").strip() for node in objects_of(path)]
        return [c for c in (self._known(name, path) for name in named) if c is not None]

    def _shown_by_boxes(self, i: int) -> list[int]:
        return [int(label) - 1 for label in self.boxes(i)[:, 0]]

    def _shown(self, i: int) -> list[int]:
        labels = np.unique(self._true_mask(i))
        return [int(label) - 1 for label in labels if 0 < label < IGNORE]

    def _read_csv(self, path: Path) -> dict[str, list[float]]:
        try:
            # a spreadsheet may put a byte order mark first
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.reader(file))
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path} does not read as CSV ({error}); save it as UTF-8.") from error
        header = [name.strip() for name in rows[0]] if rows else []
        columns = header[1:]
        for name in self.classes:
            if columns.count(name) != 1:
                raise InputError(
                    f"{path} has {columns.count(name) or 'no'} columns for the class {name}, but "
                    f"one is expected; {did_you_mean(name, columns)} Its first line must be "
                    "image,CLASS,CLASS,..."
                )
        for name in columns:
            self._known(name, path)
        places = [columns.index(name) + 1 for name in self.classes]
        found: dict[str, list[float]] = {}
        for line, row in enumerate(rows[1:], start=2):
            if not row:
                continue
            values = [row[place].strip() for place in places] if len(row) == len(header) else []
            if len(values) != len(places) or not set(values) <= {"0", "1", "0.0", "1.0"}:
                raise InputError(
                    f"{path}, line {line}, is {','.join(row)[:80]}, but a name and {len(columns)} "
                    "tags of 0 or 1 are expected; mend the line."
                )
            if row[0] in found:
                raise InputError(
                    f"{path} has {row[0]} twice, again in line {line}; leave one line."
                )
            found[row[0]] = [float(value) for value in values]
        return found

    def _read_npy(self, path: Path) -> dict[str, np.ndarray]:
        found = {}
        for key, given in read_npy_dict(path).items():
            try:
                # IRN's file has 2007000032 where all others have 2007_000032
                name = key if isinstance(key, str) else "{}_{:06d}".format(*divmod(int(key), 10**6))
                # lists that hold one another many times over: few bytes, but gigabytes of numbers
                if not isinstance(given, np.ndarray) and not all(map(np.isscalar, given)):
                    raise TypeError("it is no vector of numbers")
                vector = np.asarray(given, np.float32)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"{path} has no tags for {key!r} ({error}); expected a dictionary from image "
                    "name to multi-hot vector."
                ) from error
            if vector.shape != (self.num_classes,):
                raise InputError(
                    f"{path} has {vector.size} tags for {name}, but there are {self.num_classes} "
                    "classes; give the file that belongs to these classes."
                )
            if not np.isin(vector, (0, 1)).all():
                raise InputError(
                    f"{path} has tags other than 0 and 1 for {name}; save multi-hot vectors."
                )
            found[name] = vector
        return found


def _complaints(look: Callable[..., object], *at: object) -> list[str]:
    """What an InputError of `look(*at)` says, if there is one."""
    try:
        look(*at)
    except InputError as error:
        return [str(error)]
    return []


def _size(path: Path) -> tuple[int, int]:
    """(H, W) of an image file."""
    with opened(path) as image:
        return image.height, image.width


def _some(items: Sequence[Any]) -> str:
    """The first few of what may be thousands."""
    return ", ".join(map(str, items[:5])) + (", ..." if len(items) > 5 else "")


def read_list(root: Path, split: str, lists: Mapping[str, str]) -> list[str]:
    """Names of a split's images, in the order of its list."""
    if split not in lists:
        raise InputError(
            f"the split {split} has no list in data.reader.lists; {did_you_mean(split, lists)}"
        )
    path = root / lists[split]
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*.txt"))
        raise InputError(
            f"{path} is missing, the list of {split}; beside it are {_some(there) or 'no lists'}; "
            f"{did_you_mean(path.name, there)} Set data.reader.lists.{split} to a file below "
            "data.root."
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text ({error}); write one name a line.") from error
    names = [_name(line.split()[0]) for line in lines if line.strip()]
    if not names:
        raise InputError(f"{path} names no image; write one name a line.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{path} names {_some(twice)} more than once; leave one line of each.")
    return names


def _name(word: str) -> str:
    """Name of an image given by name or path; a dot may be part of a name."""
    path = Path(word)
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


class _ArraysOnly(pickle.Unpickler):
    """Builds dictionaries of arrays and refuses all else, so that a file cannot run code."""

    # the very functions by which arrays pickle themselves; numpy 1 and 2 keep them in modules of
    # different names, so only the last part counts and nothing is looked up or imported
    KNOWN: Final[dict[str, Any]] = {
        "_reconstruct": np.empty(0).__reduce__()[0],
        "_frombuffer": np.empty(0).__reduce_ex__(5)[0],
        "scalar": np.float32(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # of bytes, in protocols 0 to 2
            return _latin1
        if module.split(".")[0] == "numpy" and name in self.KNOWN:
            return self.KNOWN[name]
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}, which is not allowed")


def read_npy_dict(path: Path) -> dict[Any, Any]:
    """A dictionary that was saved by `numpy.save`, read without running any code of the file.

    Raises:
        InputError: the file is damaged, or holds anything but a dictionary of arrays.
    """
    try:
        with path.open("rb") as file:
            _skip_npy_header(file)
            _check_pickle(path, file.tell(), os.fstat(file.fileno()).st_mtime_ns)
            # latin1: as numpy does for files of Python 2
            content = _ArraysOnly(file, encoding="latin1").load().item()
        if not isinstance(content, dict):
            raise ValueError("it holds no dictionary")
        return content
    except Exception as error:  # damaged pickles raise almost anything
        raise InputError(
            f"{path} cannot be read as tags ({error}); expected a dictionary from image name to "
            "multi-hot vector, saved by numpy.save."
        ) from error


def _latin1(text: str, encoding: str) -> bytes:
    """What a pickle of Python 3 in an old protocol holds in place of bytes."""
    if encoding != "latin1":  # others could unpack gigabytes
        raise pickle.UnpicklingError(f"it wants to encode by {encoding}, which is not allowed")
    return text.encode("latin1")


@cache  # of tens of thousands of vectors it takes a second, and each stage reads them
def _check_pickle(path: Path, start: int, changed: int) -> None:
    """Places in a pickle's memory are given by number, and all below a number are made.

    Python 3.11 makes room for 32 GB where a file of a few bytes says so.
    """
    most = path.stat().st_size
    with path.open("rb") as file:
        file.seek(start)
        for code, argument, _ in pickletools.genops(file):
            if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > most:
                raise ValueError(f"it asks for {argument} places in {most} bytes")


def _skip_npy_header(file: BinaryIO) -> None:
    major, _ = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    )
    _, _, dtype = read(file)
    if not dtype.hasobject:
        raise ValueError("it holds plain numbers without names")
