"""How CAMs are read from a trained classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jaxtyping import Float
from torch import Tensor

from wsss_lightning.ops.alignment import ALIGNMENTS, view_of

CHOICES: Final = {
    "tags": ("given", "predicted"),
    "alignment": ALIGNMENTS,
    "normalisation": ("min_max", "max"),
}


@dataclass(frozen=True)
class CamSettings:
    """How CAMs are read from a trained classifier; independent of how it was trained.

    Args:
        scales: sizes of the image, in units of the base size; positive.
        flip: add the CAM of the mirrored image.
        long_side: longer side of the image at scale 1, in pixels; None keeps the image's size.
        layer: Grad-CAM of this layer of the network, a dotted name such as `encoder.layer4`;
            None: the CAM of the method.
        sub_maps: the maximum over the CAMs of a class's sub-categories instead of its own CAM.
        tags: "given" sets the scores of classes outside the tags to zero; "predicted" those of
            classes with a probability of at most 0.5.
        alignment: how images are resized and CAMs enlarged (`ops.alignment`): "aligned" keeps CAM
            and image aligned; "irn" and "psa" reproduce the official codes.
        normalisation: "min_max" as in SEAM (`max_normalise`); "max" as in PSA, SC-CAM and IRN,
            x / (max + 1e-5). CAMs of sub-categories are always divided by their maximum.
        stride: output stride of the network, in pixels.

    Raises:
        ValueError: a value is out of range, or `sub_maps` and `layer` are both set.
    """

    scales: Sequence[float] = (1.0,)
    flip: bool = False
    long_side: int | None = None
    layer: str | None = None
    sub_maps: bool = False
    tags: str = "given"
    alignment: str = "aligned"
    normalisation: str = "min_max"
    stride: int = 16

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(
                f"scales is {list(self.scales)}, but at least one positive scale is needed, such "
                "as [0.5, 1.0, 1.5, 2.0]"
            )
        if self.long_side is not None and self.long_side < 1:
            raise ValueError(
                f"long_side is {self.long_side}, but must be a positive number of pixels, or null "
                "to keep the size of images"
            )
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name} is {value}, but must be {' or '.join(choices)}")
        if self.sub_maps and self.layer is not None:
            raise ValueError(
                f"sub_maps is true and layer is {self.layer}, but Grad-CAM has no CAMs of "
                "sub-categories; set sub_maps to false, or layer to null"
            )

    def view(self, image: Float[Tensor, "b 3 H W"], scale: float = 1.0) -> Float[Tensor, "b 3 _ _"]:
        """The image at a scale of the base size."""
        base = 1.0 if self.long_side is None else self.long_side / max(image.shape[-2:])
        return view_of(image, scale * base, self.alignment, self.stride)
