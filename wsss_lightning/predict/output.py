"""The folder of the command `predict`: finished images are kept, and settings must not change."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import torch

from wsss_lightning.data.file_facts import digests_of
from wsss_lightning.data.scores import load_mask, mask_texts, save_mask
from wsss_lightning.data.stage_files import image_file
from wsss_lightning.errors import InputError
from wsss_lightning.predict.model_info import ModelInfo
from wsss_lightning.predict.prediction import (
    Prediction,
    areas_of,
    save_overlay,
    save_probabilities,
)
from wsss_lightning.predict.trained_model import TrainedModel
from wsss_lightning.utils.files import remove_leftovers, write_json, write_table
from wsss_lightning.utils.text import shorten

SETTINGS: Final = "settings.json"
MASKS, OVERLAYS, PROBABILITIES = "masks", "overlays", "probabilities"
SUFFIXES: Final = {MASKS: ".png", OVERLAYS: ".jpg", PROBABILITIES: ".npz"}
SOURCE: Final = "photo"  # text of a mask: digest of the file that it was predicted from


@final
class OutputFolder:
    """Masks, and overlays and probabilities on request, of many images.

    Below the folder are `masks/<name>.png`, `overlays/<name>.jpg`, `probabilities/<name>.npz`,
    `areas.csv`, `classes.json` and `settings.json`. Each file is complete or absent.

    Args:
        folder: to write to; new, empty, or of an earlier command with the same settings.
        settings: everything that masks depend on, besides the images.
        overlays: whether overlays are written.
        probabilities: whether probabilities are written.
        overwrite: remove the results of an earlier command.

    Raises:
        InputError: the folder has other files, or results of other settings.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        overlays: bool = False,
        probabilities: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.folder = folder
        wanted = {MASKS: True, OVERLAYS: overlays, PROBABILITIES: probabilities}
        self.kinds = [kind for kind, is_wanted in wanted.items() if is_wanted]
        plain = json.loads(json.dumps(settings))
        earlier = self._earlier_settings()
        if earlier is not None and overwrite:
            for kind in SUFFIXES:
                shutil.rmtree(folder / kind, ignore_errors=True)
        elif earlier is not None and earlier != plain:
            changed = [
                f"{key} {earlier.get(key)}, now {plain.get(key)}"
                for key in {**earlier, **plain}
                if earlier.get(key) != plain.get(key)
            ]
            raise InputError(
                f"{folder} holds masks of other settings ({shorten(changed)}); choose another "
                "folder, or replace them with --overwrite."
            )
        for kind in self.kinds:
            (folder / kind).mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder / kind)
        write_json(folder / SETTINGS, plain)

    def _earlier_settings(self) -> dict[str, Any] | None:
        """Settings of an earlier command; None for a new or empty folder."""
        path = self.folder / SETTINGS
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; give a folder for the results.")
        if not path.is_file():
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise InputError(
                    f"{self.folder} holds other files, so results are not written there; give a "
                    "new folder."
                )
            return None
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
            return dict(settings)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{path} cannot be read ({error}), so it is unknown how the masks beside it were "
                "made; choose another folder."
            ) from error

    def finished(self, files: Sequence[tuple[str, Path]]) -> set[str]:
        """Names of the images whose results are there.

        A mask belongs to a photo if it carries the digest of the photo's file.

        Args:
            files: name and path of each image.
        """
        candidates = [
            (name, path)
            for name, path in files
            if all(self._file(kind, name).is_file() for kind in self.kinds)
        ]
        digests = digests_of(path for _, path in candidates)
        return {
            name
            for (name, _), digest in zip(candidates, digests, strict=True)
            if mask_texts(self._file(MASKS, name)).get(SOURCE) == digest
        }

    def write(self, prediction: Prediction, digest: str) -> None:
        """Write the results of an image; the mask comes last and marks the image as finished.

        Args:
            prediction: of the image.
            digest: digest of the image's file.
        """
        if OVERLAYS in self.kinds:
            save_overlay(self._file(OVERLAYS, prediction.name), prediction)
        if PROBABILITIES in self.kinds:
            save_probabilities(self._file(PROBABILITIES, prediction.name), prediction)
        save_mask(self._file(MASKS, prediction.name), prediction.mask, {SOURCE: digest})

    def write_summary(self, names: Sequence[str], info: ModelInfo) -> None:
        """Write `areas.csv`, the share of each label by image, and `classes.json`.

        Args:
            names: images whose masks are there.
            info: description of the model.
        """
        rows = [["name", *info.labels]]
        for name in names:
            areas = areas_of(load_mask(self._file(MASKS, name)), info.classes)
            rows.append([name, *(f"{share:.6f}" for share in areas.values())])
        write_table(self.folder / "areas.csv", rows)
        write_json(
            self.folder / "classes.json",
            [
                {"label": i, "name": name, "colour": colour}
                for i, (name, colour) in enumerate(zip(info.labels, info.colours, strict=True))
            ],
        )

    def _file(self, kind: str, name: str) -> Path:
        return image_file(self.folder / kind, name, SUFFIXES[kind])


def fingerprint(model: TrainedModel) -> str:
    """Digest of the network, its weights and its classes."""
    info = model.info
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([info.module, info.classes, info.mean, info.std]).encode())
    for key, value in sorted(model.module.state_dict().items()):
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(key.encode() + content.numpy().tobytes())
    return digest.hexdigest()
