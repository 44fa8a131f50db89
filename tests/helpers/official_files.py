"""What the official codes start from: photos in VOC's layout, and checkpoints of their networks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image, ImageDraw

from wsss_lightning.nets.resnet38 import ResNet38

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
# name: height and width, and classes from 0; sides are neither multiples of 8 nor of 16
PHOTOS = {
    "2007_000027": ((90, 115), [14]),
    "2007_000032": ((101, 92), [7, 11]),
    "2007_000039": ((94, 123), [2, 14, 18]),
}


def write_voc(root: Path) -> Path:
    """Photos of smooth colours with ellipses, annotations, and a list of them; no masks."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, ((height, width), tags) in PHOTOS.items():
        colours = rng.integers(30, 226, (height // 10, width // 10, 3)).astype(np.uint8)
        photo = Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)
        for _ in range(len(tags) + 1):
            x, y = rng.integers(0, width // 2), rng.integers(0, height // 2)
            corner = x + rng.integers(width // 4, width // 2), y + rng.integers(20, height // 2)
            ImageDraw.Draw(photo).ellipse([x, y, *corner], tuple(rng.integers(0, 256, 3).tolist()))
        photo.save(root / f"JPEGImages/{name}.jpg", quality=92)
        boxes = "".join(
            f"<object><name>{CLASSES[tag]}</name><difficult>0</difficult><bndbox><xmin>4</xmin>"
            f"<ymin>4</ymin><xmax>{width - 4}</xmax><ymax>{height - 4}</ymax></bndbox></object>"
            for tag in tags
        )
        (root / f"Annotations/{name}.xml").write_text(f"<annotation>{boxes}</annotation>")
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(PHOTOS) + "\n")
    return root


def photo_of(root: Path, name: str) -> Image.Image:
    return Image.open(root / f"JPEGImages/{name}.jpg").convert("RGB")


def random_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Weights that keep the size of activations, and batch norms that are not neutral."""
    state = {}
    for i, (key, shape) in enumerate(sorted(shapes.items())):
        random = np.random.default_rng(i)
        if len(shape) == 4:
            value = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        elif key.endswith(("running_var", "weight")):
            value = 0.5 + random.random(shape)
        else:
            value = random.random(shape) - 0.5
        state[key] = torch.from_numpy(value.astype(np.float32))
    return state


def resnet38_state(**heads: tuple[int, int]) -> dict[str, torch.Tensor]:
    """A checkpoint of the ResNet38 family with 1x1 convolutions of these channels, out and in."""
    with torch.device("meta"):
        backbone = ResNet38().state_dict()  # the official names
    shapes = {key: tuple(value.shape) for key, value in backbone.items()}
    shapes |= {f"{name}.weight": (*channels, 1, 1) for name, channels in heads.items()}
    return random_state({k: s for k, s in shapes.items() if "num_batches_tracked" not in k})


def centre_head(weight: torch.Tensor, features: torch.Tensor) -> None:
    """Make the mean of each map (c d 1 1 on 1 d h w) zero, so that classes fill a part of an image.

    Random maps are positive everywhere or nowhere, unlike those of trained networks.
    """
    mean, rows = features.mean((0, 2, 3)), weight[..., 0, 0]
    rows -= torch.outer(rows @ mean, mean) / mean.square().sum()


def _resnet50_shapes() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        backbone = torchvision.models.resnet50().state_dict()
    return {
        f"resnet50.{key}": tuple(value.shape)
        for key, value in backbone.items()
        if "num_batches_tracked" not in key and not key.startswith("fc.")
    }


def irn_classifier_state() -> dict[str, torch.Tensor]:
    """IRN's classifier; the head has a second name, as in the official files."""
    state = random_state(_resnet50_shapes() | {"classifier.weight": (20, 2048, 1, 1)})
    return state | {"newly_added.0.weight": state["classifier.weight"]}


def irn_boundary_state() -> dict[str, torch.Tensor]:
    """IRN's boundary branch, with a tensor of its displacement field; its boundaries are sharp."""
    shapes = _resnet50_shapes() | {"fc_edge6.weight": (1, 160, 1, 1), "fc_edge6.bias": (1,)}
    for i, channels in enumerate((64, 256, 512, 1024, 2048), start=1):
        shapes[f"fc_edge{i}.0.weight"] = (32, channels, 1, 1)
        shapes |= {f"fc_edge{i}.1.weight": (32,), f"fc_edge{i}.1.bias": (32,)}
    state = random_state(shapes | {"fc_dp7.3.weight": (2, 256, 1, 1)})
    state["fc_edge6.weight"] *= 5
    return state
