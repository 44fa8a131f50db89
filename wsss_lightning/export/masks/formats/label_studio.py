"""Label Studio: tasks with brush masks as run lengths.

Source: https://labelstud.io/guide/export (JSON); https://github.com/thi-ng/umbrella, rle-pack.
"""

import json
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import UInt8

from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.files import find_file, invalid, read_json
from wsss_lightning.export.masks.formats import WriteOptions
from wsss_lightning.export.masks.formats.voc import label_colour
from wsss_lightning.export.masks.objects import AnnotatedImage, ImageObjects, Patch, Region
from wsss_lightning.export.masks.shapes import box, ellipse, rotated
from wsss_lightning.utils.files import write_text

FILE: Final = "tasks.json"
CONFIG: Final = "label_config.xml"
FROM, TO, MODEL = "tag", "image", "wsss-lightning"
OPAQUE: Final = 128  # alpha of a pixel that belongs to a brush mask
SHAPES: Final = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels")
NO_AREA: Final = ("keypointlabels",)


def write(folder: Path, images: Iterator[ImageObjects], options: WriteOptions) -> None:
    """Write `tasks.json`, whose predictions hold the masks, and the labelling configuration."""
    tasks = []
    for image in images:
        fixed = {
            "from_name": FROM,
            "to_name": TO,
            "type": "brushlabels",
            "original_width": image.width,
            "original_height": image.height,
            "image_rotation": 0,
        }
        results = []
        for number, one in enumerate(image.objects):
            rle = encode_rle(one.patch, image.height, image.width)
            value = {"format": "rle", "rle": rle, "brushlabels": [one.name]}
            identifier = uuid.uuid5(uuid.NAMESPACE_URL, f"{image.relative}/{number}").hex[:10]
            results.append({"id": identifier, **fixed, "value": value})
        url = options.image_url + urllib.parse.quote(image.relative)
        tasks.append(
            {
                "data": {"image": url, "name": image.relative},
                "predictions": [{"model_version": MODEL, "result": results}],
            }
        )
    labels = "".join(
        f"    <Label value={quoteattr(name)} background={quoteattr(_hex(label))}/>\n"
        for label, name in options.names.items()
    )
    write_text(
        folder / CONFIG,
        f'<View>\n  <Image name="{TO}" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="{FROM}" toName="{TO}">\n{labels}  </BrushLabels>\n</View>\n',
    )
    write_text(folder / FILE, json.dumps(tasks, ensure_ascii=False))


def read(path: Path, classes: Sequence[str]) -> Iterator[AnnotatedImage]:
    """Brush masks, polygons, rectangles and ellipses of the latest annotation of each task.

    A task that nobody annotated has predictions only and is left out.

    Args:
        path: the JSON of an export, or a folder that holds it.
        classes: unused; the file names its own.

    Raises:
        InputError: the file cannot be read, or a result cannot be used.
    """
    yield from _read(path, predictions=False)


def read_predictions(path: Path, classes: Sequence[str]) -> Iterator[AnnotatedImage]:
    """As `read`, but the predictions of an export of ours."""
    yield from _read(path, predictions=True)


def _read(path: Path, predictions: bool) -> Iterator[AnnotatedImage]:
    path = find_file(path, FILE, "*.json")
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise invalid(path, "no list of tasks", "an export of Label Studio in the format JSON")
    for number, task in enumerate(tasks, start=1):
        source = f"{path}, task {task.get('id', number)}"
        try:
            data = task["data"]
            files = [str(data[key]) for key in ("name", "image") if key in data]
            files = files or [str(value) for value in data.values() if isinstance(value, str)]
            if predictions:
                results = task["predictions"][-1]["result"]
            else:
                given = [one for one in task.get("annotations", ()) if not one.get("was_cancelled")]
                if not given:
                    continue
                latest = max(given, key=lambda one: str(one.get("updated_at", "")))
                results = latest["result"]
            regions, sizes = _regions(results, source)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise invalid(source, error, "data, annotations and result of a task") from error
        if len(sizes) > 1:
            raise InputError(f"{source} has results of images of several sizes {sorted(sizes)}.")
        yield AnnotatedImage(source, files, regions, next(iter(sizes), None))


def _regions(results: list[Any], source: str) -> tuple[list[Region], set[tuple[int, int]]]:
    regions, sizes = [], set()
    for result in results:
        kind = result.get("type")
        if kind in NO_AREA:
            raise InputError(f"{source} has a {kind}, which has no area; remove it.")
        if kind not in SHAPES:
            continue  # a choice, a text or a relation
        if result.get("image_rotation"):
            raise InputError(
                f"{source} is rotated by {result['image_rotation']} degrees; rotate the image file "
                "itself, and annotate that."
            )
        size = int(result["original_height"]), int(result["original_width"])
        sizes.add(size)
        for name in result["value"][kind]:
            regions.append(_region(kind, str(name), result["value"], size, source))
    return regions, sizes


def _region(
    kind: str, name: str, value: Mapping[str, Any], size: tuple[int, int], source: str
) -> Region:
    scale = np.array([size[1], size[0]]) / 100  # coordinates are in percent
    try:
        if kind == "brushlabels":
            inside = decode_rle(value["rle"], *size) >= OPAQUE
            return Region(name, pixels=Patch.around(inside))
        if kind == "polygonlabels":
            return Region(name, [np.array(value["points"], float).reshape(-1, 2) * scale])
        angle = float(value.get("rotation", 0))
        (x, y), keys = (value["x"], value["y"]) * scale, ("width", "height")
        if kind == "ellipselabels":
            keys = ("radiusX", "radiusY")
        w, h = [value[key] for key in keys] * scale
        if kind == "ellipselabels":
            return Region(name, [rotated(ellipse(x, y, w, h), angle)])
        return Region(name, [rotated(box(x, y, x + w, y + h), angle, centre=(x, y))])
    except (KeyError, TypeError, ValueError) as error:
        raise invalid(f"{source}, {kind} {name}", error, "coordinates or run lengths") from error


def _hex(label: int) -> str:
    return "#" + bytes(label_colour(label)).hex()


SIZES: Final = (3, 4, 8, 16)  # bits of the length of a run, chosen for each run
WORD: Final = 8  # bits of a value


def encode_rle(patch: Patch, height: int, width: int) -> list[int]:
    """Run lengths of an object as bytes: an image of four channels, 255 inside and 0 outside.

    The bits are: number of values (32), bits of a value - 1 (5), bits of each kind of length - 1
    (4 x 4); then for each run 1, the kind of its length (2), the length - 1, and the value.
    """
    h, w = patch.pixels.shape
    rows = np.zeros((h, width), bool)
    rows[:, patch.left : patch.left + w] = patch.pixels
    flat = rows.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=False, append=False)) + patch.top * width
    # runs outside and inside alternate
    lengths = 4 * np.diff([0, *starts.tolist(), height * width])
    total = 4 * height * width
    bits = [f"{total:032b}", f"{WORD - 1:05b}", *(f"{size - 1:04b}" for size in SIZES)]
    for i, length in enumerate(lengths.tolist()):
        while length > 0:
            part = min(length, 1 << SIZES[-1])
            kind = next(k for k, size in enumerate(SIZES) if part <= 1 << size)
            bits.append(f"1{kind:02b}{part - 1:0{SIZES[kind]}b}{255 * (i % 2):0{WORD}b}")
            length -= part
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_rle(rle: Sequence[int], height: int, width: int) -> UInt8[np.ndarray, "H W"]:
    """Alpha channel of run lengths, see `encode_rle`; a run that begins with 0 lists its values.

    Raises:
        ValueError: they do not have `height` x `width` x 4 values.
    """
    bits = "".join(f"{byte:08b}" for byte in bytes(rle))
    position = 0

    def take(count: int) -> int:
        nonlocal position
        position += count
        if position > len(bits):
            raise ValueError("the run lengths are cut off")
        return int(bits[position - count : position], 2)

    total, word, sizes = take(32), take(5) + 1, [take(4) + 1 for _ in range(4)]
    if total != 4 * height * width:
        raise ValueError(f"the run lengths are of {total // 4} pixels, not {width}x{height}")
    flat = np.zeros(total, np.uint8)
    i = 0
    while i < total:
        is_run, length = take(1), take(sizes[take(2)]) + 1
        if i + length > total:
            raise ValueError(f"the run lengths are of more than {total // 4} pixels")
        flat[i : i + length] = take(word) if is_run else [take(word) for _ in range(length)]
        i += length
    return flat.reshape(height, width, 4)[..., 3]
