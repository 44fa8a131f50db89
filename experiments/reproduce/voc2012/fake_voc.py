"""Write a small generated data set in the layout and with the lists of VOC 2012, to try the kit.

python experiments/reproduce/voc2012/fake_voc.py FOLDER
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

from wsss_lightning.cli import options  # noqa: F401  (registers the schema of configurations)
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.data.scores import load_mask, save_mask
from wsss_lightning.data.synthetic.generate import generate
from wsss_lightning.data.synthetic.shapes import CLASSES
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.files import write_text

LISTS = "ImageSets/Segmentation"
TRAIN, TRAIN_AUG, VAL = 6, 12, 6  # number of images; train is a subset of train_aug


def write(root: Path, size: int = 64) -> Path:
    """Write images, annotations, both folders of masks, and the lists of VOC and SBD.

    `SegmentationClass` holds the masks of train and val, `SegmentationClassAug` those of train_aug
    and val. The classes are six of VOC's, with VOC's labels.

    Args:
        root: new folder.
        size: longer side of the images, pixels.
    """
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("config", ["experiment=cam"])
        voc = compose("config", ["experiment=cam", "data=voc2012", "data.root=unused"]).data.dataset
    settings = {k: v for k, v in cfg.data.generate.items() if k not in ("_target_", "cache")}
    settings |= {"num_train": TRAIN_AUG, "num_val": VAL, "size": size}
    with tempfile.TemporaryDirectory() as cache:
        generated = generate(cache, **settings)
        shutil.copytree(generated, root)
    lists = root / LISTS
    train_aug = (lists / "train.txt").read_text().split()
    val = (lists / "val.txt").read_text().split()
    train = train_aug[:TRAIN]
    names = {"train": train, "val": val, "trainval": train + val, "train_aug": train_aug}
    for split, members in names.items():
        write_text(lists / f"{split}.txt", "".join(f"{name}\n" for name in members))
    labels = np.arange(IGNORE + 1, dtype=np.uint8)
    labels[1 : len(CLASSES) + 1] = [list(voc.classes).index(name) + 1 for name in CLASSES]
    masks, aug = root / "SegmentationClass", root / "SegmentationClassAug"
    for name in train_aug + val:
        mask = labels[load_mask(masks / f"{name}.png")]
        save_mask(aug / f"{name}.png", mask)
        if name in train + val:
            save_mask(masks / f"{name}.png", mask)
        else:
            (masks / f"{name}.png").unlink()
    return root


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    print(write(parser.parse_args().folder))
