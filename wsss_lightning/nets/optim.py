"""Parameter groups of optimisers, and the decay of the learning rate."""

from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import PolynomialLR


def parameter_groups(
    net: nn.Module,
    backbone: nn.Module,
    lr: float,
    weight_decay: float,
    head_lr_multiplier: float,
    bias_lr_multiplier: float,
    decay_biases: bool,
) -> list[dict[str, Any]]:
    """Groups of backbone and head, each split into weights and biases.

    Parameters without gradient and empty groups are left out.

    Args:
        net: the whole network.
        backbone: part of `net` that is trained at `lr`.
        lr: learning rate.
        weight_decay: weight decay of weights.
        head_lr_multiplier: learning rate of all other parts, in units of `lr`, 0 or more.
        bias_lr_multiplier: learning rate of biases, in units of their part's, 0 or more.
        decay_biases: whether weight decay applies to biases.

    Raises:
        ValueError: a multiplier is negative.

    Source: `get_parameter_groups` of the official PSA code has multipliers of 10 and 2 and no
    weight decay of biases; `train_cam.py` of the official IRN code has 10 and 1 with weight decay.
    """
    if not head_lr_multiplier >= 0:
        raise ValueError(f"head_lr_multiplier must be >= 0, got {head_lr_multiplier}; 10 is PSA's")
    if not bias_lr_multiplier >= 0:
        raise ValueError(f"bias_lr_multiplier must be >= 0, got {bias_lr_multiplier}; 2 is PSA's")
    inside = {id(parameter) for parameter in backbone.parameters()}
    groups = []
    for is_backbone, part_multiplier in ((True, 1.0), (False, head_lr_multiplier)):
        for is_bias in (False, True):
            chosen = [
                parameter
                for name, parameter in net.named_parameters()
                if parameter.requires_grad
                and (id(parameter) in inside) == is_backbone
                and name.endswith("bias") == is_bias
            ]
            rate = lr * part_multiplier * (bias_lr_multiplier if is_bias else 1)
            decay = weight_decay if decay_biases or not is_bias else 0.0
            groups.append({"params": chosen, "lr": rate, "weight_decay": decay})
    return [group for group in groups if group["params"]]


def polynomial(optimizer: Optimizer, total_steps: int, power: float) -> PolynomialLR:
    """lr_t = lr_0 (1 - t / total_steps) ** power at step t; 0 after the last.

    Args:
        optimizer: optimiser whose learning rates decay.
        total_steps: number of steps of the schedule.
        power: exponent of the decay.
    """
    return PolynomialLR(optimizer, total_iters=max(1, total_steps), power=power)


def freeze_batch_norm(module: nn.Module) -> None:
    """Set batch norms to evaluation mode: they use their stored statistics and do not update them.

    `train()` undoes this, so call it at the end of a module's own `train`.
    """
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
