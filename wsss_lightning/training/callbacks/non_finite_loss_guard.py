"""Stops a training whose loss is NaN or infinite."""

from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch
from torch import Tensor

from wsss_lightning.data.batch import Batch
from wsss_lightning.errors import InputError
from wsss_lightning.utils.files import write_atomically
from wsss_lightning.utils.text import shorten

REPRO = "repro.pt"


@final
class NonFiniteLossGuard(pl.Callback):
    """Stops a training whose loss is NaN or infinite, before the backward pass.

    Reads batches, losses and parameters, and changes none of them. When it stops a training, it
    writes `repro.pt` below `folder`: the batch, the random state and all states of that step, which
    `steps.train.replay` recomputes. It also stops before a checkpoint with NaN or infinite
    weights is written, so the last good checkpoint is kept.

    Args:
        folder: folder of the training, with its `module.yaml`.
        seed: seed of the training.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.batch: Batch | None = None
        self.previous_names: list[str] = []
        self.random: Tensor = torch.zeros(0)

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.previous_names = [] if self.batch is None else self.batch["name"]
        self.batch, self.random = batch, torch.get_rng_state()

    def on_before_backward(
        self, trainer: pl.Trainer, module: pl.LightningModule, loss: Tensor
    ) -> None:
        if torch.isfinite(loss).all() or self.batch is None:
            return
        path = self.folder / (f"{trainer.global_rank}-{REPRO}" if trainer.global_rank else REPRO)
        self._save(trainer, module, path)
        names = non_finite_parameters(module)
        if names:
            images = ", ".join(self.previous_names) or "unknown, before a restart"
            cause = (
                f"{shorten(names)} were not finite before this step, so the gradient of the step "
                f"before was not finite (its images: {images})"
            )
        else:
            cause = "all weights were finite"
        raise InputError(
            f"the loss is {loss.item()} in epoch {trainer.current_epoch}, step "
            f"{trainer.global_step}, for the images {', '.join(self.batch['name'])}; {cause}. "
            f"{path} replays the step (docs/resume.md). Check these images; otherwise lower the "
            "learning rate (optimizer.lr), or set trainer.precision=32-true or "
            "+trainer.gradient_clip_val=1."
        )

    def on_save_checkpoint(
        self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        names = non_finite_parameters(module)
        if names:
            images = ", ".join(self.batch["name"]) if self.batch is not None else "unknown"
            raise InputError(
                f"after step {trainer.global_step}, {shorten(names)} are not finite, although the "
                f"loss was (images: {images}); the checkpoint before it is kept. Lower the "
                "learning rate (optimizer.lr), or set +trainer.gradient_clip_val=1."
            )

    def _save(self, trainer: pl.Trainer, module: pl.LightningModule, path: Path) -> None:
        state = {
            "batch": self.batch,
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seed": self.seed,
            "random": self.random,
            "module": (self.folder / "module.yaml").read_text(),
            "state_dict": module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        }
        write_atomically(path, lambda file: torch.save(state, file))


def non_finite_parameters(module: pl.LightningModule) -> list[str]:
    """Names of the parameters that hold NaN or infinity."""
    named = [(n, p.detach()) for n, p in module.named_parameters() if p.is_floating_point()]
    if not named:
        return []
    # one transfer from the device for all parameters
    finite = torch.stack([torch.isfinite(p).all() for _, p in named]).tolist()
    return [name for (name, _), is_finite in zip(named, finite, strict=True) if not is_finite]
