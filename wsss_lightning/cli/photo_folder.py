"""Photos of `data=folder`: read, printed, and put into the configuration as a data set."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict
from rich.markup import escape
from rich.table import Table

from wsss_lightning.config.targets import check_targets
from wsss_lightning.errors import InputError
from wsss_lightning.utils.console import console, print_plain, track, warn
from wsss_lightning.utils.files import write_table

if TYPE_CHECKING:
    from wsss_lightning.data.folder.read import PhotoSet
    from wsss_lightning.data.supervision import Supervision

MAX_REASONS = 5  # reasons that are printed; split.csv has one for each photo
MAX_CLASSES = 30  # classes that are printed
SPLIT_FILE = "split.csv"
FEW_STEPS = 100  # of a training; experiments/photos, with 437 photos, has 162
USUAL_STEPS = 160


def read_photos(cfg: DictConfig, supervision: "Supervision | None" = None) -> "PhotoSet | None":
    """Read a folder of photos, print what was understood, and set the keys of the data set.

    Args:
        cfg: composed configuration.
        supervision: what the run learns from; None: it learns nothing.

    Returns:
        None for other data, and for photos that are read already.

    Raises:
        InputError: the photos, their labels or a key cannot be used.
    """
    if "read" not in cfg.data:
        return None
    from hydra.utils import instantiate

    data, node = cfg.data, cfg.data.read
    if data.val in (None, data.train):  # no photos are set aside
        node.val_fraction = 0.0
    try:
        plain = OmegaConf.to_container(node, resolve=True)
        check_targets(OmegaConf.create({"data": {"read": plain}}))
        read = instantiate(node, _partial_=True, _convert_="all")
        photos: PhotoSet = read(track=_progress)
    except InputError as error:
        raise InputError(_name_keys(str(error), node)) from error
    if data.num_classes not in (None, len(photos.classes)):
        raise InputError(
            f"data.num_classes is {data.num_classes}, but the tags name {len(photos.classes)} "
            f"classes ({', '.join(photos.classes)}); leave it out, or choose classes by "
            "data.classes=[...]."
        )
    _set_keys(data, photos)
    print_photos(photos)
    uses_boxes = supervision is not None and supervision.name == "boxes"
    if uses_boxes and not photos.has_boxes:
        raise InputError(
            f"{cfg.name} learns from boxes, but {photos.sources[0]} has none; set data.boxes to "
            "boxes as COCO JSON, VOC XML, YOLO, labelme JSON, CVAT XML or CSV, or choose an "
            "experiment that learns from tags, such as experiment=cam_small."
        )
    if uses_boxes and photos.box_problems:
        shown = "\n  ".join(photos.box_problems[:MAX_REASONS])
        raise InputError(f"{len(photos.box_problems)} boxes are invalid:\n  {shown}")
    if photos.box_problems:
        warn(f"{len(photos.box_problems)} invalid boxes are left out: {photos.box_problems[0]}")
    if supervision is not None:
        _warn_of_few_steps(cfg, supervision, len(photos.split("train")))
    return photos


def _set_keys(data: DictConfig, photos: "PhotoSet") -> None:
    """Describe the photos as `VOCDataset` reads them, without the keys that only `read` needs."""
    with open_dict(data):
        inputs = set(data.pop("read")) - {"root"}
        for key in inputs & set(data):
            del data[key]
    data.root, data.dataset.root = str(photos.root), str(photos.index)
    data.name = data.name or photos.root.name
    data.dataset.classes, data.num_classes = photos.classes, len(photos.classes)
    for key in ("mask_ids", "mask_colours"):
        if data.dataset.mask_ids is None and data.dataset.mask_colours is None:
            data.dataset[key] = getattr(photos, key)
            if getattr(photos, key) is not None and data.dataset.unmapped is None:
                data.dataset.unmapped = "ignored"
    if not photos.split("val"):
        data.dataset.lists.val = None


def _warn_of_few_steps(cfg: DictConfig, supervision: "Supervision", count: int) -> None:
    """Warn of trainings that are short because there are few photos.

    Args:
        cfg: composed configuration.
        supervision: what the run learns from.
        count: number of photos of the training split.
    """
    keys = ["fit.method"] if supervision.uses_seeds else []
    keys += ["fit.segmenter"] if cfg.pipeline.get("segment", True) else []
    longer, few = [], []
    for key in keys:
        schedule = OmegaConf.select(cfg, key)
        an_epoch = max(1, count // schedule.batch_size)
        steps = an_epoch * schedule.max_epochs
        if schedule.max_steps is None and 0 < steps < FEW_STEPS:
            few.append(f"{steps} steps by {key}.max_epochs={schedule.max_epochs}")
            longer.append(f"{key}.max_epochs={-(-USUAL_STEPS // an_epoch)}")
    if few:
        warn(
            f"{count} photos give short trainings: {', '.join(few)}; {' '.join(longer)} give about "
            f"{USUAL_STEPS} steps each, which take longer and usually learn more"
        )


def write_split(photos: "PhotoSet", folder: Path) -> None:
    """Write split, tags and reason of every image into the folder of a run.

    The table can be given as `data.split` and as `data.tags` later.
    """
    header = ("image", "split", "tags", "reason")
    rows = [(row.image, row.split, ", ".join(row.tags), row.reason) for row in photos.rows]
    write_table(folder / SPLIT_FILE, [header, *rows])


def print_photos(photos: "PhotoSet") -> None:
    """Print numbers of photos and classes, where the labels come from, and what is left out."""
    splits = [name for name in ("train", "val") if photos.split(name)]
    print_plain(f"photos in {photos.root}", "bold")
    table = Table(min_width=40)
    table.add_column("")
    for name in splits:
        table.add_column(name, justify="right")
    table.add_row("photos", *(str(len(photos.split(name))) for name in splits))
    for c in photos.classes[:MAX_CLASSES]:
        counts = (sum(c in row.tags for row in photos.split(name)) for name in splits)
        table.add_row(escape(c), *map(str, counts))
    if len(photos.classes) > MAX_CLASSES:
        table.add_row(
            f"and {len(photos.classes) - MAX_CLASSES} more classes", *("" for _ in splits)
        )
    console.print(table)
    for source in photos.sources:
        print_plain(source, "dim")
    for note in photos.notes:
        warn(note)
    reasons = photos.reasons()
    if reasons:
        shown = "; ".join(f"{count} {reason}" for reason, count in reasons[:MAX_REASONS])
        more = (
            f"; and {len(reasons) - MAX_REASONS} more reasons" if len(reasons) > MAX_REASONS else ""
        )
        total = sum(count for _, count in reasons)
        warn(f"{total} images are left out: {shown}{more} ({SPLIT_FILE} lists them)")


def _progress(items: Iterable[Any], total: int) -> Iterator[Any]:
    return track(items, total, "photos")


def _name_keys(message: str, node: DictConfig) -> str:
    """Replace parameters of `read_folder`, in backticks in messages, by configuration keys."""
    message = message.replace("data.read.", "data.")
    return re.sub(
        r"`(\w+)([^`]*)`", lambda m: f"data.{m[1]}{m[2]}" if m[1] in node else m[0], message
    )
