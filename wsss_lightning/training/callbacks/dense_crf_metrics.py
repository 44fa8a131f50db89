"""mIoU of a network's predictions with and without a DenseCRF, during training or testing.

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
class DenseCRFMetrics(pl.Callback):
    """Logs `<stage>/miou_without_crf` and `<stage>/miou_crf` of validation and test.

    Reads the output of `validation_step` or `test_step`: probabilities (b k H W), or a mapping that
    holds them under the key `output`. In a mapping it replaces them by the marginals of the CRF,
    for the callbacks that follow. Logged values cover the images of all processes.

    Args:
        parameters: parameters of the CRF.
        num_classes: number of classes without background.
        engine: as in `densecrf.api.mean_field`.
        threads: number of threads of the engine `native`, which share the images of a batch.
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
        self._reset(module)

    def on_test_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._reset(module)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        self._update(outputs, batch)

    def on_test_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        self._update(outputs, batch)

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._log(module, "val")

    def on_test_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._log(module, "test")

    def refine(
        self, image: Float[Tensor, "b 3 H W"], marginal: Float[Tensor, "b k H W"]
    ) -> Float[Tensor, "b k H W"]:
        """Marginals of the CRF; zero for labels whose probability is negligible everywhere."""
        pixels = (image * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        likely = marginal.float().flatten(2).amax(2) > NEGLIGIBLE
        unaries = [
            unary_from_scores(score[labels].float())
            for score, labels in zip(marginal, likely, strict=True)
        ]
        of_likely = mean_field_batch(
            list(pixels), unaries, self.parameters, self.engine, self.threads
        )
        refined = torch.zeros_like(marginal, dtype=torch.float32)
        for target, labels, score in zip(refined, likely, of_likely, strict=True):
            target[labels] = torch.as_tensor(score)
        return refined

    def _reset(self, module: pl.LightningModule) -> None:
        for confusion in (self.without, self.refined):
            confusion.to(module.device).reset()

    def _update(self, outputs: Any, batch: Batch) -> None:
        is_mapping = isinstance(outputs, Mapping)
        marginal = outputs.get(self.output) if is_mapping else outputs
        if not isinstance(marginal, Tensor) or marginal.dim() != 4:
            given = f"a mapping of {', '.join(outputs)}" if is_mapping else type(marginal).__name__
            raise InputError(
                f"the output of the module's step is {given}, but DenseCRFMetrics needs "
                f"probabilities (b k H W); return them, or a dict with {self.output}=... (the "
                "callback's argument `output` sets the key)."
            )
        marginal = marginal.detach()
        refined = self.refine(batch["image"], marginal)
        self.without.update(marginal.argmax(1), batch["mask"])
        self.refined.update(refined.argmax(1), batch["mask"])
        if is_mapping:
            outputs[self.output] = refined

    def _log(self, module: pl.LightningModule, stage: str) -> None:
        for name, confusion in (("miou_without_crf", self.without), ("miou_crf", self.refined)):
            # `compute` sums the confusion matrices of all processes
            value = torch.tensor(miou(confusion.compute()), dtype=torch.float32)
            module.log(f"{stage}/{name}", value, prog_bar=name == "miou_crf")
