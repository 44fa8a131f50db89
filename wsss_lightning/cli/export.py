"""`wsss-lightning export`: a trained network as ONNX, torch.export or safetensors file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsss_lightning.cli.parser import verb_parser
from wsss_lightning.errors import InputError
from wsss_lightning.export.settings import (
    DEFAULT_OUTPUTS,
    FORMATS,
    OPSET,
    OUTPUTS,
    PREPROCESSING,
    SIZE,
    ExportSettings,
    check_format,
)
from wsss_lightning.utils.console import print_plain

DESCRIPTION = """
Write a trained network to one file for other programs. RUN_OR_MODEL is a run's folder or its
model.safetensors.

The file is compared with the network in PyTorch at two sizes before it is left in place; if they
differ, nothing is written.
"""
EXAMPLES = (
    "export runs/cam --out cam.onnx --benchmark",
    "export runs/cam --preprocessing inside --output mask",
    "export runs/cam --format torch-export --network classifier",
)
SUFFIXES = {entry.suffix: name for name, entry in FORMATS.items()}


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    made = verb_parser("export", DESCRIPTION, EXAMPLES)
    formats = "; ".join(f"{name}: {entry.summary}" for name, entry in FORMATS.items())
    outputs = "; ".join(
        f"of a model for {task}: {', '.join(names)} (default: {' '.join(DEFAULT_OUTPUTS[task])})"
        for task, names in OUTPUTS.items()
    )
    add: Any = made.add_argument
    add("model", metavar="RUN_OR_MODEL", help="folder of a run or model, or a .safetensors file")
    add("--format", metavar="F", help=f"{formats} (default: by the suffix of --out, or onnx)")
    add("--out", type=Path, metavar="FILE", help="file to write (default: in this folder)")
    add("--network", metavar="N", help="segmentation or classifier, of a run that has both")
    add("--output", nargs="+", metavar="NAME", help=f"outputs of the file; {outputs}")
    add(
        "--preprocessing",
        default="none",
        metavar="P",
        help=f"{' or '.join(PREPROCESSING)}: none takes float32 images (batch 3 height width) in "
        "[0, 1], inside takes uint8 images (batch height width 3) (default: %(default)s)",
    )
    add("--opset", type=int, metavar="N", help=f"version of ONNX's operators (default: {OPSET})")
    add(
        "--size",
        type=int,
        nargs=2,
        default=SIZE,
        metavar=("H", "W"),
        help="height and width of the compared images in pixels (default: "
        f"{' '.join(map(str, SIZE))})",
    )
    add("--fixed-size", action="store_true", help="accept one image of --size only")
    add("--samples", nargs="+", metavar="PHOTO", help="photos to compare (default: random colours)")
    add("--benchmark", action="store_true", help="compare the speed with PyTorch's")
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        InputError: as `wsss_lightning.export.exporter.export`.
    """
    given = parser().parse_args(arguments)
    settings = ExportSettings(
        format=_format(given.format, given.out),
        outputs=given.output,
        preprocessing=given.preprocessing,
        **({} if given.opset is None else {"opset": given.opset}),
        size=tuple(given.size),
        fixed_size=given.fixed_size,
    )
    from wsss_lightning.export.benchmark import machine
    from wsss_lightning.export.exporter import export
    from wsss_lightning.export.files import check_packages
    from wsss_lightning.predict.model_file import load

    check_packages(settings.format)  # before the model is read
    model = load(given.model, given.network)
    out = given.out or _default_path(Path(given.model), model.info.task, settings.format)
    if out.exists() and Path(given.model).exists() and out.samefile(given.model):
        raise InputError(f"--out {out} is the model itself; choose another file.")
    exported = export(model, out, settings, given.samples, given.benchmark)
    if given.benchmark:
        print_plain(f"machine    {machine()}")
    print_plain(str(exported))
    if settings.format != "safetensors":
        opset = f", opset {settings.opset}" if settings.format == "onnx" else ""
        axes = " x ".join(map(str, exported.network.input_axes))
        kind = "uint8, 0..255" if exported.network.uint8_input else "float32 in [0, 1]"
        print_plain(f"input      image: {axes}, RGB, {kind}{opset}")
        print_plain(f"outputs    {', '.join(exported.network.outputs)}")


def _format(name: str | None, out: Path | None) -> str:
    """The format of the file: as given, by the suffix of the file, or ONNX."""
    if name is not None:
        check_format(name)
    by_suffix = None if out is None else SUFFIXES.get(out.suffix)
    if out is not None and by_suffix is None:
        raise InputError(
            f"--out is {out}, but files end in {', '.join(SUFFIXES)}; add the suffix of the format."
        )
    if name and by_suffix and name != by_suffix:
        raise InputError(
            f"--format is {name}, but --out {out} ends in the suffix of {by_suffix}; leave out one "
            "of them."
        )
    return name or by_suffix or "onnx"


def _default_path(model: Path, task: str, name: str) -> Path:
    """`<run>_<network>` in the current folder, with the suffix of the format."""
    network = "classifier" if task == "classification" else "segmentation"
    place = model.expanduser().resolve()
    if place.is_file() or not (place / "models").is_dir():
        place = next((one.parent for one in place.parents if one.name == "models"), place)
    stem = place.stem if place.is_file() else place.name
    return Path(f"{stem}_{network}{FORMATS[name].suffix}")


if __name__ == "__main__":
    from wsss_lightning.__main__ import main as run

    run(["export", *sys.argv[1:]])
