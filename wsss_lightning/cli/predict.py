"""`wsss-lightning predict`: masks of photos by a trained network."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss_lightning.cli.parser import verb_parser
from wsss_lightning.errors import InputError
from wsss_lightning.utils.console import print_plain
from wsss_lightning.utils.machine_errors import explain_machine_error

if TYPE_CHECKING:
    from wsss_lightning.predict.folders import Summary

DESCRIPTION = """
Predict masks of photos with a trained network. MODEL is a run's folder or its model.safetensors.
PHOTOS are files, folders with their sub-folders, or quoted patterns. DIR gets masks/ (index images
with the palette of Pascal VOC), areas.csv and classes.json.

Repeat an interrupted command to resume. Exit code 1 if a photo cannot be read; the others are done.
"""
EXAMPLES = (
    "predict runs/cam photos --out masks --overlays",
    "predict model.safetensors 'a/*.jpg' --out masks --long-side 512",
)
MEMORY_OPTIONS = ("--batch-size", "--tile", "--workers")


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    made = verb_parser("predict", DESCRIPTION, EXAMPLES)
    add: Any = made.add_argument
    add("model", metavar="MODEL", help="folder of a run or model, or a .safetensors file")
    add("photos", nargs="+", metavar="PHOTOS", help="image files, folders or quoted patterns")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the results")
    add("--overlays", action="store_true", help="also overlays/, the photos under their masks")
    add(
        "--probabilities",
        action="store_true",
        help="also probabilities/, .npz files of float16 (labels, height, width)",
    )
    add("--overwrite", action="store_true", help="replace results of other settings in DIR")
    of_run = made.add_argument_group("prediction", "by default as the run was tested")
    add = of_run.add_argument
    add("--scales", type=_scales, metavar="X,Y,...", help="scales to average over, such as 0.5,1")
    add(
        "--flip",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="average with the mirror image",
    )
    add("--crf", action=argparse.BooleanOptionalAction, default=None, help="refine by a dense CRF")
    add(
        "--long-side",
        type=int,
        metavar="N",
        help="reduce or enlarge photos to this longer side in pixels; 0 keeps their size",
    )
    add(
        "--tile",
        type=int,
        metavar="N",
        help="side of the tiles of large photos in pixels; 0: no tiles; default: 1024 for photos "
        "of more than 2048x2048 pixels",
    )
    add(
        "--overlap",
        type=float,
        default=0.25,
        metavar="X",
        help="share of a tile that it shares with the next, 0 to 0.5 (default: %(default)s)",
    )
    machine = made.add_argument_group("machine")
    add = machine.add_argument
    add("--device", default="auto", metavar="D", help="cpu, cuda, cuda:1, mps (default: auto)")
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="photos of one size at once (default: the run's)",
    )
    add(
        "--workers",
        type=int,
        default=2,
        metavar="N",
        help="processes that read photos (default: %(default)s)",
    )
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        InputError: an argument, the model or the folder cannot be used, the machine failed, or
            photos cannot be read; all others are done then.
    """
    given = parser().parse_intermixed_args(arguments)
    try:
        summary = _predict(given)
    except InputError:
        raise
    except Exception as error:
        message = explain_machine_error(error, "", MEMORY_OPTIONS, "for the results: --out DIR")
        if not message:  # a defect of this package
            raise
        raise InputError(message) from error
    if summary.unreadable:
        errors = "\n".join(f"  {error}" for error in summary.unreadable)
        raise InputError(
            f"{len(summary.unreadable)} photos cannot be read; all others are done:\n{errors}"
        )


def _predict(given: argparse.Namespace) -> "Summary":
    from wsss_lightning.predict.folders import predict_files
    from wsss_lightning.predict.images import check_names, find_files
    from wsss_lightning.predict.output import OutputFolder, fingerprint
    from wsss_lightning.predict.predictor import Predictor

    if given.workers < 0:
        raise InputError(f"--workers is {given.workers}, but must be 0 or more.")
    out = given.out.expanduser()
    files = [
        (name, path)
        for one in given.photos
        for name, path in find_files(one)
        if out.absolute() not in path.absolute().parents  # results of an earlier command
    ]
    files = list(dict.fromkeys(files))
    if not files:
        raise InputError(f"all photos are in {out}, the folder of the results; give photos.")
    check_names(files)
    predictor = Predictor(
        given.model,
        given.device,
        given.scales,
        given.flip,
        given.long_side,
        given.crf,
        given.tile,
        given.overlap,
        given.batch_size,
        given.probabilities,
    )
    settings = {"model": fingerprint(predictor.model), **predictor.describe()}
    output = OutputFolder(out, settings, given.overlays, given.probabilities, given.overwrite)
    print_plain(f"{len(files)} photos → {out}, on {predictor.device}")
    summary = predict_files(predictor, files, output, given.workers)
    if summary.skipped:
        print_plain(f"{summary.skipped} photos were finished before")
    if summary.predicted:
        rate = summary.predicted / summary.seconds
        print_plain(f"{summary.predicted} photos in {summary.seconds:.1f} s: {rate:.1f} per second")
    print_plain(f"masks     {out}/masks/\nareas     {out}/areas.csv")
    return summary


def _scales(text: str) -> list[float]:
    try:
        return [float(part) for part in text.strip("[]").split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text} is no list of numbers such as 0.5,1,1.5"
        ) from error
