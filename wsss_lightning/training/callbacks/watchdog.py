"""What should not go on for hours: a loss that is no number, and masks that show nothing.

Letters: c classes, H W an image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import UInt8
from torch import Tensor

from wsss_lightning.data.batch import Batch
from wsss_lightning.errors import InputError
from wsss_lightning.ops.masks import IGNORE
from wsss_lightning.utils.files import write_atomically
from wsss_lightning.utils.text import shorten

REPRO = "repro.pt"
MANY = 0.1  # share of images from which on masks of one label are worth an alarm
# shares of background that no data set of objects has (VOC 0.73, COCO some 0.65)
LEAST, MOST = 0.05, 0.97


@final
class NonFiniteLossGuard(pl.Callback):
    """Stops a training whose loss is NaN or infinite, before its gradient reaches the weights.

    Leaves `repro.pt` in `folder`: the batch, its names, all state and random numbers of that step,
    which `stages.replay` takes again. A checkpoint of weights that are no numbers is never
    written, so the last good one stays.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.batch: Batch | None = None
        self.before: list[str] = []
        self.random: Tensor = torch.zeros(0)

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.before = [] if self.batch is None else self.batch["name"]
        self.batch, self.random = batch, torch.get_rng_state()

    def on_before_backward(
        self, trainer: pl.Trainer, module: pl.LightningModule, loss: Tensor
    ) -> None:
        if torch.isfinite(loss).all() or self.batch is None:
            return
        path = self.folder / (f"{trainer.global_rank}-{REPRO}" if trainer.global_rank else REPRO)
        self._save(trainer, module, path)
        bad = _not_finite(module)
        if bad:
            cause = (
                f"{shorten(bad)} had no finite weights before it, so the gradient of the step before "
                f"was not finite (images {', '.join(self.before) or 'of an earlier start'})"
            )
        else:
            cause = "all weights were finite"
        raise InputError(
            f"the loss is {loss.item()} in epoch {trainer.current_epoch}, step "
            f"{trainer.global_step}, on the images {', '.join(self.batch['name'])}; {cause}. "
            f"{path} replays the step (docs/resume.md). Look at these images; else lower the "
            "learning rate (optimizer.lr), or set trainer.precision=32-true or "
            "+trainer.gradient_clip_val=1."
        )

    def on_save_checkpoint(
        self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        bad = _not_finite(module)
        if bad:
            names = ", ".join(self.batch["name"]) if self.batch is not None else "unknown"
            raise InputError(
                f"the step {trainer.global_step} left no finite weights in {shorten(bad)}, on the "
                f"images {names}, though its loss was finite; the checkpoint before it stays. "
                "Lower the learning rate (optimizer.lr), or set +trainer.gradient_clip_val=1."
            )

    def _save(self, trainer: pl.Trainer, module: pl.LightningModule, path: Path) -> None:
        kept = {
            "batch": self.batch,
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seed": self.seed,
            "random": self.random,
            "module": (self.folder / "module.yaml").read_text(),
            "state_dict": module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        }
        write_atomically(path, lambda file: torch.save(kept, file))


class PseudoMaskAlarms:
    """Counts labels of masks as they are made, and says what hardly any data set has.

    Args:
        classes: names of labels 1 and above.
        predicted: the masks are predictions of a segmentation network, not pseudo masks that one
            is trained on; a single image may then well be of one label.
    """

    def __init__(self, classes: Sequence[str], predicted: bool = False) -> None:
        self.classes, self.predicted = classes, predicted
        self.counts = np.zeros(IGNORE + 1, np.int64)
        self.tagged = np.zeros(len(classes), np.int64)
        self.of_one_label: list[str] = []
        self.images = 0

    def update(self, name: str, mask: UInt8[np.ndarray, "H W"], tags: Tensor) -> None:
        """Args: tags: (c) multi-hot, of this image."""
        counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)
        self.counts += counts
        here = tags.numpy().astype(bool)
        self.tagged += here
        self.images += 1
        # of an image without a tag, background alone is right
        if here.any() and np.count_nonzero(counts[:IGNORE]) < 2:
            self.of_one_label.append(name)

    def alarms(self) -> list[str]:
        """What is wrong with all masks together; empty where nothing is."""
        told = []
        if not self.predicted and len(self.of_one_label) > MANY * self.images:
            told.append(
                f"{len(self.of_one_label)} of {self.images} masks are empty or of one label alone, "
                f"though their images are tagged ({shorten(self.of_one_label)})"
            )
        labelled = self.counts[:IGNORE].sum()
        if labelled == 0:
            return [*told, "no pixel has a label"]
        share = self.counts[0] / labelled
        if not LEAST <= share <= MOST:
            part = "predicted pixels" if self.predicted else "pixels"
            hint = "pictures and losses of the training" if self.predicted else "background score"
            told.append(
                f"background has {100 * share:.1f} % of the {part}, which hardly any data set has; "
                f"look at the {hint}"
            )
        gone = [
            name
            for i, name in enumerate(self.classes)
            if self.tagged[i] and self.counts[i + 1] == 0
        ]
        if gone:
            kind = "prediction" if self.predicted else "mask"
            told.append(f"no {kind} shows {shorten(gone)}, though images are tagged so")
        return told


def _not_finite(module: pl.LightningModule) -> list[str]:
    """Names of parameters that hold NaN or infinity."""
    named = [(n, p.detach()) for n, p in module.named_parameters() if p.is_floating_point()]
    # one answer from the device for all of them
    good = torch.stack([torch.isfinite(p).all() for _, p in named]).tolist() if named else []
    return [name for (name, _), fine in zip(named, good, strict=True) if not fine]
