"""Writes predictions to disk, one file for each image.

Letters: b images, c classes, k = c + 1 with background first, l labels of an image, H W an image.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch

from wsss_lightning.data.scores import save_mask, save_score
from wsss_lightning.data.stage_files import image_file

NEGLIGIBLE = 1e-3
"""A label whose probability is nowhere above this cannot win a pixel, even after the CRF."""


@final
class ScoreWriter(pl.Callback):
    """Reads the outputs of `predict_step` and writes them below `folder`; changes nothing.

    - `score` (b c H W), and `strided` (b c h w) if present: `<name>.npz` of the classes with a
      positive score.
    - `marginal`, a list of (l H W), with `keys`, their labels: `<name>.npz`.
    - `marginal` (b k H W): the most likely labels `<name>.png` and, with `keep_marginals`,
      `<name>.npz` of the labels that are not negligible.

    Each file is complete or absent, so that an interrupted prediction can be resumed.

    Args:
        folder: folder of the files.
        bits: number of bits of a stored score, 8 or 16.
        keep_marginals: whether marginals are written in addition to label maps.
    """

    def __init__(self, folder: Path, bits: int, keep_marginals: bool = False) -> None:
        self.folder, self.bits, self.keep_marginals = folder, bits, keep_marginals

    def on_predict_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        for i, name in enumerate(outputs["name"]):
            if "score" in outputs:
                self._write_scores(name, outputs, i)
            elif "keys" in outputs:
                path = image_file(self.folder, name, ".npz")
                save_score(path, outputs["marginal"][i].cpu(), outputs["keys"][i].cpu(), self.bits)
            else:
                self._write_labels(name, outputs["marginal"][i])

    def _write_scores(self, name: str, outputs: Mapping[str, Any], i: int) -> None:
        maps = {key: outputs[key][i] for key in ("score", "strided") if key in outputs}
        positive = torch.stack([one.flatten(1).any(1) for one in maps.values()]).any(0)
        classes = torch.nonzero(positive).flatten().cpu()
        written = {key: one.cpu()[classes] for key, one in maps.items()}
        path = image_file(self.folder, name, ".npz")
        save_score(path, keys=classes + 1, bits=self.bits, **written)

    def _write_labels(self, name: str, marginal: torch.Tensor) -> None:
        if self.keep_marginals:
            labels = torch.nonzero(marginal.flatten(1).amax(1) > NEGLIGIBLE).flatten()
            path = image_file(self.folder, name, ".npz")
            save_score(path, marginal[labels].cpu(), labels.cpu(), self.bits)
        # the label map comes last: its presence marks an image as finished
        path = image_file(self.folder, name, ".png")
        save_mask(path, marginal.argmax(0).byte().cpu().numpy())
