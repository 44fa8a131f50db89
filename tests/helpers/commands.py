"""The command line in a process of its own, and a small data set to point it at."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from wsss_lightning.cli import run as cli
from wsss_lightning.config.folder import conf_folder

# a command that is small enough for a test; what a test says comes behind and wins
TINY = (
    "data.generate.num_train=12",
    "data.generate.num_val=6",
    "data.generate.size=64",
    "data.crop_size=64",
    "data.long_side=[48,80]",
    "backbone=resnet18",
    "backbone.name=test_resnet",
    "fit.method.max_epochs=1",
    "fit.segmenter.max_epochs=1",
    "cam.scales=[1.0]",
    "cam.long_side=64",
    "num_previews=2",
    "workers=0",
    "trainer=cpu",
)
# of a data set that is not generated
SMALL = tuple(word for word in TINY if not word.startswith("data.generate"))

VOC_IDS = {"bird": 3, "cat": 8, "dog": 12}
COLOURS = {"bird": (200, 40, 40), "cat": (40, 200, 40), "dog": (40, 40, 200)}
SPLITS = {"train": 6, "val": 4}


# how the terminal shows that a stage was done, that its results were there, and that a run had
# nothing left to do; tests know these words from here alone
DONE, CACHED, SKIPPED = "done", "cached", "nothing to do"


def stages_in(out: str, state: str) -> list[str]:
    """Names of the stages that the terminal shows in this state."""
    return re.findall(rf"^(\S+) +{state}\b", out, re.MULTILINE)


@dataclass
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str
    cwd: Path

    @property
    def folder(self) -> Path:
        """Of the run, as the last line names it."""
        assert self.code == 0, self.err
        (said,) = re.findall(r"^results +(\S+)/results.json$", self.out, re.MULTILINE)
        return self.cwd / said

    def stages(self, state: str) -> list[str]:
        return stages_in(self.out, state)

    @property
    def results(self) -> dict:
        return json.loads((self.folder / "results.json").read_text())

    @property
    def scores(self) -> dict[str, float]:
        return self.results["scores"]


def start(
    *words: str, folder: Path, program: tuple[str, str] = ("-m", "wsss_lightning")
) -> subprocess.Popen:
    """`python -m wsss_lightning` with these words, from another folder."""
    folder.mkdir(exist_ok=True)
    root = Path(cli.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, *program, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def there(*words: str, folder: Path, **program: tuple[str, str]) -> Outcome:
    """`start`, and wait for the end."""
    process = start(*words, folder=folder, **program)
    out, err = process.communicate(timeout=600)
    return Outcome(process.returncode, out, err, folder)


def annotation(names: list[str]) -> str:
    objects = "".join(
        f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>9</xmin><ymin>9</ymin>"
        "<xmax>40</xmax><ymax>40</ymax></bndbox></object>"
        for name in names
    )
    return f"<annotation>{objects}</annotation>"


def write_voc(root: Path) -> Path:
    """A data set as VOC 2012 has it: ids of VOC in masks, tags in XML, and as CSV and .npy too."""
    for folder in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows, vectors = [["image", *VOC_IDS]], {}
    for split, count in SPLITS.items():
        names = [f"{split}_{i}" for i in range(count)]
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names) + "\n")
        for i, name in enumerate(names):
            tags = list(VOC_IDS)[i % 3 : i % 3 + 1 + i % 2]  # of one class, or of two
            picture = rng.integers(90, 160, (56 + 8 * (i % 2), 64, 3)).astype(np.uint8)
            mask = np.zeros(picture.shape[:2], np.uint8)
            for k, tag in enumerate(tags):
                place = np.s_[10:40, 6 + 28 * k : 30 + 28 * k]
                picture[place], mask[place] = COLOURS[tag], VOC_IDS[tag]
                mask[9, place[1]] = 255
            Image.fromarray(picture).save(root / f"JPEGImages/{name}.jpg", quality=95)
            Image.fromarray(mask).save(root / f"SegmentationClass/{name}.png")
            (root / f"Annotations/{name}.xml").write_text(annotation(tags))
            vectors[name] = np.array([tag in tags for tag in VOC_IDS], np.float32)
            rows.append([name, *vectors[name].astype(int)])
    np.save(root / "cls_labels.npy", vectors)
    with (root / "tags.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


def write_coco(root: Path) -> Path:
    """COCO 2014 as it is downloaded, of few and small images; its classes are those of the real."""
    conf = OmegaConf.load(conf_folder() / "data/coco2014.yaml")
    categories = [{"id": 2 * i, "name": name} for i, name in enumerate(conf.dataset.classes)]
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    for split, count in SPLITS.items():
        folder = root / f"{split}2014"
        folder.mkdir()
        images, things = [], []
        for i in range(count):
            name = f"COCO_{split}2014_{i:012}.jpg"
            picture = rng.integers(90, 160, (64, 72, 3)).astype(np.uint8)
            x, which = 6 + 4 * i, i % len(COLOURS)
            picture[10:40, x : x + 30] = list(COLOURS.values())[which]
            Image.fromarray(picture).save(folder / name, quality=95)
            images.append({"id": i, "file_name": name, "height": 64, "width": 72})
            outline = [[x, 10, x + 30, 10, x + 30, 40, x, 40]]
            things.append(
                {
                    "id": i,
                    "image_id": i,
                    "category_id": categories[which]["id"],
                    "segmentation": outline,
                    "bbox": [x, 10, 30, 30],
                    "iscrowd": 0,
                }
            )
        told = {"images": images, "categories": categories, "annotations": things}
        (root / f"annotations/instances_{split}2014.json").write_text(json.dumps(told))
    return root


MINE = """
defaults: [voc_layout]
name: mine
num_classes: 3
dataset:
  classes: [bird, cat, dog]
  mask_ids: {0: background, 3: bird, 8: cat, 12: dog}
  tags: tags.csv
"""


def kill_when(process, appears: Path, pattern: str) -> None:
    """SIGKILL as soon as a path that matches is there."""
    patience = time.monotonic() + 300
    while not list(appears.glob(pattern)):
        assert time.monotonic() < patience, "the moment to kill never came"
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
