"""A trained network with the inputs and outputs of its exported file.

Letters: b images, c classes, k = c + 1 labels with background first, h w a map, H W an image.
"""

import copy
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from wsss_lightning.predict.trained_model import TrainedModel


@final
class ExportNetwork(nn.Module):
    """A trained network with named outputs, and with preprocessing on request.

    Outputs of a segmentation network: logits (b k H W), their softmax `probabilities`, and `mask`
    (b H W), the most probable label as uint8. Outputs of a classifier: logits (b c), their sigmoid
    `probabilities`, and `cams` (b c h w), unbounded, at the stride of the network.

    The network is copied, so that the model stays as it is.

    Args:
        model: the trained model.
        outputs: names of the outputs, in order.
        uint8_input: take uint8 images (b H W 3) instead of float32 images (b 3 H W) in [0, 1].
    """

    def __init__(self, model: TrainedModel, outputs: Sequence[str], uint8_input: bool) -> None:
        super().__init__()
        self.module: Any = copy.deepcopy(model.module).cpu().eval().requires_grad_(False)
        self.segments = model.info.task == "segmentation"
        self.outputs, self.uint8_input = tuple(outputs), uint8_input
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if self.uint8_input:
            image = image.permute(0, 3, 1, 2).float() / 255
        made: dict[str, Tensor] = {}
        if self.outputs != ("cams",):
            logits = self.module(image)
            made["logits"] = logits
            made["probabilities"] = logits.softmax(1) if self.segments else logits.sigmoid()
        if "mask" in self.outputs:
            made["mask"] = made["logits"].argmax(1).to(torch.uint8)
        if "cams" in self.outputs:
            made["cams"] = self.module.cam(image)
        return tuple(made[name] for name in self.outputs)

    def to_input(self, image: Tensor) -> Tensor:
        """Images (b 3 H W) in [0, 1] as the input of `forward`."""
        if self.uint8_input:
            return (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return image

    @property
    def input_axes(self) -> tuple[str | int, ...]:
        """Names of the input's axes, and the number of its channels."""
        if self.uint8_input:
            return ("batch", "height", "width", 3)
        return ("batch", 3, "height", "width")

    def output_axes(self, name: str) -> tuple[str | None, ...]:
        """Names of an output's axes; None for its channels."""
        if name == "mask":
            return ("batch", "height", "width")
        if name == "cams":
            return ("batch", None, "cam_height", "cam_width")
        return ("batch", None, "height", "width") if self.segments else ("batch", None)
