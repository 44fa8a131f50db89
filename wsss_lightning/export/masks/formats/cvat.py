"""CVAT: the XML of "CVAT for images 1.1".

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.files import find_file, invalid
from wsss_lightning.export.masks.formats import WriteOptions
from wsss_lightning.export.masks.formats.voc import label_colour
from wsss_lightning.export.masks.objects import AnnotatedImage, ImageObjects, Patch, Region
from wsss_lightning.export.masks.polygons import rings_of
from wsss_lightning.export.masks.shapes import box, ellipse, rotated
from wsss_lightning.utils.files import write_atomically

FILE: Final = "annotations.xml"
NO_AREA: Final = ("polyline", "points", "cuboid", "skeleton")
OTHER: Final = ("tag", "attribute")  # of an image, without a shape


def write(folder: Path, images: Iterator[ImageObjects], options: WriteOptions) -> None:
    """Write `annotations.xml`. Holes are bridged by slits; parts of an object share a group."""
    root = ElementTree.Element("annotations")
    _text(root, "version", "1.1")
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    _text(task, "name", options.split)
    labels = ElementTree.SubElement(task, "labels")
    for label, name in options.names.items():
        node = ElementTree.SubElement(labels, "label")
        _text(node, "name", name)
        _text(node, "color", "#" + bytes(label_colour(label)).hex())
        _text(node, "type", "any")
        ElementTree.SubElement(node, "attributes")
    groups = 0
    for number, image in enumerate(images):
        size = {"width": str(image.width), "height": str(image.height)}
        node = ElementTree.SubElement(
            root, "image", {"id": str(number), "name": image.relative, **size}
        )
        for one in image.objects:
            rings = rings_of(one, options.tolerance)
            groups += len(rings) > 1
            shared = {"group_id": str(groups)} if len(rings) > 1 else {}
            for ring in rings:
                points = ";".join(f"{x:.2f},{y:.2f}" for x, y in ring.tolist())
                fixed = {"label": one.name, "source": "auto", "occluded": "0", "z_order": "0"}
                ElementTree.SubElement(node, "polygon", {**fixed, "points": points, **shared})
    ElementTree.indent(root)
    tree = ElementTree.ElementTree(root)
    write_atomically(
        folder / FILE, lambda file: tree.write(file, encoding="utf-8", xml_declaration=True)
    )


def read(path: Path, classes: Sequence[str]) -> Iterator[AnnotatedImage]:
    """Polygons, boxes, ellipses and masks; those of a higher `z_order` come later.

    Args:
        path: the XML, or a folder that holds it.
        classes: unused; the file names its own.

    Raises:
        InputError: the file cannot be read, or a shape has no area.
    """
    path = find_file(path, FILE, "*.xml")
    try:
        root = parse(path).getroot()
        images = root.findall("image")
        if root.tag != "annotations" or root.find("track") is not None:
            raise ValueError(
                "it has tracks of a video" if root.find("track") is not None else f"<{root.tag}>"
            )
    except (ElementTree.ParseError, DefusedXmlException, OSError, ValueError) as error:
        raise invalid(path, error, "an export of CVAT for images 1.1") from error
    for node in images:
        name = node.get("name", "")
        source = f"{path}, {name}"
        try:
            size = int(node.attrib["height"]), int(node.attrib["width"])
        except (KeyError, ValueError) as error:
            raise invalid(source, error, "name, width and height of each image") from error
        shapes = [shape for shape in node if shape.tag not in OTHER]
        shapes.sort(key=lambda shape: int(shape.get("z_order", 0)))
        regions = [_region(shape, size, source) for shape in shapes]
        yield AnnotatedImage(source, [name], regions, size)


def _region(shape: Any, size: tuple[int, int], source: str) -> Region:
    try:
        name = shape.attrib["label"]
        if shape.tag == "mask":
            return Region(name, pixels=_mask(shape, size))
        if shape.tag == "polygon":
            points = [pair.split(",") for pair in shape.attrib["points"].split(";")]
            return Region(name, [np.array(points, float).reshape(-1, 2)])
        if shape.tag == "box":
            ring = box(*(float(shape.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")))
            return Region(name, [rotated(ring, float(shape.get("rotation", 0)))])
        if shape.tag == "ellipse":
            ring = ellipse(*(float(shape.attrib[part]) for part in ("cx", "cy", "rx", "ry")))
            return Region(name, [rotated(ring, float(shape.get("rotation", 0)))])
    except (KeyError, ValueError) as error:
        raise invalid(f"{source}, a {shape.tag}", error, "label and coordinates") from error
    hint = "has no area" if shape.tag in NO_AREA else "is unknown"
    raise InputError(
        f"{source} has a {shape.tag} of {name}, which {hint}; draw a polygon, or remove it."
    )


def _mask(shape: Any, size: tuple[int, int]) -> Patch:
    """Pixels of run lengths within a box, row by row, those outside first."""
    left, top, w, h = (int(float(shape.attrib[key])) for key in ("left", "top", "width", "height"))
    runs = [int(run) for run in shape.attrib["rle"].split(",")]
    if sum(runs) != w * h or min(runs) < 0:
        raise ValueError(f"run lengths add up to {sum(runs)}, not {w} x {h}")
    if left < 0 or top < 0 or top + h > size[0] or left + w > size[1]:
        raise ValueError(f"{w}x{h} pixels at ({left}, {top}) are not within {size[1]}x{size[0]}")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return Patch(top, left, values.reshape(h, w))


def _text(parent: Any, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text
