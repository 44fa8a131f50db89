"""Batch norm of a single value per channel."""

from typing import Any, final

import pytorch_lightning as pl
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle


@final
class SingleValueNorm(pl.Callback):
    """Normalises a single value per channel by the running statistics during training.

    A batch of one image has one value per channel in the pooled branch of DeepLab, and in every
    deep layer if the crop is as small as the network's stride. Its mean is the value itself and its
    variance is 0, so the output of batch norm would be its bias, without gradient; PyTorch raises
    an error instead. In such a step the layer uses its running statistics, as in evaluation, and
    does not update them. Layers with two values or more are unchanged.

    The alternatives are worse: with `drop_last` (torchvision's reference training) a batch size of
    1 has no batch to train on, and removing this norm (as segmentation_models_pytorch does in the
    1x1 pooling of PSPNet) would change the network for larger batches too.

    Batch norms that are synchronised over several processes see the values of all of them and are
    left unchanged, as are those without running statistics.
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
    """Register hooks on each batch norm of a module that do what `SingleValueNorm` describes.

    Args:
        module: to hook into.
        processes: number of processes that train the module.

    Returns:
        Handles that remove the hooks.
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
