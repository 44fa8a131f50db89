"""Files of a generated image in Pascal VOC layout.

Letters: H W an image.
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

from wsss_lightning.data.synthetic.composition import GeneratedImage, Instance
from wsss_lightning.data.synthetic.shapes import CLASSES
from wsss_lightning.ops.masks import IGNORE, voc_palette

FOLDERS = ("JPEGImages", "SegmentationClass", "SegmentationObject", "Annotations")


def write_image(root: Path, name: str, generated: GeneratedImage) -> None:
    """Write image, class mask, instance mask and XML annotation; masks have a rim of 255."""
    image = Image.fromarray(generated.rgb)
    image.save(root / "JPEGImages" / f"{name}.jpg", quality=95, subsampling=0)
    (root / "Annotations" / f"{name}.xml").write_text(_annotation(name, generated))
    # the rim lies on the object behind, which has the lower number
    highest = np.asarray(Image.fromarray(generated.instance_map).filter(ImageFilter.MaxFilter(3)))
    rim = highest > generated.instance_map
    labels = np.array([0, *(CLASSES.index(x.name) + 1 for x in generated.instances)], np.uint8)
    _write_mask(root / "SegmentationClass" / f"{name}.png", labels[generated.instance_map], rim)
    _write_mask(root / "SegmentationObject" / f"{name}.png", generated.instance_map, rim)


def _write_mask(path: Path, values: UInt8[np.ndarray, "H W"], ignored: np.ndarray) -> None:
    mask = Image.fromarray(np.where(ignored, np.uint8(IGNORE), values))
    mask.putpalette(voc_palette())
    mask.save(path)


def _annotation(name: str, generated: GeneratedImage) -> str:
    H, W = generated.instance_map.shape
    return (
        f"<annotation>\n  <filename>{name}.jpg</filename>\n"
        f"  <size><width>{W}</width><height>{H}</height><depth>3</depth></size>\n"
        f"  <segmented>1</segmented>\n{''.join(map(_object, generated.instances))}</annotation>\n"
    )


def _object(instance: Instance) -> str:
    x0, y0, x1, y1 = instance.box
    return (
        f"  <object>\n    <name>{instance.name}</name>\n    <difficult>0</difficult>\n"
        # VOC counts from 1 and includes both ends
        f"    <bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox>\n  </object>\n"
    )
