"""Converts official checkpoints: `wsss_lightning.cli.import_weights IN.pth OUT.safetensors`.

IN is a checkpoint of PSA, SEAM, SC-CAM or AffinityNet, ImageNet weights in their layout, IRN's
classifier or boundary network, DeepLab-v1 of semantic-segmentation-codebase, or DeepLab-v2 of
deeplab-pytorch. OUT has the parameter names of our `CamNet` (PSA, IRN's classifier), `SubCamNet`
(SC-CAM), `SeamNet`, `AffinityNet`, `BoundaryNet`, `DeepLabV1` or `DeepLabV2`. Recipes do not need
this step: backbone.weights, method.net.weights, refine.module.net.weights and segmenter.net.weights
read official files directly.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from wsss_lightning.errors import InputError
from wsss_lightning.nets.weights import MARKS, is_official, read_official, read_weights


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


def main(given: Sequence[str] | None = None) -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m wsss_lightning.cli.import_weights", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument("source", type=Path, metavar="IN.pth")
    parser.add_argument("target", type=Path, metavar="OUT.safetensors")
    arguments = parser.parse_args(given)
    try:
        print(convert(arguments.source, arguments.target))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
