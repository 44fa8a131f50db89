"""`wsss-lightning import-coco`: COCO 2014 in the layout of `data=coco2014`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsss_lightning.cli.parser import verb_parser
from wsss_lightning.errors import InputError

DESCRIPTION = """
Convert COCO 2014 to the layout of data=coco2014. COCO holds train2014/, val2014/ and
annotations/instances_*.json, as downloaded. OUT gets masks, lists and tags, and links to the images
and annotations. Repeat an interrupted command to resume.
"""
EXAMPLES = ("import-coco COCO coco_voc",)


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    made = verb_parser("import-coco", DESCRIPTION, EXAMPLES)
    made.add_argument("source", type=Path, metavar="COCO", help="folder of COCO, as downloaded")
    made.add_argument("target", type=Path, metavar="OUT", help="folder to write")
    made.add_argument(
        "--splits",
        nargs="+",
        default=["train=train2014", "val=val2014"],
        metavar="NAME=FOLDER",
        help="default: train=train2014 val=val2014",
    )
    made.add_argument(
        "--crowds",
        choices=("background", "ignore"),
        default="background",
        help="label of crowd regions in the masks; papers use background",
    )
    made.add_argument(
        "--split-folders",
        action="store_true",
        help="a separate image folder for each split, needed if splits share file names",
    )
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        InputError: files of COCO are missing or damaged, or pycocotools is not installed.
    """
    from wsss_lightning.data.coco import Split, write_voc_layout
    from wsss_lightning.utils.console import track

    command = parser()
    given = command.parse_args(arguments)
    invalid = [text for text in given.splits if not all(text.partition("="))]
    if invalid:
        command.error(f"--splits {invalid[0]}: expected NAME=FOLDER, as in train=train2014")
    splits = {}
    for text in given.splits:
        name, _, folder = text.partition("=")
        file = given.source / "annotations" / f"instances_{folder}.json"
        splits[name] = Split(file, given.source / folder)
    try:
        counts = write_voc_layout(splits, given.target, given.crowds, track, given.split_folders)
    except ModuleNotFoundError as error:
        raise InputError(f"{error}; pip install 'wsss-lightning[coco]'") from error
    for name, count in counts.items():
        print(
            f"{name}: {count.images} images, {count.tagged} with objects, "
            f"{count.objects} objects, {count.crowds} of them crowds"
        )
    print(f"data=coco2014 data.root={given.target}")


if __name__ == "__main__":
    from wsss_lightning.__main__ import main as run

    run(["import-coco", *sys.argv[1:]])
