"""The base class of methods that learn from image-level labels, and optimisers of all methods.

Letters: b images, c classes, k sub-categories of a class, h w a map, H W an image.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, final

import pytorch_lightning as pl
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from wsss_lightning.data.batch import Batch
from wsss_lightning.evaluation.metrics import TagMetrics
from wsss_lightning.methods.cam_settings import CamSettings
from wsss_lightning.nets.optim import parameter_groups, polynomial
from wsss_lightning.ops.losses import tag_loss


class NetworkModule(pl.LightningModule):
    """A network with the optimiser and the learning rates that all methods share.

    Args:
        net: the network. It has an `encoder`; all other parameters count as head.
        optimizer: builds the optimiser from parameter groups: a partial with `lr` and
            `weight_decay`.
        head_lr_multiplier: learning rate of the head divided by that of the encoder.
        poly_power: exponent of the polynomial decay of the learning rate.
        bias_lr_multiplier: learning rate of biases divided by that of weights.
        decay_biases: whether weight decay applies to biases.
    """

    net: Any

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., Optimizer],
        head_lr_multiplier: float,
        poly_power: float,
        bias_lr_multiplier: float,
        decay_biases: bool,
    ) -> None:
        super().__init__()
        self.net = net
        self.optimizer, self.poly_power = optimizer, poly_power
        self.head_lr_multiplier = head_lr_multiplier
        self.bias_lr_multiplier, self.decay_biases = bias_lr_multiplier, decay_biases

    @final
    def configure_optimizers(self) -> Any:
        """The optimiser, with polynomial decay over all training steps."""
        optimizer = make_optimizer(self)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = polynomial(optimizer, steps, self.poly_power)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class TagMethod(NetworkModule, ABC):
    """A classifier that learns from tags and localises them by its CAM.

    A method defines `training_step`, `forward` and `cam`. Scoring (`CamPredictor`), validation and
    optimisers are the same for all methods, so that comparisons are fair.

    Args:
        net: builds the network from `num_classes`. The network has an `encoder`, and `features`
            returns its deepest map; all other parameters count as head.
        num_classes: number of classes without background.
        optimizer: builds the optimiser from parameter groups: a partial with `lr` and
            `weight_decay`.
        head_lr_multiplier: learning rate of the head divided by that of the encoder.
        poly_power: exponent of the polynomial decay of the learning rate.
        bias_lr_multiplier: learning rate of biases divided by that of weights; 2 in PSA.
        decay_biases: whether weight decay applies to biases.
    """

    needs_sub_tags = False  # whether training needs labels of sub-categories
    enlarges_cam = False  # whether the official network enlarges its CAM to the size of its input

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
        super().__init__(
            net(num_classes=num_classes),
            optimizer,
            head_lr_multiplier,
            poly_power,
            bias_lr_multiplier,
            decay_biases,
        )
        self.validation = CamSettings()
        self.loss = MeanMetric()  # over images, under any number of processes
        self.tag_metrics = TagMetrics(num_classes)

    @abstractmethod
    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c"]:
        """Logit of every class."""

    @abstractmethod
    def cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        """CAM of every class, unbounded."""

    def sub_cam(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b ck h w"]:
        """CAM of every sub-category, those of the first class first; unbounded.

        Raises:
            ValueError: the method has no sub-categories.
        """
        raise ValueError(f"sub_maps is True, but must be False for {type(self).__name__}")

    @final
    def validate_at(self, long_side: int | None) -> None:
        """Validate on images whose longer side is `long_side` pixels; None keeps their size."""
        self.validation = CamSettings(long_side=long_side)

    @final
    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self(self.validation.view(batch["image"]))
        self.loss.update(tag_loss(logits, batch["tags"]), len(logits))
        self.tag_metrics.update(logits.sigmoid(), batch["tags"].long())

    @final
    def on_validation_epoch_end(self) -> None:
        self.log_dict({f"val/{k}": v for k, v in self.tag_metrics.compute().items()}, prog_bar=True)
        self.log("val/loss", self.loss.compute())
        self.tag_metrics.reset()
        self.loss.reset()


def make_optimizer(module: Any) -> Optimizer:
    """The optimiser of a module's encoder and head, with the groups of `parameter_groups`.

    Args:
        module: a `TagMethod`, `Segmenter` or `AffinityModule`.

    Raises:
        ValueError: the optimiser lacks `lr` or `weight_decay` or rejects a value, or all parameters
            are frozen.
    """
    optimizer = module.optimizer
    settings = optimizer.keywords if isinstance(optimizer, partial) else {}
    if not {"lr", "weight_decay"} <= set(settings):
        raise ValueError(
            f"optimizer is given {', '.join(settings) or 'nothing'}, but must be given both lr and "
            "weight_decay, from which those of encoder and head are derived"
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
        raise ValueError("all parameters of the network are frozen; leave a layer trainable")
    try:
        return optimizer(groups)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the optimizer rejects {settings}: {error}") from error
