"""An index of a folder of photos, in the layout that `VOCDataset` reads.

The index holds lists, tags and boxes, and links to the photos, which are never copied. It is named
by its content, and written once.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from filelock import FileLock

from wsss_lightning.data.file_facts import FileFacts
from wsss_lightning.data.folder.photos import Photo
from wsss_lightning.data.sources.boxes import RawBox
from wsss_lightning.utils.files import sync_folder, write_atomically, write_json, write_text

FORMAT: Final = 1  # version of the layout
IMAGES: Final = "JPEGImages"
MASKS: Final = "SegmentationClass"
LISTS: Final = "ImageSets/Segmentation"
TAGS: Final = "tags.npy"
BOXES: Final = "boxes.json"


class Index(NamedTuple):
    """Content of an index.

    Attributes:
        photos: photos of all splits.
        splits: split of each photo, by name.
        tags: classes of each photo, by name.
        classes: names of labels 1, 2, ...
        boxes: boxes in pixels, by name of the photo; None: there are none.
        sizes: (H, W) on which the boxes of a photo were drawn, where known.
        masks: mask of each photo that has one, by name.
    """

    photos: Sequence[Photo]
    splits: Mapping[str, str]
    tags: Mapping[str, Sequence[str]]
    classes: Sequence[str]
    boxes: Mapping[str, Sequence[RawBox]] | None
    sizes: Mapping[str, tuple[int, int]]
    masks: Mapping[str, Path]

    def lists(self) -> dict[str, list[str]]:
        """Names of the photos of each split."""
        names: dict[str, list[str]] = {}
        for photo in self.photos:
            names.setdefault(self.splits[photo.name], []).append(photo.name)
        return names

    def links(self) -> dict[str, str]:
        """Target of each link to a photo or mask, by its path below the index."""
        links = {f"{IMAGES}/{p.name}{p.path.suffix.lower()}": str(p.path) for p in self.photos}
        masks = {f"{MASKS}/{name}{p.suffix.lower()}": str(p) for name, p in self.masks.items()}
        return links | masks

    def vectors(self) -> dict[str, np.ndarray]:
        """Multi-hot tags (c) of each photo, by name."""
        return {
            photo.name: np.array([c in self.tags[photo.name] for c in self.classes], np.float32)
            for photo in self.photos
        }

    def coco(self) -> dict[str, Any] | None:
        """Boxes of all photos in COCO's format."""
        if self.boxes is None:
            return None
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, photo in enumerate(self.photos):
            height, width = self.sizes.get(photo.name, (None, None))
            images.append({"id": number, "file_name": photo.name, "height": height, "width": width})
            for box in self.boxes.get(photo.name, ()):
                x0, y0, x1, y1 = box.corners or (0, 0, 0, 0)
                annotations.append(
                    {
                        "id": len(annotations),
                        "image_id": number,
                        "category_id": self.classes.index(box.name),
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                    }
                )
        categories = [{"id": i, "name": name} for i, name in enumerate(self.classes)]
        return {"images": images, "categories": categories, "annotations": annotations}


def write_index(index: Index, name: str, root: Path, cache: Path) -> Path:
    """Write an index below `cache`, unless it exists, and return its folder.

    Args:
        index: what to write.
        name: first part of the folder's name.
        root: folder of the photos, whose digests are known.
        cache: folder of generated data.
    """
    plain = [
        FORMAT,
        index.links(),
        index.lists(),
        {name: vector.tolist() for name, vector in index.vectors().items()},
        list(index.classes),
        index.coco(),
    ]
    digest = hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:12]
    folder = cache / "folders" / f"{name}-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            _write(index, partial)
            targets = {folder / link: Path(target) for link, target in index.links().items()}
            FileFacts(folder).adopt(root, targets)
            partial.rename(folder)
            sync_folder(folder.parent)
    return folder


def _write(index: Index, folder: Path) -> None:
    for link, target in index.links().items():
        path = folder / link
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    for split, names in index.lists().items():
        write_text(folder / LISTS / f"{split}.txt", "".join(f"{name}\n" for name in names))
    tags = np.array(index.vectors(), dtype=object)
    write_atomically(folder / TAGS, lambda file: np.save(file, tags, allow_pickle=True))
    if (coco := index.coco()) is not None:
        write_json(folder / BOXES, coco)
