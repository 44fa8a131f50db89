"""Parameter groups and decay of the learning rate, as the field sets them."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import PolynomialLR


def parameter_groups(
    backbone: nn.Module, heads: Iterable[nn.Module], lr: float, weight_decay: float, factor: float
) -> list[dict[str, Any]]:
    """Backbone at lr, heads at factor * lr; biases at twice that, without decay.

    Parameters that need no gradient are left out, and so are groups that remain empty.

    Source: `get_parameter_groups` of the official PSA code, factors 1, 2, 10, 20.
    """
    groups = []
    for modules, times in (([backbone], 1.0), (list(heads), factor)):
        named = [p for m in modules for p in m.named_parameters() if p[1].requires_grad]
        weights = [p for name, p in named if not name.endswith("bias")]
        biases = [p for name, p in named if name.endswith("bias")]
        groups.append({"params": weights, "lr": times * lr, "weight_decay": weight_decay})
        groups.append({"params": biases, "lr": 2 * times * lr, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def polynomial(optimizer: Optimizer, steps: int, power: float) -> PolynomialLR:
    """lr_t = lr_0 (1 - t / steps) ** power, one t a step."""
    return PolynomialLR(optimizer, total_iters=max(1, steps), power=power)


def freeze_batch_norm(module: nn.Module) -> None:
    """Batch norms normalise by their stored statistics and no longer update them."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
