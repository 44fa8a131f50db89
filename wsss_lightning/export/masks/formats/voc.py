"""Pascal VOC: index masks, the list of images, and CVAT's `labelmap.txt`.

Source: "Segmentation mask 1.1" of CVAT, https://docs.cvat.ai/docs/dataset_management/formats/.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from wsss_lightning.data.scores import save_mask
from wsss_lightning.data.sources.colours import Colour, pack, pack_all, unpack
from wsss_lightning.data.sources.masks import BACKGROUND, read_colours
from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.files import read_text
from wsss_lightning.export.masks.formats import WriteOptions
from wsss_lightning.export.masks.objects import IGNORED, AnnotatedImage, ImageObjects, Patch, Region
from wsss_lightning.ops.masks import IGNORE, voc_palette
from wsss_lightning.utils.files import write_text
from wsss_lightning.utils.text import shorten

MASKS: Final = "SegmentationClass"
LABELMAP: Final = "labelmap.txt"


def write(folder: Path, images: Iterator[ImageObjects], options: WriteOptions) -> None:
    """Write `SegmentationClass/<name>.png`, a list in `ImageSets/Segmentation`, `labelmap.txt`."""
    names, has_ignored = [], False
    for image in images:
        names.append(image.name)
        has_ignored |= bool((image.mask == IGNORE).any())
        save_mask(folder / MASKS / f"{image.name}.png", image.mask)
    listed = folder / "ImageSets/Segmentation" / f"{options.split}.txt"
    write_text(listed, "".join(f"{name}\n" for name in names))
    labels = {0: BACKGROUND, **options.names}
    if not has_ignored:  # CVAT refuses labels that its task lacks
        labels.pop(IGNORE, None)
    lines = [
        f"{name}:{','.join(map(str, label_colour(label)))}::\n" for label, name in labels.items()
    ]
    write_text(folder / LABELMAP, "".join(["# label:color_rgb:parts:actions\n", *lines]))


def read(path: Path, classes: Sequence[str]) -> Iterator[AnnotatedImage]:
    """One object for each class of a mask; masks hold the colours of `labelmap.txt`.

    Args:
        path: folder that holds `SegmentationClass`.
        classes: names of labels 1, 2, ... in VOC's colours where there is no `labelmap.txt`.

    Raises:
        InputError: there are no masks, or a mask or `labelmap.txt` cannot be read.
    """
    masks = path / MASKS if (path / MASKS).is_dir() else path
    files = sorted(masks.rglob("*.png"))
    if not files:
        raise InputError(f"{masks} holds no masks (.png); give the folder that holds {MASKS}/.")
    colours = _colours(path / LABELMAP, classes)
    known = {pack(colour): name for colour, name in colours.items()}
    for file in files:
        packed = pack_all(read_colours(file))
        present = np.unique(packed).tolist()
        unknown = [list(unpack(value)) for value in present if value not in known]
        if unknown:
            raise InputError(
                f"{file} has the colours {shorten(unknown)}, which {LABELMAP} lacks; add a line "
                "for each, as in cat:64,0,0::"
            )
        names = dict.fromkeys(known[value] for value in present)
        values = {name: [v for v, n in known.items() if n == name] for name in names}
        regions = [
            Region(name, pixels=Patch.around(np.isin(packed, values[name])))
            for name in names
            if name != BACKGROUND
        ]
        name = file.relative_to(masks).with_suffix("").as_posix()
        height, width = packed.shape
        yield AnnotatedImage(str(file), [name], regions, (height, width))


def label_colour(label: int) -> Colour:
    """VOC's colour of a label."""
    red, green, blue = voc_palette()[3 * label : 3 * label + 3]
    return red, green, blue


def _colours(file: Path, classes: Sequence[str]) -> dict[Colour, str]:
    """Class of each colour; VOC's colour of ignored pixels is theirs unless it is another's."""
    ignored = {label_colour(IGNORE): IGNORED}
    if not file.is_file():
        names = enumerate([BACKGROUND, *classes])
        return {**ignored, **{label_colour(label): name for label, name in names}}
    colours: dict[Colour, str] = {}
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        # a name may hold colons
        name, _, rest = line.strip().removesuffix("::").rpartition(":")
        values = rest.split(",")
        if not name or len(values) != 3 or not all(v.strip().isdigit() for v in values):
            raise InputError(
                f"{file}, line {number} is {line!r}, but a line is NAME:RED,GREEN,BLUE::"
            )
        red, green, blue = map(int, values)
        colours[red, green, blue] = name
    return {**ignored, **colours}
