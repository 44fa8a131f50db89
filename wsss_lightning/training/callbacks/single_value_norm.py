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
    variance is 0, so batch norm would put out its bias alone and pass no gradient on; PyTorch
    raises an error instead. In such a step the layer uses its running statistics, as evaluation
    does, and leaves them as they are. The alternatives lose more: `drop_last` (torchvision's
    reference training) has nothing to train on where the batch size is 1, and a network without
    this norm (segmentation_models_pytorch leaves it out of the 1x1 pooling of PSPNet) is another
    network for larger batches too. Where a layer sees two values or more, nothing changes.

    Batch norms that are synchronised over several processes see the values of all of them, and are
    left as they are, as are those without running statistics.
    """

    def __init__(self) -> None:
        self.handles: list[RemovableHandle] = []

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.handles = normalise_single_values(module, trainer.world_size)

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


def normalise_single_values(module: nn.Module, processes: int = 1) -> list[RemovableHandle]:
    """Have each batch norm of a module do what `SingleValueNorm` describes.

    Args:
        processes: that train the module together.

    Returns:
        Handles of the hooks, by which they can be removed.
    """
    switched: set[nn.Module] = set()

    def before(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0]
        if norm.training and values.numel() == values.shape[1]:
            norm.training = False
            switched.add(norm)

    def after(norm: nn.Module, _inputs: Any, _output: Any) -> None:
        if norm in switched:
            norm.training = True
            switched.remove(norm)

    handles = []
    for part in module.modules():
        synchronised = isinstance(part, nn.SyncBatchNorm) and processes > 1
        if isinstance(part, _BatchNorm) and part.running_mean is not None and not synchronised:
            handles.append(part.register_forward_pre_hook(before))
            handles.append(part.register_forward_hook(after, always_call=True))
    return handles
