"""Batch norm of a single value a channel."""

from typing import Any, final

import pytorch_lightning as pl
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle


@final
class SingleValueNorm(pl.Callback):
    """Normalises a single value a channel by the running statistics while a network is trained.

    A batch of one image has one value a channel in the pooled branch of DeepLab, and in every deep
    layer if the crop is as small as the network's stride. Its mean is the value itself and its
    variance is 0, so batch norm would put out the bias alone and learn nothing; PyTorch raises an
    error instead. Such a step uses the running statistics, as evaluation does, and leaves them as
    they are. Alternatives lose more: `drop_last` (torchvision's references) trains on nothing where
    the batch size is 1, and segmentation_models_pytorch builds its 1x1 pooling of PSPNet without
    batch norm, which changes the network of larger batches too. Where a layer sees two values or
    more, nothing changes.

    Batch norms that are synchronised over several processes see the values of all of them, and are
    left as they are, as are those without running statistics.
    """

    def __init__(self) -> None:
        self.handles: list[RemovableHandle] = []
        self.switched: set[nn.Module] = set()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for part in module.modules():
            synchronised = isinstance(part, nn.SyncBatchNorm) and trainer.world_size > 1
            if isinstance(part, _BatchNorm) and part.running_mean is not None and not synchronised:
                self.handles += [
                    part.register_forward_pre_hook(self._before),
                    part.register_forward_hook(self._after, always_call=True),
                ]

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._remove()

    def on_exception(
        self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def _before(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0]
        if norm.training and values.numel() == values.shape[1]:
            norm.training = False
            self.switched.add(norm)

    def _after(self, norm: nn.Module, inputs: Any, output: Any) -> None:
        if norm in self.switched:
            norm.training = True
            self.switched.remove(norm)
