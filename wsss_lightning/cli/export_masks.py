"""Writes masks in the format of a labelling tool: `wsss-lightning export-masks RUN --format coco`.

Nothing here imports PyTorch before the arguments are read, so that help appears at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsss_lightning.cli.error_messages import fail
from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.formats import FORMATS
from wsss_lightning.utils.console import print_plain, track, warn

if TYPE_CHECKING:
    from wsss_lightning.export.masks.exporting import ExportReport

DESCRIPTION = (
    "Write the masks of a run, or a folder of index masks, as annotations that a labelling tool "
    "opens. The export is read back, and the message says how much of the masks it holds."
)


def main(given: Sequence[str] | None = None) -> None:
    """Entry of the command."""
    arguments = _parser().parse_args(given)
    from wsss_lightning.cli.import_masks import class_list

    try:
        arguments.classes = class_list(arguments.classes)
        _check(arguments)
        _export(arguments)
    except InputError as error:
        fail(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsss-lightning export-masks",
        description=DESCRIPTION,
        epilog="formats: " + "; ".join(f"{name}: {one.summary}" for name, one in FORMATS.items()),
    )
    add = parser.add_argument
    add("source", type=Path, metavar="RUN_OR_FOLDER", help="a run, or a folder of index masks")
    add("--format", required=True, choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    add("--out", type=Path, metavar="DIR", help="default: RUN_OR_FOLDER/masks/FORMAT")
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
        help="smaller objects become background (default: 0)",
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
    return parser


def _check(arguments: argparse.Namespace) -> None:
    for option in ("simplify", "min_area"):
        value = getattr(arguments, option)
        if not 0 <= value < float("inf"):
            raise InputError(
                f"--{option.replace('_', '-')} is {value:g}, but is a number of pixels, 0 or more."
            )


def _export(arguments: argparse.Namespace) -> None:
    from wsss_lightning.export.masks.formats import codec

    codec(arguments.format)  # its packages are installed
    from wsss_lightning.export.masks.exporting import ExportOptions, export_masks
    from wsss_lightning.export.masks.sources import open_source

    source = open_source(
        arguments.source, arguments.stage, arguments.split, arguments.images, arguments.classes
    )
    target = arguments.out or arguments.source / "masks" / arguments.format
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
    print_plain(f"{report.images} images, {report.objects} objects")
    if report.small:
        print_plain(
            f"{report.small} objects of less than {arguments.min_area} pixels became background"
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
    main(sys.argv[1:])
