"""Images in any form - files, folders, patterns, PIL images, arrays, tensors - as checked tensors.

Files are read exactly as in training: EXIF orientation applied, transparency dropped, grey and CMYK
converted to RGB, 16 bits converted linearly to 8.

Letters: b images, n channels, H W an image.
"""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from wsss_lightning.data.images import DEEPEST, SUFFIXES, header_of, read_header, read_rgb, rgb_of
from wsss_lightning.errors import InputError
from wsss_lightning.utils.text import shorten

EXPECTED = (
    "a path of a file or folder, a pattern such as photos/*.jpg, a PIL image, an array (H W), "
    "(H W 3) or (b H W 3), a tensor (3 H W) or (b 3 H W), or a list of these"
)
WILDCARDS = "*?["
CHANNELS = (1, 3, 4)  # grey, RGB, and RGB with transparency


@dataclass(frozen=True)
class Photo:
    """An image that is not read yet.

    Args:
        name: path below the given folder without suffix, or `image_<position>`.
        source: path, PIL image, array or tensor of one image.
    """

    name: str
    source: Any

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) as read; of a file, from its header.

        Raises:
            InputError: the file cannot be read.
        """
        if isinstance(self.source, Path):
            return read_header(self.source).upright
        if isinstance(self.source, Image.Image):
            return header_of(self.source).upright
        height, width = self.read().shape[-2:]
        return height, width

    def read(self) -> Float32[Tensor, "3 H W"]:
        """RGB in [0, 1].

        Raises:
            InputError: the file cannot be read, or the image has another shape, type or range.
        """
        return _read(self.source, self.name)


def to_tensor(image: Any) -> Float32[Tensor, "3 H W"]:
    """One image as RGB in [0, 1].

    Raises:
        InputError: it is not one image, or as in `Photo.read`.
    """
    photos = list(find_photos(image))
    if len(photos) != 1:
        raise InputError(f"{len(photos)} images are given, but one image is expected")
    return photos[0].read()


def find_photos(images: Any) -> Iterator[Photo]:
    """The images of any input, in order; generators are read on demand.

    Args:
        images: a path, pattern, PIL image, array or tensor, or an iterable of these.

    Raises:
        InputError: a path does not exist or holds no image, or an element is none of these.
    """
    return _find(images, count())


def find_files(path: str | Path) -> list[tuple[str, Path]]:
    """Name and path of each image file of a file, folder or pattern, sorted.

    The name is the path without suffix: below the folder, with sub-folders; below the part of a
    pattern before its first wildcard; or the file's own name.

    Raises:
        InputError: nothing is there.
    """
    place = Path(path).expanduser()
    if place.is_file():
        return [(place.stem, place)]
    if place.is_dir():
        found, base = sorted(p for p in place.rglob("*") if _is_image(p)), place
        if not found:
            raise InputError(
                f"{place} holds no image file ({', '.join(SUFFIXES)}); give a folder of photos."
            )
    elif any(mark in str(path) for mark in WILDCARDS):
        parts = place.parts
        fixed = next(i for i, part in enumerate(parts) if any(m in part for m in WILDCARDS))
        base, pattern = Path(*parts[:fixed]), parts[fixed:]
        pattern = (*pattern, "*") if pattern[-1] == "**" else pattern
        matches = sorted(base.glob(str(Path(*pattern))))
        found = [one for one in matches if _is_image(one)]
        if not found:
            raise InputError(
                f"no image file matches {path} ({len(matches)} others do); give a pattern such as "
                "'photos/*.jpg', or '**' for all sub-folders."
            )
    else:
        raise InputError(f"{place} does not exist; give an image file, a folder or a pattern.")
    return [(one.relative_to(base).with_suffix("").as_posix(), one) for one in found]


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def _find(images: Any, position: "count[int]") -> Iterator[Photo]:
    if isinstance(images, (str, Path)):
        for name, path in find_files(images):
            next(position)
            yield Photo(name, path)
    elif isinstance(images, Photo):
        next(position)
        yield images
    elif isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4:
        for image in images:
            yield Photo(f"image_{next(position)}", image)
    elif isinstance(images, (Image.Image, np.ndarray, Tensor)):
        yield Photo(f"image_{next(position)}", images)
    elif isinstance(images, Iterable) and not isinstance(images, (bytes, dict)):
        for one in images:
            yield from _find(one, position)
    else:
        raise InputError(f"an image is given as {type(images).__name__}, but must be {EXPECTED}")


def _read(source: Any, name: str) -> Tensor:
    if isinstance(source, Path):
        return _of_pil(read_rgb(source))
    if isinstance(source, Image.Image):
        return _of_pil(rgb_of(source, name))
    if isinstance(source, np.ndarray):
        return _of_array(source, name)
    return _of_tensor(source, name)


def _of_pil(image: Image.Image) -> Tensor:
    return F.to_dtype(F.pil_to_tensor(image), torch.float32, scale=True)


def _of_array(array: np.ndarray, name: str) -> Tensor:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in CHANNELS or 0 in array.shape:
        hint = (
            "; channels come last in arrays: array.transpose(1, 2, 0)"
            if array.ndim == 3 and array.shape[0] in CHANNELS
            else ""
        )
        raise InputError(
            f"{name} is an array of shape {array.shape}, but must be (H W) or (H W 3){hint}"
        )
    if array.dtype == np.uint16:  # as files of 16 bits
        array = ((array.astype(np.uint32) * 255 + DEEPEST // 2) // DEEPEST).astype(np.uint8)
    if array.dtype.kind not in "fu" or (array.dtype.kind == "u" and array.dtype != np.uint8):
        raise InputError(_wrong_type(name, str(array.dtype)))
    # torch supports neither negative strides nor read-only memory nor other byte orders
    kind = array.dtype.newbyteorder("=")
    return _of_tensor(torch.from_numpy(array.transpose(2, 0, 1).astype(kind, order="C")), name)


def _of_tensor(image: Tensor, name: str) -> Tensor:
    if image.dim() != 3 or image.shape[0] not in CHANNELS or 0 in image.shape:
        hint = (
            "; channels come first in tensors: image.permute(2, 0, 1)"
            if image.dim() == 3 and image.shape[-1] in CHANNELS
            else ""
        )
        raise InputError(
            f"{name} is a tensor of shape {tuple(image.shape)}, but must be (3 H W) or (b 3 H W)"
            f"{hint}"
        )
    if image.dtype == torch.uint8:
        if image.max() == 1:
            warnings.warn(
                f"the levels of {name} are 0 and 1 of 255, so it is almost black; if these are "
                "floats in [0, 1] converted to uint8, give the floats",
                stacklevel=2,
            )
        image = F.to_dtype(image, torch.float32, scale=True)
    elif not image.is_floating_point():
        raise InputError(_wrong_type(name, str(image.dtype).removeprefix("torch.")))
    low, high = image.min().item(), image.max().item()
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"{name} has values in [{low:.4g}, {high:.4g}], but floats must lie in [0, 1]; divide "
            "levels 0..255 by 255 or give them as uint8, and leave out a normalisation, since the "
            "network subtracts its own mean"
        )
    image = image.detach().float()
    return image.expand(3, -1, -1) if len(image) == 1 else image[:3]


def _wrong_type(name: str, kind: str) -> str:
    return (
        f"{name} is of type {kind}, but must be uint8 (0..255), uint16 (0..65535) or float "
        "([0, 1]); convert it"
    )


def check_names(files: Iterable[tuple[str, Path]]) -> None:
    """Check that no two images have the same name, since their results would share a file.

    Raises:
        InputError: two images do.
    """
    by_name: dict[str, Path] = {}
    clashes = []
    for name, path in files:
        if by_name.setdefault(name, path) != path:
            clashes.append(f"{by_name[name]} and {path}")
    if clashes:
        raise InputError(
            f"{len(clashes)} pairs of images share a name, and so their results would share a file "
            f"({shorten(clashes)}); rename one, or, if they are in different folders, give the "
            "folder above, whose sub-folders are kept."
        )
