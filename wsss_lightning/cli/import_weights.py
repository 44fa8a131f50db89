"""`python -m wsss_lightning.cli.import_weights IN.pth OUT.safetensors`: official networks.

IN is a checkpoint of PSA, SEAM, SC-CAM or AffinityNet, ImageNet's weights in their layout, IRN's
classifier or boundaries, DeepLab-v1 of semantic-segmentation-codebase or DeepLab-v2 of
deeplab-pytorch. OUT has the names of `CamNet` (PSA, IRN's classifier), `SubCamNet` (SC-CAM),
`SeamNet`, `AffinityNet`, `BoundaryNet`, `DeepLabV1` or `DeepLabV2` here. A recipe needs no such
step: backbone.weights, method.net.weights, refine.module.net.weights and segmenter.net.weights read
official files as they are.
"""

import argparse
import sys
from pathlib import Path

from safetensors.torch import save_file

from wsss_lightning.errors import InputError
from wsss_lightning.nets.weights import MARKS, is_official, read_official, read_weights


def convert(source: Path, target: Path) -> str:
    """Write an official checkpoint in our names.

    Returns:
        What was found, in words.

    Raises:
        InputError: the file cannot be read, or does not fit; the message lists its keys.
    """
    if target.suffix != ".safetensors":
        raise InputError(f"{target} does not end in .safetensors, which is what is written.")
    state = read_weights(source)
    if not is_official(state):
        raise InputError(
            f"{source} is neither of the ResNet38 family nor IRN's nor a DeepLab's: it has none of "
            f"{', '.join(MARKS)}, but {', '.join(sorted(state)[:5])}. Weights of other backbones "
            "need no conversion: set backbone.weights to the file."
        )
    found = read_official(state, source)
    save_file({key: value.contiguous() for key, value in found.state.items()}, target)
    left = f"; left out, since nothing here has them: {', '.join(found.left_out)}"
    return (
        f"{source}: {found.network}, {len(found.encoder)} tensors of the backbone and "
        f"{len(found.heads)} of heads ({', '.join(sorted(found.heads)) or 'none'})"
        f"{left if found.left_out else ''}\nwritten to {target}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m wsss_lightning.cli.import_weights", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument("source", type=Path, metavar="IN.pth")
    parser.add_argument("target", type=Path, metavar="OUT.safetensors")
    told = parser.parse_args()
    try:
        print(convert(told.source, told.target))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
