"""`wsss-lightning import-masks`: corrected masks of a labelling tool, for training."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsss_lightning.cli.parser import VerbParser, verb_parser
from wsss_lightning.errors import InputError
from wsss_lightning.export.masks.formats import FORMATS
from wsss_lightning.utils.text import shorten

if TYPE_CHECKING:
    from wsss_lightning.data.sources.names import ImageIndex
    from wsss_lightning.export.masks.importing import ImportReport
    from wsss_lightning.export.masks.sources import RunData

DESCRIPTION = """
Read masks that were corrected in a labelling tool, and write them as index masks in the label order
of a run, for training: DIR/<name>.png and DIR/classes.json.
"""
EXAMPLES = (
    "import-masks a.zip --format cvat --run runs/cam --out b",
    "import-masks a --format voc --images b --classes cat --out c",
)


def parser() -> VerbParser:
    """Options of the command."""
    made = verb_parser("import-masks", DESCRIPTION, EXAMPLES)
    add = made.add_argument
    add("export", type=Path, metavar="EXPORT", help="file, folder or .zip that the tool exported")
    add("--format", required=True, choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    add("--run", type=Path, metavar="RUN", help="run that gives classes and images")
    add("--images", type=Path, metavar="DIR", help="folder of the images; default: the run's")
    add("--classes", metavar="A,B", help="names of labels 1, 2, ...; default: the run's")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add(
        "--map",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="rename a class of the export; NEW may be background or ignored; may be repeated",
    )
    add(
        "--overlap",
        choices=("later", "smallest"),
        default="later",
        help="which object wins where objects overlap: the later of the file, as tools draw them "
        "(default), or the smallest",
    )
    add(
        "--original",
        type=Path,
        metavar="EXPORT",
        help="the export that was corrected: masks that did not change are left out",
    )
    add(
        "--predictions",
        action="store_true",
        help="Label Studio: read predictions that nobody corrected",
    )
    add("--overwrite", action="store_true", help="replace an existing folder")
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        InputError: the export or an option cannot be used, or a package is not installed.
    """
    given = parser().parse_args(arguments)
    for name in ("export", "run", "images", "out", "original"):
        path = getattr(given, name)
        setattr(given, name, path and path.expanduser())
    _import(given)


def class_list(text: str | None) -> list[str] | None:
    """Names separated by commas.

    Raises:
        InputError: a name is empty, or occurs twice.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise InputError(
            f"--classes is {text!r}, but needs different names separated by commas, as in cat,dog."
        )
    return names


def _import(arguments: argparse.Namespace) -> None:
    from wsss_lightning.export.masks.formats import codec

    mapping = _mapping(arguments.map)
    classes = class_list(arguments.classes)
    if arguments.run is None and (arguments.images is None or classes is None):
        raise InputError(
            "the classes and images of the masks are unknown; give --run RUN, or --images DIR and "
            "--classes cat,dog."
        )
    codec(arguments.format)  # its packages are installed
    from wsss_lightning.data.sources.names import ImageIndex
    from wsss_lightning.export.masks.importing import ImportOptions, import_masks
    from wsss_lightning.export.masks.sources import open_run
    from wsss_lightning.utils.console import track

    run = None if arguments.run is None else open_run(arguments.run, arguments.images)
    if run is not None:
        index = ImageIndex(run.images, run.masks)
    elif arguments.images.is_dir():
        index = ImageIndex(arguments.images, arguments.out)
    else:
        raise InputError(f"--images is {arguments.images}, but there is no such folder.")
    options = ImportOptions(
        classes or (run.results.classes if run else []),
        index,
        mapping,
        arguments.overlap,
        arguments.predictions,
        arguments.original,
    )
    report = import_masks(
        arguments.export, arguments.format, arguments.out, options, arguments.overwrite, track
    )
    _print(report, arguments, options.classes)
    _print_missing(report, run, arguments.run, index)
    _print_use(run, arguments.out)


def _mapping(given: Sequence[str]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for text in given:
        old, _, new = text.rpartition("=")
        if not old.strip() or not new.strip():
            raise InputError(f"--map is {text!r}, but renames a class as in --map 'Kitty=cat'.")
        if mapping.setdefault(old, new.strip()) != new.strip():
            raise InputError(f"--map renames {old} to {mapping[old]} and to {new}; keep one.")
    return mapping


def _print(report: "ImportReport", arguments: argparse.Namespace, classes: Sequence[str]) -> None:
    from wsss_lightning.data.sources.masks import BACKGROUND, IGNORED
    from wsss_lightning.ops.masks import IGNORE
    from wsss_lightning.utils.console import print_plain

    print_plain(f"{len(report.names)} masks")
    if arguments.original is not None:
        print_plain(f"{len(report.unchanged)} masks did not change and are left out")
    names = {IGNORE: IGNORED, **dict(enumerate([BACKGROUND, *classes]))}
    total = sum(report.pixels.values())
    shares = [
        f"{names[label]} {100 * count / total:.1f} %"
        for label, count in sorted(report.pixels.items())
        if count
    ]
    print_plain(f"pixels: {', '.join(shares)}")
    if report.renamed:
        print_plain(
            "classes: " + ", ".join(f"{old} → {new}" for old, new in report.renamed.items())
        )
    if report.contested:
        print_plain(
            f"objects of different classes overlap in {report.contested} images "
            f"({report.contested_pixels} pixels); the {arguments.overlap} object was taken"
        )


def _print_missing(
    report: "ImportReport", run: "RunData | None", folder: Path | None, index: "ImageIndex"
) -> None:
    """Say which images the export lacks: of the training split of the run, or of the folder."""
    from wsss_lightning.data.stage_files import finished_images
    from wsss_lightning.utils.console import warn

    covered = {*report.names, *report.unchanged}
    wanted, where = set(index.names), str(index.folder)
    if run is not None and folder is not None:
        stage = folder / "pseudo"
        stage = stage if stage.is_dir() else folder / "predictions" / run.train
        wanted, where = finished_images(stage, ".png"), f"split {run.train}"
    missing = sorted(wanted - covered)
    if missing and wanted:
        warn(
            f"{len(missing)} of {len(wanted)} images of {where} are not in the export "
            f"({shorten(missing)})"
        )


def _print_use(run: "RunData | None", out: Path) -> None:
    """Say how to train on the masks."""
    from wsss_lightning.utils.console import print_plain

    folder = shlex.quote(str(out.absolute()))
    print_plain(f"masks      {out}")
    print_plain(f"instead of the pseudo masks of these images: pseudo.masks={folder}")
    has_ids = run is not None and any(
        run.results.dataset.get(key) for key in ("mask_ids", "mask_colours")
    )
    more = " data.dataset.mask_ids=null data.dataset.mask_colours=null" if has_ids else ""
    print_plain(f"as true masks: experiment=full_supervision data.dataset.mask_dir={folder}{more}")


if __name__ == "__main__":
    from wsss_lightning.__main__ import main as run

    run(["import-masks", *sys.argv[1:]])
