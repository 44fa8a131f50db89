"""Predictions to disk as they come, one file an image.

Letters: b images, c classes, k = c + 1 with background first, H W an image.
"""

from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch

from wsss_lightning.data.scores import save_mask, save_score
from wsss_lightning.data.stage_files import image_file

# labels that nowhere reach this probability cannot win a pixel, even after the CRF
NEGLIGIBLE = 1e-3


@final
class ScoreWriter(pl.Callback):
    """Reads `predict_step`'s outputs and writes them below `folder`; changes nothing.

    `score` (b c H W) becomes `<name>.npz` of the classes that are present, beside it `strided`
    (b c h w), where there is such; `marginal` (b k H W) becomes the label map `<name>.png` and,
    with `keep_marginals`, `<name>.npz` of the labels that matter. `marginal` beside `keys`, the
    labels of an image's maps, becomes `<name>.npz` alone.
    Each file is whole or absent, so an interrupted prediction goes on behind the last.
    """

    def __init__(self, folder: Path, bits: int, keep_marginals: bool = False) -> None:
        self.folder, self.bits, self.keep_marginals = folder, bits, keep_marginals

    def on_predict_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        for i, name in enumerate(outputs["name"]):
            if "score" in outputs:
                maps = {key: outputs[key][i] for key in ("score", "strided") if key in outputs}
                shown = torch.stack([one.flatten(1).any(1) for one in maps.values()]).any(0)
                classes = torch.nonzero(shown).flatten().cpu()
                kept = {key: one.cpu()[classes] for key, one in maps.items()}
                path = image_file(self.folder, name, ".npz")
                save_score(path, keys=classes + 1, bits=self.bits, **kept)
                continue
            marginal = outputs["marginal"][i]
            if "keys" in outputs:
                path = image_file(self.folder, name, ".npz")
                save_score(path, marginal.cpu(), outputs["keys"][i].cpu(), self.bits)
                continue
            if self.keep_marginals:
                matters = marginal.flatten(1).amax(1) > NEGLIGIBLE
                here = torch.nonzero(matters).flatten()
                path = image_file(self.folder, name, ".npz")
                save_score(path, marginal[here].cpu(), here.cpu(), self.bits)
            # last, since its presence says that the image is done
            path = image_file(self.folder, name, ".png")
            save_mask(path, marginal.argmax(0).byte().cpu().numpy())
