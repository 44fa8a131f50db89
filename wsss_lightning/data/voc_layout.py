"""One reader for every data set: Pascal VOC's folders, with a class list of its own.

Letters: c classes, n boxes, H W an image.
"""

import csv
import hashlib
import pickle
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as images

from wsss_lightning.data.batch import Sample
from wsss_lightning.data.scores import load_mask
from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.functional.masks import IGNORE

SUFFIXES = (".jpg", ".jpeg", ".png")
BACKGROUND = "background"


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
            (labels in true masks, which costs masks), or a file below root: a .csv with one 0/1
            column a class, or a .npy with a dictionary of vectors (`cls_labels.npy`).
        mask_ids: class, or `background`, of each id in the masks; ids it lacks are ignored, and so
            are classes of annotations and CSV columns that `classes` lacks. None: masks hold our
            labels already, and all names must be known.
        image_dir: folder of images, below root.
        mask_dir: folder of true masks, below root.
        annotation_dir: folder of XML annotations, below root.
        untagged: an image without any tag is an `error`, or `background` and kept.
        masks: folder of pseudo masks to read in place of the true ones.
        with_masks: samples carry masks.
        with_boxes: samples carry boxes.

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
        masks: str | Path | None = None,
        with_masks: bool = True,
        with_boxes: bool = False,
    ) -> None:
        self.root = Path(root).expanduser()
        self.split, self.classes = split, list(classes)
        self.num_classes = len(self.classes)
        self.image_dir, self.mask_dir = self.root / image_dir, self.root / mask_dir
        self.annotation_dir = self.root / annotation_dir
        self.pseudo = None if masks is None else Path(masks)
        self.with_masks, self.with_boxes = with_masks, with_boxes
        if not self.root.is_dir():
            raise InputError(
                f"data.root is {self.root}, but there is no such folder; give the folder that holds "
                f"{image_dir} by data.root=DIR."
            )
        if untagged not in ("error", "background"):
            raise InputError(
                f"data.reader.untagged is {untagged}; set it to error, or to background to keep "
                "such images as pure background."
            )
        self.subset = mask_ids is not None
        self.table = self._table(mask_ids)
        self.names = read_list(self.root, split, lists)
        self._images = self._find_images()
        self.tags = self._read_tags(tags)
        without = [n for n, t in zip(self.names, self.tags, strict=True) if not t.any()]
        if without and untagged == "error":
            raise InputError(
                f"{len(without)} images of {split} have no tag (such as {', '.join(without[:5])}; "
                f"tags from {tags}); tag them, take them off the list, or set "
                "data.reader.untagged=background to keep them as pure background."
            )

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
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(
                f"{path} cannot be read as an image ({error}); replace it, or take it off the list."
            ) from error

    def image_size(self, i: int) -> tuple[int, int]:
        """(H, W), from the file's header."""
        path = self._images[i]
        try:
            with Image.open(path) as image:
                return image.height, image.width
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(
                f"{path} cannot be read as an image ({error}); replace it, or take it off the list."
            ) from error

    def mask(self, i: int) -> UInt8[np.ndarray, "H W"]:
        """Labels 0..c and 255: the pseudo mask where a folder of them was given, else the true one."""
        if self.pseudo is not None:
            return load_mask(self.pseudo / f"{self.names[i]}.png")
        path = self.mask_path(i)
        if not path.is_file():
            raise InputError(
                f"{path} is missing, but other masks of {self.split} exist; add it, or take "
                f"{self.names[i]} off the list."
            )
        raw = load_mask(path)
        size = self.image_size(i)
        if raw.shape != size:
            raise InputError(
                f"{path} is of {raw.shape[1]}x{raw.shape[0]} pixels, but its image of "
                f"{size[1]}x{size[0]}; make the mask from the image of that size."
            )
        mask = self.table[np.minimum(raw, len(self.table) - 1)]
        wrong = mask < 0
        if wrong.any():
            ids = sorted(np.unique(raw[wrong]).tolist())
            raise InputError(
                f"{path} holds id {', '.join(map(str, ids[:5]))}, but labels are 0 (background) to "
                f"{self.num_classes} and 255 (ignored); say what ids mean by data.reader.mask_ids, "
                "as in {0: background, 8: cat}."
            )
        return mask.astype(np.uint8)

    def mask_path(self, i: int) -> Path:
        """Where the true mask of an image lies, if there is one."""
        return self.mask_dir / f"{self.names[i]}.png"

    def has_masks(self) -> bool:
        """Whether any image of this split has a true mask; tags are enough to train on."""
        return any(self.mask_path(i).is_file() for i in range(len(self)))

    def boxes(self, i: int) -> Float[np.ndarray, "n 5"]:
        """Class 1..c, x0, y0, x1, y1 in pixels from 0, ends exclusive, cut to the image.

        Source: the XML counts from 1 and includes the ends; some files hold decimals.
        """
        height, width = self.image_size(i)
        found = []
        for node in self._objects(i):
            name, box = self._known(node.findtext("name", ""), self._annotation(i)), node.find("bndbox")
            if name is None or box is None:
                continue
            try:
                x0, y0, x1, y1 = (
                    round(float(box.findtext(k, ""))) for k in ("xmin", "ymin", "xmax", "ymax")
                )
            except ValueError as error:
                raise InputError(
                    f"{self._annotation(i)} holds a box whose corners are no numbers; mend xmin, "
                    "ymin, xmax and ymax."
                ) from error
            found.append(
                (name + 1, max(x0 - 1, 0), max(y0 - 1, 0), min(x1, width), min(y1, height))
            )
        return np.array(found, np.float32).reshape(-1, 5)

    def check(self) -> None:
        """Look at every header before work starts.

        Raises:
            InputError: an image does not open, or a mask is absent or of another size.
        """
        masks = self.with_masks and self.pseudo is None and self.has_masks()
        for i in range(len(self)):
            size = self.image_size(i)
            if not masks:
                continue
            path = self.mask_path(i)
            if not path.is_file():
                self.mask(i)
            with Image.open(path) as mask:
                if (mask.height, mask.width) != size:
                    self.mask(i)

    def fingerprint(self) -> str:
        """Digest of names, tags, labels and the images' sizes in bytes: notices changed data."""
        digest = hashlib.sha256(repr((self.names, self.classes, self.table.tolist())).encode())
        digest.update(self.tags.numpy().tobytes())
        digest.update(repr([path.stat().st_size for path in self._images]).encode())
        return digest.hexdigest()[:12]

    def _table(self, mask_ids: Mapping[int, str] | None) -> np.ndarray:
        """Label of each id in a mask; -1 for ids that must not occur."""
        if mask_ids is None:
            table = np.full(257, -1, np.int16)
            table[: self.num_classes + 1] = np.arange(self.num_classes + 1)
            table[IGNORE] = IGNORE
            return table
        table = np.full(65536, IGNORE, np.int16)
        labels = {name: label for label, name in enumerate([BACKGROUND, *self.classes])}
        for raw, name in mask_ids.items():
            if name not in labels:
                raise InputError(
                    f"data.reader.mask_ids gives id {raw} to {name}, which is no class; "
                    f"{did_you_mean(name, labels)}"
                )
            table[int(raw)] = labels[name]
        return table

    def _find_images(self) -> list[Path]:
        if not self.image_dir.is_dir():
            raise InputError(
                f"{self.image_dir} is missing; data.root must hold the images there, or "
                "data.reader.image_dir must say where they are."
            )
        by_name = {
            path.stem: path for path in self.image_dir.iterdir() if path.suffix.lower() in SUFFIXES
        }
        absent = [name for name in self.names if name not in by_name]
        if absent:
            raise InputError(
                f"{len(absent)} images on the list of {self.split} are not in {self.image_dir} (such "
                f"as {', '.join(absent[:5])}); add them ({', '.join(SUFFIXES)}), or take them off "
                "the list."
            )
        return [by_name[name] for name in self.names]

    def _known(self, name: str, where: Path) -> int | None:
        """Index of a class; None for one that a view of some classes leaves out."""
        if name in self.classes:
            return self.classes.index(name)
        if self.subset:
            return None
        raise InputError(
            f"{where} names the class {name!r}, which data.reader.classes lacks; "
            f"{did_you_mean(name, self.classes)} A view of some classes needs data.reader.mask_ids."
        )

    def _annotation(self, i: int) -> Path:
        return self.annotation_dir / f"{self.names[i]}.xml"

    def _objects(self, i: int) -> list[ET.Element]:
        path = self._annotation(i)
        try:
            # an <object> has <part>s with names of their own; only direct children are meant
            return ET.parse(path).getroot().findall("object")
        except FileNotFoundError as error:
            raise InputError(
                f"{path} is missing; add it, or take tags from elsewhere (data.reader.tags)."
            ) from error
        except ET.ParseError as error:
            raise InputError(f"{path} does not parse as XML ({error}); mend the file.") from error

    def _read_tags(self, source: str) -> Float[Tensor, "n c"]:
        tags = torch.zeros(len(self.names), self.num_classes)
        if source == "xml":
            for i in range(len(self.names)):
                for node in self._objects(i):
                    known = self._known(node.findtext("name", ""), self._annotation(i))
                    if known is not None:
                        tags[i, known] = 1
            return tags
        if source == "masks":
            for i in range(len(self.names)):
                labels = np.unique(self.mask(i))
                tags[i, labels[(labels > 0) & (labels < IGNORE)].astype(int) - 1] = 1
            return tags
        path = self.root / source
        readers = {".csv": self._read_csv, ".npy": self._read_npy}
        if path.suffix not in readers:
            raise InputError(
                f"data.reader.tags is {source}; set it to xml, masks, or a .csv or .npy file below "
                "data.root."
            )
        if not path.is_file():
            raise InputError(f"{path} is missing; give the file of tags by data.reader.tags=FILE.")
        by_name = readers[path.suffix](path)
        absent = [name for name in self.names if name not in by_name]
        if absent:
            raise InputError(
                f"{path} has no tags for {len(absent)} images of {self.split} (such as "
                f"{', '.join(absent[:5])}); add them, or take these images off the list."
            )
        return torch.stack([torch.as_tensor(by_name[name]) for name in self.names]).float()

    def _read_csv(self, path: Path) -> dict[str, list[float]]:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            columns = header[1:]
            for name in self.classes:
                if name not in columns:
                    raise InputError(
                        f"{path} has no column for the class {name}; {did_you_mean(name, columns)}"
                    )
            for name in columns:
                self._known(name, path)
            places = [header.index(name) for name in self.classes]
            found = {}
            for line, row in enumerate(reader, start=2):
                if not row:
                    continue
                try:
                    values = [float(row[place]) for place in places]
                except (ValueError, IndexError) as error:
                    raise InputError(
                        f"{path}, line {line}: expected {len(header)} values of 0 or 1 behind the "
                        f"name, got {','.join(row)[:80]}; mend the line."
                    ) from error
                if any(value not in (0.0, 1.0) for value in values):
                    raise InputError(f"{path}, line {line}: tags are 0 or 1; mend the line.")
                found[row[0]] = values
            return found

    def _read_npy(self, path: Path) -> dict[str, np.ndarray]:
        loaded = read_npy_dict(path)
        found = {}
        for key, vector in loaded.items():
            # IRN's file has 2007000032 where all others have 2007_000032
            name = key if isinstance(key, str) else f"{int(key) // 10**6}_{int(key) % 10**6:06d}"
            vector = np.asarray(vector, np.float32)
            if vector.shape != (self.num_classes,):
                raise InputError(
                    f"{path} has {vector.size} tags for {name}, but data.num_classes is "
                    f"{self.num_classes}; give the file that belongs to these classes."
                )
            found[name] = vector
        return found


def read_list(root: Path, split: str, lists: Mapping[str, str]) -> list[str]:
    """Names of a split's images, in the order of its list."""
    if split not in lists:
        raise InputError(
            f"the split {split} has no list in data.reader.lists; {did_you_mean(split, lists)}"
        )
    path = root / lists[split]
    if not path.is_file():
        there = [p.name for p in path.parent.glob("*.txt")] if path.parent.is_dir() else []
        raise InputError(
            f"{path} is missing, the list of {split}; {did_you_mean(path.name, there)} Set "
            f"data.reader.lists.{split} to a file below data.root."
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [Path(line.split()[0]).stem for line in lines if line.strip()]
    if not names:
        raise InputError(f"{path} names no image; write one name a line.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} names {twice} more than once; leave one line of it.")
    return names


class _ArraysOnly(pickle.Unpickler):
    """Builds dictionaries of arrays and refuses all else, so that a file cannot run code."""

    PERMITTED = frozenset({"_reconstruct", "scalar", "ndarray", "dtype", "_frombuffer"})

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in self.PERMITTED:
            # numpy 1 and 2 keep these in differently named modules
            module = module.replace("numpy.core", "numpy._core") if np.__version__ >= "2" else module
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}")


def read_npy_dict(path: Path) -> dict[Any, Any]:
    """A dictionary that was saved by `numpy.save`, read without running any code of the file."""
    try:
        with path.open("rb") as file:
            _skip_npy_header(file)
            array = _ArraysOnly(file).load()
        content = array.item()
        if not isinstance(content, dict):
            raise ValueError("it holds no dictionary")
        return content
    except (OSError, ValueError, EOFError, pickle.UnpicklingError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read as tags ({error}); expected a dictionary from image name to "
            "multi-hot vector, saved by numpy.save."
        ) from error


def _skip_npy_header(file: BinaryIO) -> None:
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    _, _, dtype = read(file)
    if not dtype.hasobject:
        raise ValueError("it holds plain numbers without names")
