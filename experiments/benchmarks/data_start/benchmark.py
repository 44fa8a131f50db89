"""Time the start of a run on many images: the data check, and every split that a step opens.

Writes images with masks and XML annotations, then starts twice: the first start reads every file,
the second reuses the stored digests of unchanged files. For comparison it times
`torchvision.datasets.VOCSegmentation`, which lists the files of a split and reads none.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torchvision
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from wsss_lightning.cli import options  # noqa: F401  (registers the schema of configurations)
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.steps.check_data import check_data

CLASSES = ("cat", "cow", "dog")
XML = (
    "<annotation><size><width>{w}</width><height>{h}</height></size><object><name>{name}</name>"
    "<difficult>0</difficult><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>40</xmax><ymax>40</ymax>"
    "</bndbox></object></annotation>"
)


def write_data(root: Path, count: int, size: tuple[int, int]) -> None:
    """Write a data set; a tenth of the images is the validation split."""
    for folder in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    width, height = size
    coarse = rng.integers(0, 256, (16, 6, 8, 3)).astype(np.uint8)
    photos = [Image.fromarray(c).resize(size, Image.Resampling.BICUBIC) for c in coarse]
    names: dict[str, list[str]] = {"train": [], "val": []}
    for i in range(count):
        split = "val" if i % 10 == 0 else "train"
        name, label = f"{split}_{i:06}", i % len(CLASSES)
        names[split].append(name)
        photos[i % len(photos)].save(root / f"JPEGImages/{name}.jpg", comment=str(i).encode())
        mask = np.zeros((height, width), np.uint8)
        mask[8:40, 8:40] = label + 1
        Image.fromarray(mask).save(root / f"SegmentationClass/{name}.png")
        text = XML.format(w=width, h=height, name=CLASSES[label])
        (root / f"Annotations/{name}.xml").write_text(text)
    for split, listed in names.items():
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(listed) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("W", "H"))
    parser.add_argument("--opens", type=int, default=29, help="splits that the steps of a run open")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WSSS_CACHE"] = f"{folder}/cache"
        root = Path(folder) / "data"
        write_data(root, args.images, tuple(args.size))
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            overrides = ["experiment=cam", "data=voc_layout", f"data.root={root}", "data.name=many"]
            overrides += [
                f"data.num_classes={len(CLASSES)}",
                f"data.dataset.classes=[{','.join(CLASSES)}]",
            ]
            data = compose("config", overrides=overrides).data
        seconds = {}
        for name in ("first start", "second start"):
            start = time.perf_counter()
            check_data(data)
            seconds[name] = time.perf_counter() - start
        open_split = reader(data)
        start = time.perf_counter()
        for i in range(args.opens):
            open_split(split=(data.train, data.val)[i % 2], with_masks=False)
        seconds[f"{args.opens} splits opened by steps"] = time.perf_counter() - start
        (Path(folder) / "VOCdevkit").mkdir()
        (Path(folder) / "VOCdevkit/VOC2012").symlink_to(root)
        start = time.perf_counter()
        for split in (data.train, data.val):
            torchvision.datasets.VOCSegmentation(folder, image_set=split)
        seconds["torchvision's VOCSegmentation"] = time.perf_counter() - start
    print(f"{args.images} images of {args.size[0]}x{args.size[1]} with XML tags and masks")
    for name, value in seconds.items():
        print(f"{name:<32}{value:8.2f} s")
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    versions |= {"torchvision": torchvision.__version__, "cores": os.cpu_count()}
    print(f"{platform.processor() or platform.machine()}, {json.dumps(versions)}")


def reader(data):
    """The function with which steps open splits."""
    try:
        from wsss_lightning.steps.datasets import datasets_of
    except ImportError:
        return instantiate(data.dataset)
    return datasets_of(data)


if __name__ == "__main__":
    main()
