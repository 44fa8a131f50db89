"""`python -m wsss_lightning.cli.import_coco COCO OUT`: COCO 2014 in the layout of `data=coco2014`.

COCO holds train2014/, val2014/ and annotations/instances_*.json, as they are downloaded. OUT gets
masks, lists and tags, and links to the images and annotations. Interrupted, it goes on.
"""

import argparse
import sys
from pathlib import Path

from wsss_lightning.data.coco import Split, write_voc_layout
from wsss_lightning.errors import InputError
from wsss_lightning.utils.console import track


def main() -> None:
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
        help="what masks hold where COCO has a crowd; papers have background",
    )
    parser.add_argument(
        "--split-folders",
        action="store_true",
        help="a folder of its own for the images of each split, where splits share file names",
    )
    told = parser.parse_args()
    wrong = [word for word in told.splits if not all(word.partition("="))]
    if wrong:
        parser.error(f"--splits {wrong[0]}: expected NAME=FOLDER, as in train=train2014")
    splits = {}
    for word in told.splits:
        name, _, folder = word.partition("=")
        file = told.source / "annotations" / f"instances_{folder}.json"
        splits[name] = Split(file, told.source / folder)
    try:
        found = write_voc_layout(splits, told.target, told.crowds, track, told.split_folders)
    except ModuleNotFoundError as error:
        print(f"error: {error}; pip install 'wsss-lightning[coco]'", file=sys.stderr)
        raise SystemExit(1) from error
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    for name, counts in found.items():
        print(
            f"{name}: {counts.images} images, {counts.tagged} with an object, "
            f"{counts.objects} objects, {counts.crowds} of them crowds"
        )
    print(f"data=coco2014 data.root={told.target}")


if __name__ == "__main__":
    main()
