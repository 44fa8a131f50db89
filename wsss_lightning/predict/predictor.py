"""Predictions of a trained segmentation network for any images.

    from wsss_lightning.predict.predictor import Predictor

    predict = Predictor("runs/cam")
    for prediction in predict("photos"):
        print(prediction.name, prediction.areas)
        prediction.save("masks")

Letters: b images, k labels with background first, H W an image.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from wsss_lightning.data.module import SameSizeBatchSampler
from wsss_lightning.data.scores import as_stored
from wsss_lightning.densecrf.api import mean_field_batch
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.densecrf.unary import unary_from_scores
from wsss_lightning.errors import InputError
from wsss_lightning.methods.segmentation.predictor import TestSettings, marginals
from wsss_lightning.predict.devices import device_of
from wsss_lightning.predict.images import Photo, find_photos
from wsss_lightning.predict.model_file import load
from wsss_lightning.predict.prediction import Prediction
from wsss_lightning.predict.tiling import Tiled
from wsss_lightning.predict.trained_model import TrainedModel
from wsss_lightning.training.callbacks.score_writer import NEGLIGIBLE

LARGE: Final = 2048 * 2048  # pixels; larger views of an image are divided into tiles
TILE: Final = 1024  # pixels; side of these tiles
MARGINAL_BITS, REFINED_BITS = 16, 8  # in which runs store marginals before and after the CRF


@final
class Predictor:
    """Predicts masks, with the settings of the run's test unless others are given.

    Args:
        model: a trained segmentation network, or the path of one, as in `load`.
        device: `auto`, `cpu`, `cuda`, ...
        scales: sizes of the image whose logits are averaged, in units of the base size.
        flip: average with the prediction for the mirrored image.
        long_side: longer side of the image at scale 1, in pixels; 0 keeps the image's size. The
            masks always have the size of the image.
        crf: refine the masks by a dense CRF: with the run's parameters, or others.
        tile: side of the tiles of large images, in pixels; None: 1024, for images whose largest
            view has more than 2048 x 2048 pixels; 0: never.
        overlap: share of a tile that it shares with the next, in [0, 0.5].
        batch_size: largest number of images of one size that are predicted together; None: the
            run's.
        probabilities: keep the probabilities of all labels, 4 bytes for each label and pixel.

    Raises:
        InputError: the model is no segmentation network, or a value is out of range.
    """

    def __init__(
        self,
        model: TrainedModel | str | Path,
        device: str = "auto",
        scales: Sequence[float] | None = None,
        flip: bool | None = None,
        long_side: int | None = None,
        crf: bool | CRFParameters | None = None,
        tile: int | None = None,
        overlap: float = 0.25,
        batch_size: int | None = None,
        probabilities: bool = True,
    ) -> None:
        self.device = device_of(device)
        self.model = model if isinstance(model, TrainedModel) else load(model)
        if self.model.info.task != "segmentation":
            raise InputError(
                "Predictor needs a segmentation network, but the model is a classifier, which has "
                'CAMs: load(RUN, "classifier").cams(image). Runs with pipeline.segment=false train '
                "no segmentation network."
            )
        self.model.to(self.device).eval()
        self.settings = _settings(self.model.info.test_settings, scales, flip, long_side)
        self.crf = _crf(self.model, crf)
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, but must be 1 or more")
        self.batch_size = batch_size or self.model.info.batch_size
        self.tile, self.overlap = tile, overlap
        self.keep_probabilities = probabilities
        self._warned = False
        if tile != 0:
            _or_input_error(Tiled, self.model.module, tile or TILE, overlap)

    @property
    def classes(self) -> list[str]:
        """Names of labels 1, 2, ..., without background."""
        return self.model.classes

    def describe(self) -> dict[str, Any]:
        """Everything that masks depend on, besides the network and the images."""
        crf = None if self.crf is None else {**asdict(self.crf[0]), "engine": self.crf[1]}
        return {
            "scales": list(self.settings.scales),
            "flip": self.settings.flip,
            "long_side": self.settings.long_side,
            "crf": crf,
            "tile": self.tile,
            "overlap": self.overlap,
        }

    def __call__(self, images: Any) -> list[Prediction]:
        """Predict images, and return one prediction for each, in their order.

        Args:
            images: a path of a file or folder, a pattern, a PIL image, an array (H W), (H W 3) or
                (b H W 3), a tensor (3 H W) or (b 3 H W), or an iterable of these. Integers are
                levels, uint8 0..255 or uint16 0..65535; floats must lie in [0, 1].

        Raises:
            InputError: an image does not exist, cannot be read, or has another shape, type or
                range.
        """
        return self._all(list(find_photos(images)))

    def stream(self, images: Any) -> Iterator[Prediction]:
        """As a call, but yields one prediction after the other, which keeps memory small.

        Args:
            images: as in a call; a generator is read as far as needed.
        """
        photos = find_photos(images)
        while chunk := list(islice(photos, 4 * self.batch_size)):
            yield from self._all(chunk)

    def tile_of(self, size: tuple[int, int]) -> int | None:
        """Side of the tiles in which an image of a size (H, W) is predicted; None: as a whole."""
        long_side = self.settings.long_side
        base = 1.0 if long_side is None else long_side / max(size)
        height, width = (side * base * max(self.settings.scales) for side in size)
        if self.tile is None:
            return TILE if height * width > LARGE else None
        return self.tile if self.tile and max(height, width) > self.tile else None

    @torch.inference_mode()
    def predict_batch(
        self, names: Sequence[str], image: Float[Tensor, "b 3 H W"]
    ) -> list[Prediction]:
        """Predict images of one size.

        Args:
            names: of the images.
            image: RGB in [0, 1].
        """
        network: nn.Module = self.model.module
        if tile := self.tile_of((image.shape[-2], image.shape[-1])):
            network = Tiled(network, tile, self.overlap)
        marginal = marginals(network, image.to(self.device), self.settings)
        pixels = [_levels(one) for one in image]
        if self.crf is None:
            masks = list(marginal.argmax(1).byte().cpu().numpy())
            probabilities: Sequence[Tensor] = list(marginal)
        else:
            masks, probabilities = _refine(marginal, pixels, *self.crf)
        return [
            Prediction(
                name=name,
                mask=mask,
                probabilities=one.cpu().numpy() if self.keep_probabilities else None,
                classes=self.classes,
                image=levels,
            )
            for name, mask, one, levels in zip(names, masks, probabilities, pixels, strict=True)
        ]

    def batches(self, sizes: Sequence[tuple[int, int]]) -> list[list[int]]:
        """Positions of the images of each batch: those of one size, fewer of large images.

        Args:
            sizes: (H, W) of each image.
        """
        batches = []
        for batch in SameSizeBatchSampler(sizes, self.batch_size):
            height, width = sizes[batch[0]]
            most = max(1, LARGE // (height * width))
            batches += [batch[i : i + most] for i in range(0, len(batch), most)]
        return batches

    def _all(self, photos: Sequence[Photo]) -> list[Prediction]:
        predictions: dict[int, Prediction] = {}
        sizes = [photo.size for photo in photos]
        self._warn_of_tiles(photos, sizes)
        for batch in self.batches(sizes):
            image = torch.stack([photos[i].read() for i in batch])
            names = [photos[i].name for i in batch]
            predictions |= dict(zip(batch, self.predict_batch(names, image), strict=True))
        return [predictions[i] for i in range(len(photos))]

    def _warn_of_tiles(self, photos: Sequence[Photo], sizes: Sequence[tuple[int, int]]) -> None:
        if self.tile is not None or self._warned:
            return
        tiled = [
            (p.name, size) for p, size in zip(photos, sizes, strict=True) if self.tile_of(size)
        ]
        if tiled:
            self._warned = True
            name, (height, width) = tiled[0]
            warnings.warn(
                f"{name} has {width}x{height} pixels and is predicted in tiles of {TILE}. "
                f"{size_hint(self.model)}",
                stacklevel=4,
            )


def size_hint(model: TrainedModel) -> str:
    """Advice on the size of images, from the sizes of training."""
    sizes = {key: value for key, value in model.info.sizes.items() if value is not None}
    given = ", ".join(f"{key} {value}" for key, value in sizes.items()) or "unknown sizes"
    return (
        f"The network was trained with {given}; objects that are much larger than in its training "
        "images are often missed, and long_side reduces photos to such a size."
    )


def _settings(
    base: TestSettings,
    scales: Sequence[float] | None,
    flip: bool | None,
    long_side: int | None,
) -> TestSettings:
    given: dict[str, Any] = {"scales": scales if scales is None else list(scales), "flip": flip}
    changes = {key: value for key, value in given.items() if value is not None}
    if long_side is not None:
        changes["long_side"] = long_side or None
    return _or_input_error(replace, base, **changes)


def _crf(
    model: TrainedModel, given: bool | CRFParameters | None
) -> tuple[CRFParameters, str] | None:
    if isinstance(given, CRFParameters):
        return given, "auto"
    if given is False or (given is None and not model.info.uses_crf):
        return None
    parameters = model.info.crf_parameters
    if parameters is None:
        raise InputError("crf is True, but the model has no CRF; give CRFParameters")
    return parameters


def _refine(
    marginal: Float[Tensor, "b k H W"],
    pixels: Sequence[UInt8[np.ndarray, "H W 3"]],
    parameters: CRFParameters,
    engine: str,
) -> tuple[list[np.ndarray], list[Tensor]]:
    """Masks and marginals after the CRF, rounded as a run rounds them when it stores them."""
    if engine not in ("auto", "torch"):  # engines of the CPU
        marginal = marginal.cpu()
    labels = [torch.nonzero(one.flatten(1).amax(1) > NEGLIGIBLE).flatten() for one in marginal]
    kept = [
        as_stored(one[present], MARGINAL_BITS)
        for one, present in zip(marginal, labels, strict=True)
    ]
    refined = mean_field_batch(
        [torch.from_numpy(one) for one in pixels],
        [unary_from_scores(one) for one in kept],
        parameters,
        engine,
        threads=torch.get_num_threads(),
    )
    masks, full = [], []
    for one, present in zip(refined, labels, strict=True):
        one, whole = one.clamp(0, 1), torch.zeros_like(marginal[0])
        whole[present] = as_stored(one, REFINED_BITS).to(whole)
        masks.append(whole.argmax(0).byte().cpu().numpy())
        whole[present] = one.to(whole)
        full.append(whole)
    return masks, full


def _levels(image: Float[Tensor, "3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Levels 0..255 of an image in [0, 1]."""
    return np.ascontiguousarray((image * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def _or_input_error(build: Any, *values: Any, **named: Any) -> Any:
    """Call a constructor, whose errors name our own parameters."""
    try:
        return build(*values, **named)
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from error
