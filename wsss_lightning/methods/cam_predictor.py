"""Prediction of CAM scores with a trained classifier, the same for all methods.

Letters: b images, c classes, d channels, h w a map, H W an image.
"""

from typing import Any, final

import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wsss_lightning.data.batch import Batch
from wsss_lightning.methods.base import TagMethod
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.nets.backbones import submodule
from wsss_lightning.ops.alignment import map_sizes, place
from wsss_lightning.ops.cam import grad_cam, max_normalise, normalise_jointly
from wsss_lightning.ops.resize import resize_to


@final
class CamPredictor(pl.LightningModule):
    """Predicts CAM scores of each image, over several scales and its mirror image.

    `predict_step` returns `name` and what `scores` returns.

    Args:
        method: a trained classifier.
        settings: scales, layer and normalisation of the CAMs.
    """

    def __init__(self, method: TagMethod, settings: CamSettings) -> None:
        super().__init__()
        self.method, self.settings = method, settings

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {"name": batch["name"], **self.scores(batch["image"], batch["tags"])}

    def score(
        self, image: Float[Tensor, "b 3 H W"], tags: Float[Tensor, "b c"]
    ) -> Float[Tensor, "b c H W"]:
        """Normalised scores in [0, 1); zero for classes outside the tags."""
        return self.scores(image, tags)["score"]

    def scores(
        self, image: Float[Tensor, "b 3 H W"], tags: Float[Tensor, "b c"]
    ) -> dict[str, Tensor]:
        """`score` (b c H W) in [0, 1), zero for classes outside the tags.

        With IRN's alignment also `strided` (b c h w), from which IRN's random walk starts.

        Args:
            image: RGB in [0, 1].
            tags: multi-hot.

        Source: `infer_cls.py` of the official PSA code and `step/make_cam.py` of IRN's; the
        normalisation "min_max" is `max_norm` of SEAM's.
        """
        settings, size = self.settings, _size(image)
        if settings.tags == "predicted":
            tags = (self.method(settings.view(image)).sigmoid() > 0.5).to(tags)
        scores = {
            name: image.new_zeros(*tags.shape, *sides)
            for name, sides in map_sizes(size, settings.alignment).items()
        }
        # enlarging maps dominates the cost, so classes without a tag in the batch are skipped
        present = torch.nonzero(tags.any(0)).squeeze(1)
        if len(present) == 0:
            return scores
        totals = dict.fromkeys(scores, image.new_zeros(()))
        for scale in settings.scales:
            view = settings.view(image, scale)
            views = torch.cat([view, view.flip(-1)]) if settings.flip else view
            cams = self._positive_cams(views, tags.repeat(len(views) // len(view), 1), present)
            placed = place(
                cams, _size(view), size, settings.alignment, settings.stride, settings.flip
            )
            totals = {name: totals[name] + placed[name] for name in scores}
        for name, total in totals.items():
            if settings.sub_maps or settings.normalisation == "max":
                normalised = normalise_jointly(total.unflatten(1, (len(present), -1))).amax(2)
            else:
                normalised = max_normalise(total)
            scores[name][:, present] = normalised * tags[:, present, None, None]
        return scores

    def grad_cam(
        self, image: Float[Tensor, "b 3 H W"], tags: Float[Tensor, "b c"], layer: str
    ) -> Float[Tensor, "b c h w"]:
        """Grad-CAM of a named layer for the tagged classes; zero for the others.

        Images of a batch are independent in evaluation mode, so one backward pass serves one class
        of each image. The number of passes is the largest number of tags of an image.

        Args:
            image: RGB in [0, 1].
            tags: multi-hot.
            layer: dotted name of the layer.

        Source: Selvaraju et al. 2017, eq. 1-2, of the logit.
        """
        with torch.inference_mode(False), torch.enable_grad():
            # autograd rejects tensors of inference mode, but accepts their copies
            image, tags = image.clone(), tags.clone()
            logits, activation = self.activation(image.requires_grad_(), layer)
            maps = activation.new_zeros(*tags.shape, *activation.shape[-2:])
            passes = int(tags.sum(1).max())
            # the n-th present class of every image, for n = 0, 1, ...
            order = tags.argsort(dim=1, descending=True, stable=True)
            for n in range(passes):
                has = tags.sum(1) > n
                chosen = logits.gather(1, order[:, n : n + 1]).squeeze(1)[has]
                (gradient,) = torch.autograd.grad(
                    chosen.sum(), activation, retain_graph=n + 1 < passes
                )
                rows = torch.nonzero(has).squeeze(1)
                maps[rows, order[rows, n]] = grad_cam(activation, gradient).detach()[rows]
        return maps

    def activation(
        self, image: Float[Tensor, "b 3 H W"], layer: str
    ) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b d h w"]]:
        """Logits, and the output of a named layer of the network.

        Raises:
            ValueError: there is no such layer, or its output is not a map.
        """
        outputs: list[Tensor] = []
        handle = submodule(self.method.net, layer, "layer").register_forward_hook(
            lambda _module, _inputs, output: outputs.append(_deepest(output))
        )
        try:
            logits = self.method(image)
        finally:
            handle.remove()
        if not outputs or outputs[-1].dim() != 4:
            shape = tuple(outputs[-1].shape) if outputs else "nothing"
            raise ValueError(
                f"layer is {layer}, but must have maps (b d h w) as output, such as the last stage "
                f"of the encoder; the output of {layer} is {shape}"
            )
        return logits, outputs[-1]

    def _positive_cams(
        self,
        views: Float[Tensor, "b 3 H W"],
        tags: Float[Tensor, "b c"],
        present: Int[Tensor, "_"],
    ) -> Float[Tensor, "b n h w"]:
        """Positive part of the CAMs of the present classes, or of their sub-categories."""
        settings = self.settings
        if settings.layer:
            maps = self.grad_cam(views, tags, settings.layer)
        elif settings.sub_maps:
            maps = self.method.sub_cam(views)
        else:
            maps = self.method.cam(views)
        # the maps of a class are adjacent: one, or one of each sub-category
        maps = maps.unflatten(1, (tags.shape[1], -1))[:, present].flatten(1, 2).relu()
        if self.method.enlarges_cam and settings.alignment != "aligned" and not settings.layer:
            maps = resize_to(maps, _size(views))
        return maps


def _size(image: Float[Tensor, "b 3 H W"]) -> tuple[int, int]:
    return (image.shape[-2], image.shape[-1])


def _deepest(output: Any) -> Tensor:
    """The last map of an encoder that returns a list of maps."""
    return output[-1] if isinstance(output, (list, tuple)) else output
