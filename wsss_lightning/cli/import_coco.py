"""Converts COCO 2014 to the layout of `data=coco2014`: `wsss_lightning.cli.import_coco COCO OUT`.

COCO holds train2014/, val2014/ and annotations/instances_*.json, as downloaded. OUT gets masks,
lists and tags, and links to the images and annotations. Repeat an interrupted command to resume.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsss_lightning.data.coco import Split, write_voc_layout
from wsss_lightning.errors import InputError
from wsss_lightning.utils.console import track


def main(given: Sequence[str] | None = None) -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m wsss_lightning.cli.import_coco", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument("source", type=Path, metavar="COCO")
    parser.add_argument("target", type=Path, metavar="OUT")
    parser.add_argument(
        "--splits",
        nargs="+",
        default=["train=train2014", "val=val2014"],
        metavar="NAME=FOLDER",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--crowds",
        choices=("background", "ignore"),
        default="background",
        help="label of crowd regions in the masks; papers use background",
    )
    parser.add_argument(
        "--split-folders",
        action="store_true",
        help="a separate image folder for each split, needed if splits share file names",
    )
    arguments = parser.parse_args(given)
    invalid = [text for text in arguments.splits if not all(text.partition("="))]
    if invalid:
        parser.error(f"--splits {invalid[0]}: expected NAME=FOLDER, as in train=train2014")
    splits = {}
    for text in arguments.splits:
        name, _, folder = text.partition("=")
        file = arguments.source / "annotations" / f"instances_{folder}.json"
        splits[name] = Split(file, arguments.source / folder)
    try:
        counts = write_voc_layout(
            splits, arguments.target, arguments.crowds, track, arguments.split_folders
        )
    except ModuleNotFoundError as error:
        print(f"error: {error}; pip install 'wsss-lightning[coco]'", file=sys.stderr)
        raise SystemExit(1) from error
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    for name, count in counts.items():
        print(
            f"{name}: {count.images} images, {count.tagged} with objects, "
            f"{count.objects} objects, {count.crowds} of them crowds"
        )
    print(f"data=coco2014 data.root={arguments.target}")


if __name__ == "__main__":
    main()
