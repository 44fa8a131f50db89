"""Devices by name."""

import torch

from wsss_lightning.errors import InputError


def device_of(name: str) -> torch.device:
    """The device of a name, checked to exist.

    Args:
        name: `auto` for the first accelerator, or else the CPU; or `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        InputError: there is no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"device is {name}, but must be auto, cpu, cuda, mps, or a numbered one, such as cuda:1"
        ) from error
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if (device.index or 0) >= counts.get(device.type, 0):
        present = [
            f"{kind}:{i}" if kind == "cuda" else kind
            for kind, count in counts.items()
            for i in range(count)
        ]
        raise InputError(
            f"device is {name}, but this machine and this PyTorch have {', '.join(present)}; "
            "choose one of these, or auto"
        )
    return device
