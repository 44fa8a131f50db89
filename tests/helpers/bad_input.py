"""Bad input, and the facts that the answer to it must name.

`test_bad_input.py` runs every case; `python docs/generate.py bad_input` writes the answers into
`docs/bad_input.md`.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import torch
from commands import annotation
from PIL import Image

# what is typed, and the facts of the answer
SLIPS = {
    ("experiment=caam",): ["experiment=caam", "cam"],
    (
        "experiment=cam",
        "+method.optimizer.lrr=1",
    ): ["method.optimizer.lrr", "torch.optim.AdamW", "lr"],
    (
        "experiment=cam",
        "seeds.background_score=1.5",
    ): ["seeds.background_score", 1.5, "[0, 1]"],
    ("experiment=cam", "fit.method.batch_size=0"): ["fit.method.batch_size", 0],
    ("experiment=cam", "cam.storage_bits=7"): ["cam.storage_bits", 7],
    ("experiment=cam", "cam.scales=[-1]"): ["cam.scales", "[-1.0]"],
    ("experiment=cam", "backbone.output_stride=7"): ["backbone.output_stride", 7, 8, 16, 32],
    ("experiment=cam", "backbone.name=resnet5"): ["backbone.name", "resnet5", "resnet50"],
    ("experiment=cam", "crf.theta_alpha=-1"): ["crf.theta_alpha", -1],
    ("experiment=cam", "crf.engine=torhc"): ["crf.engine", "torhc", "torch"],
    ("experiment=cam", "refine.area_factor=0.5"): ["refine.area_factor", 0.5],
    ("experiment=cam", "refine=affinity", "refine.walk.beta=-1"): ["refine.walk.beta", -1, 0],
    ("experiment=cam", "refine=affinity", "refine.init_from=mine"): ["refine.init_from", "mine"],
    ("experiment=cam", "refine=irn", "refine.module.net.feature_layers=[layer9]"): [
        "refine.module.net.feature_layers"
    ],
    ("experiment=cam", "refine=irn", "refine.schedule.batch_size=0"): [
        "refine.schedule.batch_size",
        0,
    ],
    ("experiment=grad_cam", "cam.layer=encoder.modle"): ["encoder.modle", "encoder.model"],
    ("experiment=cam", "data=voc2012"): ["data.root", "data.root="],
    ("experiment=cam", "data.num_classes=7"): ["data.num_classes", 7, "data.dataset.classes"],
    ("experiment=cam", "method.num_classes=7"): ["method.num_classes", 7, "data.num_classes"],
    (
        "experiment=cam",
        "method.optimizer.lr=fast",
    ): ["method.optimizer.lr", "fast", "torch.optim.AdamW", "number"],
    ("experiment=cam", "data.long_side=64"): ["fit.method.long_side", 64],
    ("experiment=cam", "trainer.precision=half"): ["trainer.precision", "half"],
    ("experiment=cam", "trainer.devices=2"): ["trainer=ddp_cpu trainer.devices=2"],
    ("experiment=cam", "fit.method.jitter=3"): ["jitter"],
    ("experiment=cam", "seeds=[1,2]"): ["seeds"],
    ("experiment=cam", "crf.theta_alpha=wide"): ["crf.theta_alpha", "wide", "number"],
    ("experiment=cam", "data.generate.size=big"): ["data.generate.size", "big"],
    ("experiment=cam", "data.generate.subcategories=9"): ["data.generate.subcategories", 9],
    ("experiment=cam", "workers=-1"): ["workers", -1, 0],
    ("experiment=cam", "data.generate.seed=-1"): ["data.generate.seed", -1],
    ("experiment=cam", "checkpoint_minutes=-1"): ["checkpoint_minutes", "-1.0", 0],
    ("experiment=cam", "num_previews=0"): ["num_previews", 0],
}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def cut(path: Path) -> None:
    """Keep the header and half of the pixels."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def paint(path: Path, value: int, size: tuple[int, int]) -> None:
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


def image(name: str) -> str:
    return f"JPEGImages/{name}.jpg"


def mask(name: str) -> str:
    return f"SegmentationClass/{name}.png"


# what is done to the data set, words behind those of `mine`, and what the answer holds
BAD_DATA = {
    "root is absent": (shutil.rmtree, [], ["data.root", "data.root="]),
    "list is absent": (
        lambda root: (root / "ImageSets/Segmentation/val.txt").unlink(),
        [],
        ["val.txt", "data.dataset.lists.val"],
    ),
    "list names an absent image": (
        lambda root: (root / image("train_1")).unlink(),
        [],
        ["JPEGImages", "train_1"],
    ),
    "split is misspelt": (
        lambda root: None,
        ["data.train=trian"],
        ["trian", "train"],
    ),
    "mask is of another size": (
        lambda root: paint(root / mask("train_1"), 0, (10, 12)),
        [],
        ["train_1.png", "12x10", "train_1.jpg", "64x64"],
    ),
    "mask holds an unknown id": (
        lambda root: None,
        ["data.dataset.mask_ids=null"],
        [
            "SegmentationClass",
            0,
            3,
            "data.dataset.mask_ids",
        ],
    ),
    "mask is cut off": (
        lambda root: cut(root / mask("train_1")),
        [],
        ["train_1.png"],
    ),
    "CSV has an unknown class": (
        lambda root: edit(root / "tags.csv", "cat", "kat"),
        [],
        ["tags.csv", "cat", "kat"],
    ),
    "CSV is absent": (
        lambda root: (root / "tags.csv").unlink(),
        [],
        ["tags.csv", "data.dataset.tags="],
    ),
    "vectors are of other classes": (
        lambda root: np.save(root / "cls_labels.npy", {"train_0": np.ones(20)}),
        ["data.dataset.tags=cls_labels.npy"],
        ["cls_labels.npy", 20, "train_0", 3],
    ),
    "image has no tag": (
        lambda root: edit(root / "tags.csv", "train_0,1,0,0", "train_0,0,0,0"),
        [],
        [1, "train", "tags.csv", "train_0", "data.dataset.on_missing_labels=background"],
    ),
    "annotation names no class": (
        lambda root: (root / "Annotations/train_1.xml").write_text(annotation(["kat"])),
        ["data.dataset.tags=xml"],
        ["xml", "train_1"],
    ),
    "annotation is no XML": (
        lambda root: (root / "Annotations/train_1.xml").write_text("<annotation>"),
        ["data.dataset.tags=xml"],
        ["train_1.xml", "XML"],
    ),
    "JPEG is none": (
        lambda root: (root / image("train_1")).write_bytes(b"nonsense"),
        [],
        ["train_1.jpg"],
    ),
    "JPEG is cut off": (
        lambda root: cut(root / image("train_1")),
        [],
        ["train_1.jpg"],
    ),
    "JPEG is cut off, and a worker finds it": (
        lambda root: cut(root / image("train_1")),
        ["workers=2"],
        ["error:", "train_1.jpg"],
    ),
    "classes are not as many as the head has": (
        lambda root: None,
        ["data.num_classes=4"],
        ["data.num_classes", 4, "data.dataset.classes", 3, "bird", "cat", "dog"],
    ),
    "weights are absent": (
        lambda root: None,
        ["backbone.weights=away.pth"],
        ["backbone.weights", "away.pth"],
    ),
    "weights are of another network": (
        lambda root: torch.save({"odd": torch.zeros(3)}, root / "odd.pth"),
        ["backbone.weights=${data.root}/odd.pth"],
        ["odd.pth", "test_resnet", "missing", 1, "unexpected", "odd"],
    ),
    "data file is misspelt": (lambda root: None, ["data=mien"], ["mien", "mine"]),
    "key of the data file is misspelt": (
        lambda root: None,
        ["data.dataset.on_missing_label=background"],
        ["data.dataset.on_missing_label", "data.dataset.on_missing_labels"],
    ),
}


def bndbox(x0, y0, x1, y1) -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), (x0, y0, x1, y1), strict=True)
    return "<bndbox>" + "".join(f"<{k}>{v}</{k}>" for k, v in corners) + "</bndbox>"


GOOD = bndbox(9, 9, 40, 40)
BAD_BOXES = {
    "inverted": (
        lambda path: edit(path, GOOD, bndbox(40, 9, 9, 40)),
        ["train_0.xml", "bird", "(40, 9, 9, 40)", "64x56"],
    ),
    "empty": (
        lambda path: edit(path, GOOD, bndbox(9, 9, 8, 40)),
        ["train_0.xml", "(9, 9, 8, 40)", "64x56"],
    ),
    "outside": (
        lambda path: edit(path, GOOD, bndbox(90, 9, 99, 40)),
        ["train_0.xml", "(90, 9, 99, 40)", "64x56"],
    ),
    "no numbers": (
        lambda path: edit(path, GOOD, bndbox("a", 9, 99, 40)),
        ["train_0.xml", "(a, 9, 99, 40)", "numbers"],
    ),
    "no boxes": (
        lambda path: path.write_text("<annotation/>"),
        [1, "train", "xml", "train_0", "data.dataset.on_missing_labels=background"],
    ),
    "no XML": (lambda path: path.write_text("<annotation"), ["train_0.xml", "XML"]),
    "entities": (
        lambda path: path.write_text('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>'),
        ["train_0.xml", "entities"],
    ),
    "absent": (lambda path: path.unlink(), ["train_0.xml", "data.dataset.boxes"]),
}


SECTIONS = {"Configuration": SLIPS, "Data set": BAD_DATA, "Boxes": BAD_BOXES}
CASES = [(section, case) for section, cases in SECTIONS.items() for case in cases]
BEGIN, END = "<!-- generated by python docs/generate.py bad_input -->", "<!-- end -->"


def answer_of(err: str, folders: dict[str, Path]) -> str:
    """The message of a command in one line, without the names of temporary folders."""
    text = " ".join(err.partition("error: ")[2].split())
    for name, folder in folders.items():
        text = text.replace(str(folder), name)
    return text


def row_of(section: str, case: str | tuple[str, ...], answer: str) -> str:
    what = case if isinstance(case, str) else f"`{' '.join(case)}`"
    words = [] if section != "Data set" else BAD_DATA[case][1]
    what += f" (`{' '.join(words)}`)" if words else ""
    escaped = re.sub(r"([|*_<])", r"\\\1", answer)
    return f"| {what} | {escaped} |"


def block(rows: dict[tuple[str, str | tuple[str, ...]], str]) -> str:
    """Tables of all cases with their answers, as they stand in the page."""
    lines = []
    for section, cases in SECTIONS.items():
        lines += ["", f"## {section}", "", "| input | answer |", "| --- | --- |"]
        lines += [rows[section, case] for case in cases]
    return "\n".join([BEGIN, *lines, "", END])
