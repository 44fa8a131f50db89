"""A generated dataset in Pascal VOC layout: small, free to share, and hard where VOC is hard.

Six classes: three toy animals with one common body, three toy vehicles with another. Body shape,
colour and pattern follow one distribution for all of them, so that only a small discriminative part
tells the class: a head, or what stands on the deck. Each argument of `generate` sets one
difficulty of weak supervision:

- `part_size`: size of the discriminative part. A plain CAM covers this part and misses the body.
- `subcategories`: sub-categories of each class (colours and pattern of the part, pose).
- `scale_range`: variation of object size.
- `context`: how often boats are on water, cars on a road and sheep in a meadow. Other classes
  seldom are, so the background is evidence for the tag although it lies outside the object.
- `texture`: contrast of the background, hence how informative colour edges are for a CRF.
- `objects`: number of objects in an image, of one class or of two.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from filelock import FileLock

from wsss_lightning.data.synthetic.composition import WorldSettings, draw_image
from wsss_lightning.data.synthetic.shapes import CLASSES, MAX_SUBCATEGORIES
from wsss_lightning.data.synthetic.voc_files import FOLDERS, write_image
from wsss_lightning.errors import InputError
from wsss_lightning.utils.files import write_table

MAX_IMAGES: Final = 499_999
"""Images of one split. The numbers of val start here, so that no split affects the other."""


def generate(
    cache: str | Path,
    num_train: int,
    num_val: int,
    size: int,
    seed: int,
    part_size: float,
    subcategories: int,
    scale_range: Sequence[float],
    context: float,
    texture: float,
    objects: int,
) -> Path:
    """Write the dataset below `cache`, unless it exists, and return its root.

    The name of the root is a digest of all arguments and of the code of this package, so a stale
    dataset is never used. The root holds the folders and lists of VOC, `cls_labels.npy`,
    `classes.txt` with background first, `subcategories.csv` (of each instance) and `scenes.csv`
    (of each image).

    Args:
        cache: folder of generated datasets; `~` is expanded.
        num_train: images of the train split, 1 to `MAX_IMAGES`.
        num_val: images of the val split, 1 to `MAX_IMAGES`.
        size: longer side of every image, pixels, 32 to 1024; the shorter side is as long, or 7/8
            of it.
        seed: of all random numbers, 0 or more.
        part_size: longer side of the discriminative part, in body heights, in (0, 1].
        subcategories: of each class, 1 to `MAX_SUBCATEGORIES`.
        scale_range: longer side of an object over the shorter side of its image: lower and upper
            end, within [0.1, 1].
        context: probability that a boat, car or sheep is in its typical scene.
        texture: contrast of the background, in [0, 1]; 0 is flat colour.
        objects: maximum number of objects in an image, 1 to 8; half of the images have one.

    Raises:
        InputError: an argument is out of range.
    """
    if len(scale_range) != 2:
        raise InputError(
            f"scale_range is {list(scale_range)}, but must be two numbers, the lower "
            "and the upper end, for example [0.25, 0.8]."
        )
    low, high = (float(end) for end in scale_range)
    settings = WorldSettings(
        size, seed, part_size, subcategories, (low, high), context, texture, objects
    )
    _check(num_train, num_val, settings)
    text = json.dumps([num_train, num_val, asdict(settings)]).encode() + source_code()
    folder = Path(cache).expanduser().absolute()
    root = folder / f"tiny_world-{hashlib.sha256(text).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not root.is_dir():
            partial = root.with_name(f"{root.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            write_world(partial, num_train, num_val, settings)
            partial.rename(root)
    return root


def source_code() -> bytes:
    """Source text of all modules of this package."""
    paths = sorted(Path(__file__).parent.glob("*.py"))
    return b"".join(path.name.encode() + path.read_bytes() for path in paths)


def write_world(root: Path, num_train: int, num_val: int, settings: WorldSettings) -> None:
    """Write images, annotations, lists and tables below `root`, which must not exist."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    tags: dict[str, np.ndarray] = {}
    instances: list[Sequence[object]] = [("name", "instance", "class", "subcategory")]
    scenes: list[Sequence[object]] = [("name", "scene")]
    splits: dict[str, list[str]] = {"train": [], "val": []}
    for split, start, count in (("train", 0, num_train), ("val", MAX_IMAGES, num_val)):
        for index in range(start, start + count):
            name, image = f"tiny_{index + 1:06d}", draw_image(index, settings)
            write_image(root, name, image)
            present = {instance.name for instance in image.instances}
            tags[name] = np.array([c in present for c in CLASSES], dtype=np.float32)
            instances += [
                (name, i, instance.name, instance.subcategory)
                for i, instance in enumerate(image.instances, start=1)
            ]
            scenes.append((name, image.scene))
            splits[split].append(name)
    splits["trainval"] = splits["train"] + splits["val"]
    for split, names in splits.items():
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    np.save(root / "cls_labels.npy", np.array(tags, dtype=object), allow_pickle=True)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in ("background", *CLASSES)))
    write_table(root / "subcategories.csv", instances)
    write_table(root / "scenes.csv", scenes)


def _check(num_train: int, num_val: int, settings: WorldSettings) -> None:
    low, high = settings.scale_range
    count = f"a number in 1..{MAX_IMAGES}"
    of_class = f"a number in 1..{MAX_SUBCATEGORIES}"
    size, part, number = settings.size, settings.part_size, settings.subcategories
    for name, value, valid, expected in (
        ("num_train", num_train, 1 <= num_train <= MAX_IMAGES, count),
        ("num_val", num_val, 1 <= num_val <= MAX_IMAGES, count),
        ("size", size, 32 <= size <= 1024, "pixels in 32..1024 (128 is usual)"),
        ("seed", settings.seed, settings.seed >= 0, "0 or more"),
        ("part_size", part, 0 < part <= 1, "in (0, 1] (0.6 is usual)"),
        ("subcategories", number, 1 <= number <= MAX_SUBCATEGORIES, of_class),
        ("scale_range", [low, high], 0.1 <= low <= high <= 1, "low <= high within [0.1, 1]"),
        ("context", settings.context, 0 <= settings.context <= 1, "a probability in [0, 1]"),
        ("texture", settings.texture, 0 <= settings.texture <= 1, "in [0, 1]; 0 is flat colour"),
        ("objects", settings.objects, 1 <= settings.objects <= 8, "a number in 1..8"),
    ):
        if not valid:
            raise InputError(f"{name} is {value}, but must be {expected}.")
