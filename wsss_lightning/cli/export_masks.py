"""`wsss-lightning export-masks`: masks in the format of a labelling tool."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsss_lightning.cli.parser import VerbParser, verb_parser
from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.formats import FORMATS

if TYPE_CHECKING:
    from wsss_lightning.export.masks.exporting import ExportReport

DESCRIPTION = f"""
Write the masks of a run, or a folder of index masks, as annotations that a labelling tool opens.
The export is read back, and the message says how much of the masks it holds.

Formats: {"; ".join(f"{name}: {one.summary}" for name, one in FORMATS.items())}.
"""
EXAMPLES = (
    "export-masks runs/cam --format coco --out coco",
    "export-masks runs/cam --format labelme --min-area 20 --out b",
    "export-masks runs/cam --from predictions --format cvat --out c",
    "export-masks predicted --images a --format yolo-seg --out d",
)

MANY_TINY = 0.2  # share of tiny objects above which the message names them


def parser() -> VerbParser:
    """Options of the command."""
    made = verb_parser("export-masks", DESCRIPTION, EXAMPLES)
    add = made.add_argument
    add("source", type=Path, metavar="SOURCE", help="a run, the results of predict, or masks")
    add("--format", required=True, choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add(
        "--from",
        dest="stage",
        metavar="STAGE",
        help="stage of the run: pseudo (default), predictions, crf_masks, round_1/labels, ...",
    )
    add("--split", metavar="SPLIT", help="split of the stage; default: the training split")
    add("--images", type=Path, metavar="DIR", help="folder of the images; default: the run's")
    add("--classes", metavar="A,B", help="names of labels 1, 2, ...; default: the run's")
    add(
        "--simplify",
        type=float,
        default=1.0,
        metavar="PIXELS",
        help="largest distance of a removed corner from its polygon; 0: exact (default: 1)",
    )
    add(
        "--min-area",
        type=int,
        default=0,
        metavar="PIXELS",
        help="smaller parts and holes take the label around them (default: 0)",
    )
    add("--merge", action="store_true", help="one object for each class, not for each part")
    add("--keep-ignored", action="store_true", help="ignored pixels (255) as class `ignored`")
    add(
        "--image-url",
        default="/data/local-files/?d=",
        metavar="PREFIX",
        help="Label Studio: text before the path of an image (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="replace an existing folder")
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        InputError: a file or an option cannot be used, or a package is not installed.
    """
    from wsss_lightning.cli.import_masks import class_list

    given = parser().parse_args(arguments)
    given.classes = class_list(given.classes)
    for option in ("simplify", "min_area"):
        value = getattr(given, option)
        if not 0 <= value < float("inf"):
            raise InputError(
                f"--{option.replace('_', '-')} is {value:g}, but is a number of pixels, 0 or more."
            )
    _export(given)


def _export(arguments: argparse.Namespace) -> None:
    from wsss_lightning.export.masks.formats import codec

    codec(arguments.format)  # its packages are installed
    from wsss_lightning.export.masks.exporting import ExportOptions, export_masks
    from wsss_lightning.export.masks.sources import open_source
    from wsss_lightning.utils.console import track

    images = arguments.images and arguments.images.expanduser()
    source = open_source(
        arguments.source.expanduser(), arguments.stage, arguments.split, images, arguments.classes
    )
    target = arguments.out.expanduser()
    options = ExportOptions(
        arguments.simplify,
        arguments.min_area,
        arguments.merge,
        arguments.keep_ignored,
        arguments.image_url,
    )
    report = export_masks(source, arguments.format, target, options, arguments.overwrite, track)
    _print(report, arguments, target)


def _print(report: "ExportReport", arguments: argparse.Namespace, target: Path) -> None:
    from wsss_lightning.export.masks.exporting import TINY
    from wsss_lightning.utils.console import print_plain, warn

    print_plain(f"{report.images} images, {report.objects} objects")
    if report.tiny > MANY_TINY * report.objects:
        print_plain(
            f"{report.tiny} objects have less than {TINY} pixels; --min-area {TINY} removes them"
        )
    if report.small:
        print_plain(
            f"{report.small} parts of less than {arguments.min_area} pixels took the label around "
            "them"
        )
    if report.ignored and arguments.format != "voc" and not arguments.keep_ignored:
        warn(
            f"{report.ignored} images have ignored pixels ({100 * report.ignored_share:.1f} % of "
            "all), which the export shows as background; --keep-ignored writes them as class "
            "`ignored`, which import-masks turns into ignored pixels again"
        )
    name, same = report.worst
    exact = "exactly the masks" if report.iou == 1 else f"IoU {100 * report.iou:.2f} %"
    most = (
        ""
        if report.iou == 1
        else f"; {name} changed most, by {100 * (1 - same):.2f} % of its pixels"
    )
    print_plain(f"read back: {exact}{most}")
    print_plain(f"masks      {target}")


if __name__ == "__main__":
    from wsss_lightning.__main__ import main as run

    run(["export-masks", *sys.argv[1:]])
