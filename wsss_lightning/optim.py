"""Parameter groups and decay of the learning rate, as the field sets them."""

from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import PolynomialLR


def parameter_groups(
    net: nn.Module, backbone: nn.Module, lr: float, weight_decay: float, factor: float
) -> list[dict[str, Any]]:
    """Backbone at lr, the rest of the net at factor * lr; biases at twice that, without decay.

    Parameters that need no gradient are left out, and so are groups that remain empty.

    Source: `get_parameter_groups` of the official PSA code, factors 1, 2, 10, 20.
    """
    inside = {id(parameter) for parameter in backbone.parameters()}
    groups = []
    for is_backbone, times in ((True, 1.0), (False, factor)):
        for is_bias, rate, decay in ((False, 1, weight_decay), (True, 2, 0.0)):
            chosen = [
                parameter
                for name, parameter in net.named_parameters()
                if parameter.requires_grad
                and (id(parameter) in inside) == is_backbone
                and name.endswith("bias") == is_bias
            ]
            groups.append({"params": chosen, "lr": rate * times * lr, "weight_decay": decay})
    return [group for group in groups if group["params"]]


def polynomial(optimizer: Optimizer, total_steps: int, power: float) -> PolynomialLR:
    """lr_t = lr_0 (1 - t / total_steps) ** power, one t a step; 0 after the last."""
    return PolynomialLR(optimizer, total_iters=max(1, total_steps), power=power)


def freeze_batch_norm(module: nn.Module) -> None:
    """Batch norms normalise by their stored statistics and no longer update them.

    `train()` undoes this, so a module that wants it calls it at the end of its own `train`.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
