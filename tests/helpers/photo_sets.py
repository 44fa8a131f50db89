"""Small folders of photos with their labels, as users have them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wsss_lightning.data.folder.photos import Photos

# colour and place of the object of each class
LOOKS = {"cat": (40, 200, 40), "dog": (40, 40, 200), "horse": (200, 40, 40)}


def picture(seed: int, tags: Iterable[str] = (), size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A textured image of (width, height) that shows a patch for each tag."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 200, (6, 8, 3)).astype(np.uint8)
    image = np.array(Image.fromarray(coarse).resize(size, Image.Resampling.NEAREST))
    for k, tag in enumerate(tags):
        left = 4 + k * size[0] // 3
        image[8:28, left : left + 16] = LOOKS.get(tag, (128, 128, 128))
    return Image.fromarray(image)


def write_photos(root: Path, names: Sequence[str], tags: Mapping[str, Sequence[str]] = {}) -> Path:
    """Photos that differ, of these names, with objects of these tags."""
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i, tags.get(name, ())).save(path)
    return root


def opened(root: Path, names: Sequence[str]) -> Photos:
    """Photos of these names, found in their folder."""
    return Photos(write_photos(root, names))


def write_mixed(root: Path, count: int) -> dict[str, list[str]]:
    """Photos of mixed kinds and names; tags by file name."""
    kinds = ("cat", "dog", "horse")
    tags = {}
    for i in range(count):
        of = [kinds[i % 3], *([kinds[(i + 1) % 3]] if i % 4 == 0 else [])]
        image = picture(i, of)
        name, options, exif = _kind(i), {}, Image.Exif()
        if i % 8 == 1:
            image = image.convert("L")
        elif i % 8 == 2:
            image = image.convert("RGBA")
        elif i % 8 == 3:
            image = image.convert("CMYK")
        elif i % 8 == 4:
            exif[0x0112] = 6
            image, options = image.rotate(90, expand=True), {"exif": exif}
        elif i % 8 == 5:
            image = image.convert("P")
        root.mkdir(parents=True, exist_ok=True)
        image.save(root / name, **options)
        tags[name] = of
    return tags


def _kind(i: int) -> str:
    return (
        f"IMG {i:03}.JPG",
        f"Straße {i}.jpg",
        f"alpha {i}.PNG",
        f"print, {i}.jpg",
        f"turned_{i}.jpeg",
        f"pale #{i}.gif",
        f'say "{i}".webp',
        f"p{i}.bmp",
    )[i % 8]
