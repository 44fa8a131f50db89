"""What all methods that learn from tags share, so that comparing them is fair.

Letters: b images, c classes, d channels, h w a map, H W an image.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, final

import pytorch_lightning as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from wsss_lightning.data.batch import Batch
from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.metrics import TagMetrics
from wsss_lightning.nets.backbones import submodule
from wsss_lightning.nets.optim import parameter_groups, polynomial
from wsss_lightning.ops.alignment import ALIGNMENTS, map_sizes, place, view_of
from wsss_lightning.ops.cam import grad_cam, max_normalise, normalise_jointly
from wsss_lightning.ops.losses import tag_loss
from wsss_lightning.ops.resize import resize_to

_WORDS: Final = {
    "tags": ("given", "predicted"),
    "alignment": ALIGNMENTS,
    "normalisation": ("min_max", "max"),
}


@dataclass(frozen=True)
class CamSettings:
    """How score maps are read out of a trained method; no part of how it learnt.

    Args:
        scales: sizes at which the image is seen, in units of the base size.
        flip: see the mirror image as well.
        long_side: longer side at scale 1 in pixels; None: as the image is.
        layer: Grad-CAM of this layer of the network (a dotted name such as `encoder.layer4`);
            None: the method's own map.
        sub_maps: the strongest of the maps of a class's sub-categories in place of its own map.
        tags: "given" zeroes classes that the tags lack; "predicted" those with probability <= 0.5.
        alignment: how views are sized and maps enlarged (`functional.alignment`): "aligned", where
            maps do not shift, or as the official codes of "irn" or "psa" do it.
        normalisation: of a class's map: "min_max" as SEAM, `max_normalise`; "max" as PSA, SC-CAM
            and IRN, x / (max + 1e-5). Maps of sub-categories are always divided by their maximum.
        stride: distance in pixels of the cells of the map.
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
            raise InputError(
                f"cam.scales is {list(self.scales)}; give at least one positive scale, such as "
                "[0.5, 1.0, 1.5, 2.0]."
            )
        if self.long_side is not None and self.long_side < 1:
            raise InputError(
                f"cam.long_side is {self.long_side}; set a number of pixels above 0, or null to "
                "see images as they are."
            )
        for name, words in _WORDS.items():
            if (value := getattr(self, name)) not in words:
                raise InputError(f"score.{name} is {value}; set it to {' or '.join(words)}.")
        if self.sub_maps and self.layer is not None:
            raise InputError(
                f"cam.sub_maps is true and cam.layer is {self.layer}, but maps come from one "
                "place; set sub_maps to false, or layer to null."
            )


class TagMethod(pl.LightningModule, ABC):
    """A network that learns from tags and shows where it saw them.

    A method says how it learns (`training_step`), what it scores (`forward`) and its raw map
    (`cam`). How maps become scores, how tags are validated and what optimises are the same for all.

    Args:
        net: builds the network from `num_classes`; it has an `encoder`, all else counts as head,
            and `features`, the deepest map.
        num_classes: without background.
        optimizer: builds the optimiser from parameter groups; a partial that knows its `lr` and
            `weight_decay`.
        head_lr_multiplier: learning rate of the head in units of the backbone's.
        poly_power: exponent of the polynomial decay of the learning rate.
        bias_lr_multiplier: learning rate of biases in units of that of weights; 2 is PSA's.
        decay_biases: whether weight decay applies to biases.
    """

    net: Any
    wants_sub_tags = False  # whether it learns from sub-categories too
    enlarges_cam = False  # whether its official network enlarges the map to the size of its input

    def __init__(
        self,
        net: Callable[..., nn.Module],
        num_classes: int,
        optimizer: Callable[..., Optimizer],
        head_lr_multiplier: float,
        poly_power: float,
        bias_lr_multiplier: float = 2.0,
        decay_biases: bool = False,
    ) -> None:
        super().__init__()
        self.net = net(num_classes=num_classes)
        self.optimizer, self.head_lr_multiplier, self.poly_power = (
            optimizer,
            head_lr_multiplier,
            poly_power,
        )
        self.bias_lr_multiplier, self.decay_biases = bias_lr_multiplier, decay_biases
        self.reading = CamSettings()
        self.loss = MeanMetric()  # over images, however processes share them
        self.tag_metrics = TagMetrics(num_classes)

    @abstractmethod
    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c"]:
        """Logit of every class."""

    @abstractmethod
    def cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        """Raw map of every class, unbounded."""

    def sub_cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b ck h w"]:
        """Raw map of every sub-category, those of the first class first; unbounded.

        Raises:
            InputError: the method has none.
        """
        raise InputError(
            "cam.sub_maps is true, but this method knows no sub-categories; set it to false, or "
            "choose experiment=sc_cam."
        )

    @final
    def pooled(self, image: Float[Tensor, "b 3 H W"], peak: float | None) -> Float[Tensor, "b p d"]:
        """The deepest map, averaged: by what images can be compared.

        Args:
            peak: None: over the whole image, so p is 1; else p is c, of each class over the cells
                where its map reaches this share of the way from its minimum to its maximum.
        """
        view = self._sized(image)
        features = self.net.features(view)
        if peak is None:
            return features.mean((-2, -1)).unsqueeze(1)
        cam = self.cam(view)
        low, high = cam.amin((-2, -1), keepdim=True), cam.amax((-2, -1), keepdim=True)
        # lerp ends on the maximum exactly, so that a peak of 1 has a cell
        cells = (cam >= torch.lerp(low, high, peak)).to(features)
        return torch.einsum("bdhw,bphw->bpd", features, cells) / cells.sum((-2, -1)).unsqueeze(-1)

    @final
    def grad_cam(
        self, image: Float[Tensor, "b 3 H W"], tags: Float[Tensor, "b c"], layer: str
    ) -> Float[Tensor, "b c h w"]:
        """Grad-CAM of a named layer for the tagged classes; zero for the others.

        Images do not mix in evaluation, so one backward pass serves one class of every image:
        as many passes as the image with the most tags has.

        Source: Selvaraju et al. 2017, eq. 1-2, of the logit.
        """
        with torch.inference_mode(False), torch.enable_grad():
            # tensors made in inference mode cannot take part in a backward pass; copies can
            image, tags = image.clone(), tags.clone()
            logits, activation = self.activation(image.requires_grad_(), layer)
            maps = activation.new_zeros(*tags.shape, *activation.shape[-2:])
            rounds = int(tags.sum(1).max())
            # the n-th present class of every image, for n = 0, 1, ...
            order = tags.argsort(dim=1, descending=True, stable=True)
            for n in range(rounds):
                has = tags.sum(1) > n
                chosen = logits.gather(1, order[:, n : n + 1]).squeeze(1)[has]
                (gradient,) = torch.autograd.grad(
                    chosen.sum(), activation, retain_graph=n + 1 < rounds
                )
                rows = torch.nonzero(has).squeeze(1)
                maps[rows, order[rows, n]] = grad_cam(activation, gradient).detach()[rows]
        return maps

    @final
    def activation(
        self, image: Float[Tensor, "b 3 H W"], layer: str
    ) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b d h w"]]:
        """Logit of every class, and what a named layer of the network puts out on the way.

        Raises:
            InputError: there is no such layer, or it puts out no maps.
        """
        kept: list[Tensor] = []
        handle = submodule(self.net, layer, "layer").register_forward_hook(
            lambda _module, _inputs, output: kept.append(_deepest(output))
        )
        try:
            logits = self(image)
        finally:
            handle.remove()
        if not kept or kept[-1].dim() != 4:
            shape = tuple(kept[-1].shape) if kept else "nothing"
            raise InputError(
                f"cam.layer is {layer}, which puts out {shape}; choose a layer with maps "
                "(b d h w), such as the last stage of the encoder."
            )
        return logits, kept[-1]

    @final
    def score(
        self, image: Float[Tensor, "b 3 H W"], tags: Float[Tensor, "b c"]
    ) -> Float[Tensor, "b c H W"]:
        """Scores in [0, 1), zero without their tag: maps of all scales and mirrors, added."""
        return self.scores(image, tags)["score"]

    @final
    def scores(
        self, image: Float[Tensor, "b 3 H W"], tags: Float[Tensor, "b c"]
    ) -> dict[str, Tensor]:
        """`score` (b c H W), and with IRN's alignment `strided`, from which IRN's walk starts.

        Source: `infer_cls.py` of the official PSA code, `step/make_cam.py` of IRN's; the
        normalisation `min_max` is SEAM's `max_norm`.
        """
        how, size = self.reading, _size(image)
        if how.tags == "predicted":
            tags = (self(self._sized(image)).sigmoid() > 0.5).to(tags)
        scores = {
            name: image.new_zeros(*tags.shape, *sides)
            for name, sides in map_sizes(size, how.alignment).items()
        }
        present = torch.nonzero(tags.any(0)).squeeze(1)  # upsampling is the cost: skip absent ones
        if len(present) == 0:
            return scores
        totals = dict.fromkeys(scores, image.new_zeros(()))
        for scale in how.scales:
            view = self._sized(image, scale)
            views = torch.cat([view, view.flip(-1)]) if how.flip else view
            maps = self._evidence(views, tags.repeat(len(views) // len(view), 1), present)
            placed = place(maps, _size(view), size, how.alignment, how.stride, how.flip)
            totals = {name: totals[name] + placed[name] for name in scores}
        for name, total in totals.items():
            if how.sub_maps or how.normalisation == "max":
                seen = normalise_jointly(total.unflatten(1, (len(present), -1))).amax(2)
            else:
                seen = max_normalise(total)
            scores[name][:, present] = seen * tags[:, present, None, None]
        return scores

    def _evidence(
        self,
        views: Float[Tensor, "b 3 H W"],
        tags: Float[Tensor, "b c"],
        present: Int[Tensor, "_"],
    ) -> Float[Tensor, "b n h w"]:
        """Positive part of the maps of the present classes, of each one or its sub-categories'."""
        how = self.reading
        if how.layer:
            maps = self.grad_cam(views, tags, how.layer)
        else:
            maps = self.sub_cam(views) if how.sub_maps else self.cam(views)
        # maps of a class lie side by side: one, or one of each sub-category
        maps = maps.unflatten(1, (tags.shape[1], -1))[:, present].flatten(1, 2).relu()
        if self.enlarges_cam and how.alignment != "aligned" and not how.layer:
            maps = resize_to(maps, _size(views))
        return maps

    def _sized(
        self, image: Float[Tensor, "b 3 H W"], scale: float = 1.0
    ) -> Float[Tensor, "b 3 _ _"]:
        """The image at a scale of the base size."""
        how = self.reading
        base = 1.0 if how.long_side is None else how.long_side / max(image.shape[-2:])
        return view_of(image, scale * base, how.alignment, how.stride)

    @final
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self(self._sized(batch["image"]))
        self.loss.update(tag_loss(logits, batch["tags"]), len(logits))
        self.tag_metrics.update(logits.sigmoid(), batch["tags"].long())

    @final
    def on_validation_epoch_end(self) -> None:
        self.log_dict({f"val/{k}": v for k, v in self.tag_metrics.compute().items()}, prog_bar=True)
        self.log("val/loss", self.loss.compute())
        self.tag_metrics.reset()
        self.loss.reset()

    @final
    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {"name": batch["name"], **self.scores(batch["image"], batch["tags"])}

    @final
    def configure_optimizers(self) -> Any:
        return configure_training(self)


def _size(image: Float[Tensor, "b 3 H W"]) -> tuple[int, int]:
    return (image.shape[-2], image.shape[-1])


def _deepest(output: Any) -> Tensor:
    """An encoder puts out a list of maps; its last is meant."""
    return output[-1] if isinstance(output, (list, tuple)) else output


def configure_training(module: Any) -> dict[str, Any]:
    """Optimiser and polynomial decay over the steps of the fit, for `configure_optimizers`."""
    optimizer = make_optimizer(module)
    steps = int(module.trainer.estimated_stepping_batches)
    schedule = polynomial(optimizer, steps, module.poly_power)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_optimizer(module: Any) -> Optimizer:
    """Build the optimiser of a module's encoder and head (`parameter_groups`).

    Args:
        module: a `TagMethod`, `Segmenter` or `AffinityModule`.

    Raises:
        InputError: it does not set both its `lr` and its `weight_decay`, or refuses a value.
    """
    optimizer = module.optimizer
    settings = optimizer.keywords if isinstance(optimizer, partial) else {}
    if not {"lr", "weight_decay"} <= set(settings):
        raise InputError(
            f"the optimizer sets {', '.join(settings) or 'nothing'}; give both lr and "
            "weight_decay, from which the rates of backbone and head follow."
        )
    groups = parameter_groups(
        module.net,
        module.net.encoder,
        settings["lr"],
        settings["weight_decay"],
        module.head_lr_multiplier,
        module.bias_lr_multiplier,
        module.decay_biases,
    )
    if not groups:
        raise InputError("no parameter of the network learns; leave some of backbone.frozen out.")
    try:
        return optimizer(groups)
    except (TypeError, ValueError) as error:
        raise InputError(f"the optimizer refuses {settings}: {error}; mend that value.") from error
