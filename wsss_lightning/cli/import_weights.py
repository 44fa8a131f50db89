"""`wsss-lightning import-weights`: official checkpoints with our parameter names."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsss_lightning.cli.parser import verb_parser
from wsss_lightning.errors import InputError

DESCRIPTION = """
Convert an official checkpoint. IN is a checkpoint of PSA, SEAM, SC-CAM or AffinityNet, ImageNet
weights in their layout, IRN's classifier or boundary network, DeepLab-v1 of
semantic-segmentation-codebase, or DeepLab-v2 of deeplab-pytorch. OUT has the parameter names of our
CamNet (PSA, IRN's classifier), SubCamNet (SC-CAM), SeamNet, AffinityNet, BoundaryNet, DeepLabV1 or
DeepLabV2.

Recipes do not need this step: backbone.weights, method.net.weights, refine.module.net.weights and
segmenter.net.weights read official files directly.
"""
EXAMPLES = ("import-weights res38_cls.pth res38_cls.safetensors",)


def convert(source: Path, target: Path) -> str:
    """Write an official checkpoint with our parameter names.

    Args:
        source: official checkpoint.
        target: file to write, `.safetensors`.

    Returns:
        A summary of what was converted.

    Raises:
        InputError: the file cannot be read, or is not an official checkpoint.
    """
    from safetensors.torch import save_file

    from wsss_lightning.nets.weights import MARKS, is_official, read_official, read_weights

    if target.suffix != ".safetensors":
        raise InputError(f"{target} must end in .safetensors, the format that is written.")
    state = read_weights(source)
    if not is_official(state):
        raise InputError(
            f"{source} is no checkpoint of the ResNet38 family, IRN or DeepLab: it has none of "
            f"the parameters {', '.join(MARKS)}, but {', '.join(sorted(state)[:5])}. Weights of "
            "other backbones need no conversion: set backbone.weights to the file."
        )
    official = read_official(state, source)
    save_file({key: value.contiguous() for key, value in official.state.items()}, target)
    left_out = f"; left out, because no network here uses them: {', '.join(official.left_out)}"
    return (
        f"{source}: {official.network}, {len(official.encoder)} tensors of the backbone and "
        f"{len(official.heads)} of heads ({', '.join(sorted(official.heads)) or 'none'})"
        f"{left_out if official.left_out else ''}\nwritten to {target}"
    )


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    made = verb_parser("import-weights", DESCRIPTION, EXAMPLES)
    made.add_argument("source", type=Path, metavar="IN.pth", help="official checkpoint")
    made.add_argument("target", type=Path, metavar="OUT.safetensors", help="file to write")
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        InputError: as `convert`.
    """
    given = parser().parse_args(arguments)
    print(convert(given.source, given.target))


if __name__ == "__main__":
    from wsss_lightning.__main__ import main as run

    run(["import-weights", *sys.argv[1:]])
