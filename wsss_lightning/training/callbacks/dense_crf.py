"""What the CRF would do to a network's predictions, while it is trained or tested.

Letters: b images, k labels with background first, H W an image.
"""

from collections.abc import Mapping
from typing import Any, final

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor

from wsss_lightning.data.batch import Batch
from wsss_lightning.densecrf.api import mean_field_batch
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.densecrf.unary import unary_from_scores
from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.metrics import Confusion, miou
from wsss_lightning.training.callbacks.score_writer import NEGLIGIBLE


@final
class DenseCRF(pl.Callback):
    """Logs `<stage>/miou_without_crf` and `<stage>/miou_crf` of validation and test.

    Reads what `validation_step` or `test_step` puts out, probabilities (b k H W), as they are or
    under `output` in a mapping; there they are replaced by the CRF's, so callbacks listed behind
    this one see these. Every process counts its own images; the logged figures are of all.

    Args:
        num_classes: without background.
        engine: of `densecrf.mean_field`.
        threads: that the engine `native` shares a batch's images between.
        output: key of the probabilities.
    """

    def __init__(
        self,
        parameters: CRFParameters,
        num_classes: int,
        engine: str = "auto",
        threads: int = 1,
        output: str = "marginal",
    ) -> None:
        self.parameters, self.engine, self.threads = parameters, engine, threads
        self.output = output
        self.without, self.refined = (Confusion(num_classes + 1) for _ in range(2))

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._begin(module)

    def on_test_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._begin(module)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        self._count(outputs, batch)

    def on_test_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        self._count(outputs, batch)

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._log(module, "val")

    def on_test_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._log(module, "test")

    def refine(
        self, image: Float[Tensor, "b 3 H W"], marginal: Float[Tensor, "b k H W"]
    ) -> Float[Tensor, "b k H W"]:
        """Marginals of the CRF; labels that are nowhere likely stay out, and are zero."""
        pixels = (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        likely = marginal.float().flatten(2).amax(2) > NEGLIGIBLE
        unaries = [
            unary_from_scores(m[here].float()) for m, here in zip(marginal, likely, strict=True)
        ]
        refined = torch.zeros_like(marginal, dtype=torch.float32)
        found = mean_field_batch(list(pixels), unaries, self.parameters, self.engine, self.threads)
        for whole, here, part in zip(refined, likely, found, strict=True):
            whole[here] = torch.as_tensor(part)
        return refined

    def _begin(self, module: pl.LightningModule) -> None:
        for confusion in (self.without, self.refined):
            confusion.to(module.device).reset()

    def _count(self, outputs: Any, batch: Batch) -> None:
        mapping = isinstance(outputs, Mapping)
        marginal = outputs.get(self.output) if mapping else outputs
        if not isinstance(marginal, Tensor) or marginal.dim() != 4:
            had = f"a mapping of {', '.join(outputs)}" if mapping else type(marginal).__name__
            raise InputError(
                f"the module's step puts out {had}; DenseCRF reads probabilities (b k H W): return "
                f"them, or a dict with {self.output}=... (the callback's `output` names the key)."
            )
        marginal = marginal.detach()
        refined = self.refine(batch["image"], marginal)
        self.without.update(marginal.argmax(1), batch["mask"])
        self.refined.update(refined.argmax(1), batch["mask"])
        if mapping:
            outputs[self.output] = refined

    def _log(self, module: pl.LightningModule, stage: str) -> None:
        for name, confusion in (("miou_without_crf", self.without), ("miou_crf", self.refined)):
            # the matrices are summed over processes before
            value = torch.tensor(miou(confusion.compute()), dtype=torch.float32)
            module.log(f"{stage}/{name}", value, prog_bar=name == "miou_crf")
