"""A trained network with what its use needs: classes, colours and settings of the prediction.

Letters: b images, c classes, k = c + 1 labels with background first, H W an image.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from wsss_lightning.errors import InputError, did_you_mean
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.methods.cam_predictor import CamPredictor
from wsss_lightning.methods.segmentation.module import Segmenter
from wsss_lightning.predict.images import to_tensor
from wsss_lightning.predict.model_info import ModelInfo

KINDS = {"segmentation": Segmenter, "classification": TagMethod}


@final
class TrainedModel(nn.Module):
    """A trained network; `load` returns it in evaluation mode.

    Args:
        module: the trained module.
        info: classes, colours and settings of the prediction.

    Raises:
        TypeError: the module does not fit the task.
    """

    def __init__(self, module: Segmenter | TagMethod, info: ModelInfo) -> None:
        super().__init__()
        if not isinstance(module, KINDS[info.task]):
            raise TypeError(f"{type(module).__name__} is no module for {info.task}")
        self.module, self.info = module, info

    @property
    def classes(self) -> list[str]:
        """Names of labels 1, 2, ..., without background."""
        return self.info.classes

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.module.parameters()).device

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Tensor:
        """Logits: (b k H W) of a segmentation network, (b c) of a classifier.

        Args:
            image: RGB in [0, 1], not normalised; the network subtracts its own mean.

        Raises:
            InputError: the image has another shape, type or range.
        """
        # the checks depend on values, which no exported program can follow
        if not (torch.jit.is_tracing() or torch.compiler.is_compiling()):
            check_batch(image)
        return self.module(image)

    @torch.no_grad()
    def cams(
        self, image: Any, tags: Sequence[str] | None = None
    ) -> dict[str, Float[np.ndarray, "H W"]]:
        """CAM scores of an image in [0, 1), by class, with the settings of the run.

        Args:
            image: a path, PIL image, array or tensor, as `Predictor` takes them; one image.
            tags: classes that the image shows; None: those with a predicted probability above 0.5.

        Raises:
            InputError: the model is no classifier, a tag is no class, or the image cannot be read.
        """
        if not isinstance(self.module, TagMethod):
            raise InputError(
                "only classifiers have CAMs, but this is a segmentation network; load the "
                'classifier of the run with load(RUN, network="classifier")'
            )
        batch = to_tensor(image)[None].to(self.device)
        settings = self.info.cam_settings
        if tags is None:
            present = self.module(settings.view(batch)).sigmoid() > 0.5
        else:
            self._check_tags(tags)
            present = torch.tensor([[name in tags for name in self.classes]], device=self.device)
        reader = CamPredictor(self.module, replace(settings, tags="given"))
        scores = reader.score(batch, present.to(batch))[0].cpu().numpy()
        return {self.classes[i]: scores[i] for i in np.flatnonzero(present[0].cpu().numpy())}

    def _check_tags(self, tags: Sequence[str]) -> None:
        if isinstance(tags, str):
            raise InputError(f'tags is the text {tags!r}, but must be a list, as in ["{tags}"]')
        for name in tags:
            if name not in self.classes:
                raise InputError(
                    f"tags has {name}, which is no class of this model; "
                    f"{did_you_mean(str(name), self.classes)}"
                )


def check_batch(image: Any) -> None:
    """Check that images are a float tensor (b 3 H W) in [0, 1].

    Raises:
        InputError: they are not; the message says how to convert them.
    """
    if not isinstance(image, Tensor):
        raise InputError(
            f"image is {type(image).__name__}, but must be a tensor (b 3 H W); Predictor takes "
            "paths, PIL images and arrays"
        )
    if image.dim() != 4 or image.shape[1] != 3 or 0 in image.shape:
        raise InputError(
            f"image has the shape {tuple(image.shape)}, but must be (b 3 H W), such as "
            "(1, 3, 375, 500); image[None] adds the batch"
        )
    if not image.is_floating_point():
        raise InputError(
            f"image is {image.dtype}, but must be float in [0, 1]; divide levels 0..255 by 255, or "
            "use Predictor, which converts uint8"
        )
    low, high = image.amin().item(), image.amax().item()
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"image lies in [{low:.4g}, {high:.4g}], but must lie in [0, 1]; divide levels 0..255 "
            "by 255, and leave out a normalisation, since the network subtracts its own mean"
        )
