"""Parameter groups and decay of the learning rate, as the field sets them."""

from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import PolynomialLR


def parameter_groups(
    net: nn.Module,
    backbone: nn.Module,
    lr: float,
    weight_decay: float,
    head_multiplier: float,
    bias_multiplier: float,
    decay_biases: bool,
) -> list[dict[str, Any]]:
    """Split parameters by backbone or head, and by bias or not.

    Parameters that need no gradient are left out, and so are groups that remain empty.

    Args:
        backbone: part of `net` that is trained at `lr`.
        head_multiplier: learning rate of all other parts, in units of `lr`.
        bias_multiplier: learning rate of biases, in units of their part's learning rate.
        decay_biases: whether weight decay applies to biases.

    Source: `get_parameter_groups` of the official PSA code has multipliers of 10 and 2, and no
    weight decay of biases; `train_cam.py` of the official IRN code has 10 and 1, with weight decay.
    """
    inside = {id(parameter) for parameter in backbone.parameters()}
    groups = []
    for is_backbone, part_multiplier in ((True, 1.0), (False, head_multiplier)):
        for is_bias in (False, True):
            chosen = [
                parameter
                for name, parameter in net.named_parameters()
                if parameter.requires_grad
                and (id(parameter) in inside) == is_backbone
                and name.endswith("bias") == is_bias
            ]
            rate = lr * part_multiplier * (bias_multiplier if is_bias else 1)
            decay = weight_decay if decay_biases or not is_bias else 0.0
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
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
