"""The steps of pipelines: configuration becomes objects here, and results become folders.

Each stage is a function of the folder it writes below and of its inputs; `Run.stage` names it.

Letters: c classes, k = c + 1 labels with background first, H W an image.
"""

import hashlib
import json
import multiprocessing
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from functools import partial
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from pytorch_lightning.callbacks import ModelCheckpoint

from wsss_lightning.cache.stage_cache import ALARMS, doing
from wsss_lightning.config.splits import splits_of
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.module import DataModule, fork_context
from wsss_lightning.data.report import (
    TrainTestScale,
    always_tagged,
    median_long_side,
    rare_classes,
    shared_files,
)
from wsss_lightning.data.scores import dense, load_mask, load_score, save_mask, save_score
from wsss_lightning.data.stage_files import class_file_names, finished_images, image_file
from wsss_lightning.data.supervision import BOXES, MASKS, TAGS, Supervision
from wsss_lightning.data.transforms import TrainTransform
from wsss_lightning.densecrf.api import choose, mean_field, mean_field_batch
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.densecrf.pydensecrf_engine import EngineError
from wsss_lightning.densecrf.refinement_damage import refinement_damage
from wsss_lightning.densecrf.unary import unary_from_labels, unary_from_scores
from wsss_lightning.errors import InputError
from wsss_lightning.evaluation.metrics import (
    ThresholdCurve,
    iou,
    is_held_out,
    miou,
    precision_recall,
)
from wsss_lightning.evaluation.pixel_counts import PixelCountWriter
from wsss_lightning.figures.image_grid import (
    class_legend,
    heat_overlay,
    image_grid,
    mask_overlay,
    save_image,
)
from wsss_lightning.methods.base import CamSettings, TagMethod
from wsss_lightning.methods.sc_cam.clusters import ABSENT, cluster, quality, sub_tags
from wsss_lightning.methods.sc_cam.features import PooledFeatures
from wsss_lightning.methods.sc_cam.files import (
    CLUSTERS,
    FEATURES,
    collect_features,
    load_clusters,
    load_features,
    read_subcategories,
    save_clusters,
)
from wsss_lightning.ops.cam import (
    normalise_over_labels,
    with_constant_background,
    with_power_background,
)
from wsss_lightning.ops.masks import pseudo_mask
from wsss_lightning.steps.datasets import datasets_of, forget_splits
from wsss_lightning.training.callbacks.coverage_check import CoverageCheck
from wsss_lightning.training.callbacks.dense_crf import DenseCRF
from wsss_lightning.training.callbacks.feature_writer import FeatureWriter
from wsss_lightning.training.callbacks.finish_loggers import FinishLoggers
from wsss_lightning.training.callbacks.progress import StageProgress
from wsss_lightning.training.callbacks.score_writer import ScoreWriter
from wsss_lightning.training.callbacks.shared_step_axis import SharedStepAxis
from wsss_lightning.training.callbacks.single_value_norm import (
    SingleValueNorm,
    normalise_single_values,
)
from wsss_lightning.training.callbacks.step_seed import StepSeed
from wsss_lightning.training.callbacks.stop_after import StopAfter
from wsss_lightning.training.callbacks.watchdog import NonFiniteLossGuard, PseudoMaskAlarms
from wsss_lightning.training.checkpoints import AtomicCheckpointIO, TimedCheckpoint, is_whole
from wsss_lightning.training.distributed import (
    block_sigchld_during_fork,
    exit_with_parent,
    translate_worker_errors,
)
from wsss_lightning.training.trainer import build_trainer
from wsss_lightning.utils.console import console, track
from wsss_lightning.utils.files import write_atomically, write_json, write_table, write_text

Metrics = dict[str, float]
GPU_BATCH = 8  # images that its CRF takes at once
WANDB_RUN = "wandb_run.txt"  # its id
CONTACTS = 8  # pictures of a sub-category
CONTACT_HEADINGS = ("nearest", *(f"{i}." for i in range(2, CONTACTS)), "farthest")
BLACK = (0.0, 0.0, 0.0)
BLANK = np.full((1, 1, 3), 255, np.uint8)


class Stages:
    """Stages that need a trainer or a logger; these are no part of what a stage's result is.

    Args:
        trainer: configuration of a `pl.Trainer`.
        logger: configurations of loggers, by name.
        workers: processes that read data, or run the CRF.
        minutes: of training between checkpoints amid an epoch; None: at the ends of epochs only.
        long_sides: of images that a training is watched on, by its supervision; None: as they are.
    """

    def __init__(
        self,
        trainer: DictConfig,
        logger: DictConfig,
        workers: int,
        minutes: float | None = None,
        long_sides: Mapping[str, int | None] = MappingProxyType({}),
    ) -> None:
        self.trainer, self.logger, self.workers = trainer, logger, workers
        self.minutes, self.long_sides = minutes, long_sides

    def fit(
        self,
        folder: Path,
        *,
        module: DictConfig,
        data: DictConfig,
        schedule: DictConfig,
        supervision: str,
        masks: Path | None = None,
        clusters: Path | None = None,
        marginals: Mapping[str, Path] | None = None,
        initial: Path | None = None,
        crf: DictConfig | None = None,
        start: Path | None = None,
        epochs_before: int = 0,
        stop_epoch: int | None = None,
    ) -> None:
        """Train a module on the training split; leaves module.yaml, last.ckpt and csv logs.

        In a folder where it was interrupted it goes on from its last checkpoint. A schedule of 0
        epochs stores the network as it was given, without training or logs.

        Args:
            clusters: folder of `cluster`: sub-categories to learn beside the tags.
            marginals: folders of `crf`, for a module that learns from marginals and not from masks;
                others do without.
            crf: log mIoU of the validation split with this CRF and without it.
            initial: folder of a trained module whose encoder this one begins with.
            start: folder of a trained module of the same kind that this one goes on from, with a
                schedule of its own.
            epochs_before: that were trained already, so that images come in another order.
            stop_epoch: number of epochs after which training stops, although the learning rate
                decays over all epochs of the schedule; None: at the end of the schedule.
        """
        module = OmegaConf.create(settings_of(module))
        set_statistics(module)
        write_text(folder / "module.yaml", OmegaConf.to_yaml(module))
        built = instantiate(module)
        trains = schedule.max_epochs > 0
        if trains and getattr(built, "wants_sub_tags", False) != (clusters is not None):
            raise InputError(
                f"{type(built).__name__} and the pipeline do not go together: sub-categories are "
                "made by pipeline=sc_cam and learnt by method=sc_cam; choose both, as in "
                "experiment=sc_cam, or neither."
            )
        if initial is not None:
            trained: Any = load(initial)
            built.net.encoder.load_state_dict(trained.net.encoder.state_dict())
        if start is not None:
            built.load_state_dict(load(start).state_dict())
        last = folder / "last.ckpt"
        if not trains:
            given = {"state_dict": built.state_dict()}
            write_atomically(last, lambda file: torch.save(given, file))
            return
        if (long_side := self.long_sides.get(supervision)) is not None:
            if supervision == "tags":
                built.reading = CamSettings(long_side=long_side)
            else:
                built.long_side = long_side
        wants_marginals = getattr(built, "wants_marginals", False)
        pads_black = getattr(built, "pads_black", False)
        hsv = schedule.get("hsv_jitter")
        jitter = schedule.jitter or dict.fromkeys(
            ("brightness", "contrast", "saturation", "hue"), 0
        )
        datamodule = self._data(
            data,
            transform=TrainTransform(
                crop_size=schedule.crop_size,
                long_side=schedule.long_side,
                scale=schedule.scale,
                scale_step=schedule.get("scale_step"),
                flip=schedule.flip,
                hsv=None if hsv is None else (hsv.hue, hsv.saturation, hsv.value),
                padding=BLACK if pads_black else built.net.backbone.statistics.mean,
                **jitter,
            ),
            batch_size=schedule.batch_size,
            supervision=supervision,
            masks=masks,
            sub_tags=None if clusters is None else sub_tags_of(clusters),
            scores=list((marginals or {}).values()) if wants_marginals else (),
            seed=(torch.initial_seed() + epochs_before) % 2**32,
        )
        watched = data.val is not None
        if watched and supervision == "masks":  # tags give a curve without any mask
            watched = datasets_of(data)(data.val).has_masks()
        checkpoint = ModelCheckpoint(
            folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
        )
        step_seed = torch.initial_seed() + epochs_before
        callbacks: list[pl.Callback] = [
            StepSeed(step_seed),
            NonFiniteLossGuard(folder, step_seed),
            SingleValueNorm(),
            checkpoint,
            SharedStepAxis(),
            FinishLoggers(),
        ]
        if self.minutes is not None:
            callbacks.append(TimedCheckpoint(last, self.minutes))
        if stop_epoch is not None:
            callbacks.append(StopAfter(stop_epoch))
        if crf is not None and watched:
            parameters, engine = crf_settings(crf)
            callbacks.insert(0, DenseCRF(parameters, data.num_classes, engine, self.workers or 1))
        loggers = self._loggers(
            folder, {"module": settings_of(module), "schedule": settings_of(schedule)}
        )
        name = name_of(folder)
        trainer = self._trainer(
            name,
            max_epochs=schedule.max_epochs,
            max_steps=self._max_steps(schedule.max_steps),
            logger=loggers,
            callbacks=callbacks,
            limit_val_batches=None if watched else 0,
        )
        trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        if last.is_file() and not is_whole(last):
            console.print(f"[yellow]{name}: last.ckpt is damaged; training begins again[/]")
            last.unlink()
        with translate_worker_errors(trainer):
            trainer.fit(built, datamodule, ckpt_path=last if last.is_file() else None)

    def validate_tags(
        self, folder: Path, *, trained: Path, data: DictConfig, long_side: int | None
    ) -> None:
        """Mean average precision and F1 of the tags of the validation split."""
        module: Any = load(trained)
        module.reading = CamSettings(long_side=long_side)
        trainer = self._trainer(name_of(folder))
        with translate_worker_errors(trainer):
            (metrics,) = trainer.validate(module, self._data(data), verbose=False)
        known = _numbers({k.removeprefix("val/"): v for k, v in metrics.items()})
        write_json(folder / "metrics.json", known)

    def features(
        self,
        folder: Path,
        *,
        trained: Path,
        data: DictConfig,
        split: str,
        reading: DictConfig,
        peak: float | None,
    ) -> None:
        """Features of every image of a split, into one file: its averaged deepest map.

        Args:
            peak: None: over the whole image; else of each class where its map is near its maximum
                (`TagMethod.pooled`).
        """
        module: Any = load(trained)
        module.reading = CamSettings(
            long_side=reading.long_side,
            alignment=reading.alignment,
            stride=module.net.backbone.output_stride,
        )
        writer = FeatureWriter(folder)
        datamodule = self._data(
            data, eval_batch_size=reading.batch_size, predict=split, skip=writer.done()
        )
        self.write(folder, PooledFeatures(module, peak), datamodule, writer)
        collect_features(folder, datasets_of(data)(split, with_masks=False).names)

    def cluster(
        self,
        folder: Path,
        *,
        features: Path,
        data: DictConfig,
        split: str,
        count: int,
        clusters: DictConfig,
    ) -> None:
        """Sub-categories: clusters of the images of each class, and how good they are.

        clusters.npz holds the number of each image's cluster; clusters.csv the same to look at;
        classes.json sizes, silhouette and stability of each class's clusters, and where true
        sub-categories are known (`data.subcategories`) agreement with them; metrics.json their means.
        """
        reader = datasets_of(data)(split, with_masks=False)
        names, found = reader.names, load_features(features / FEATURES)
        seed = torch.initial_seed() % 2**32
        how = settings_of(clusters)
        others = range(1, how.pop("stability") + 1)
        looks = (
            read_subcategories(reader.root / data.subcategories, names, reader.classes)
            if data.subcategories
            else None
        )
        numbers = np.full((len(names), reader.num_classes), ABSENT, np.int64)
        told = {}
        for c in track(range(reader.num_classes), reader.num_classes, name_of(folder)):
            here = np.flatnonzero(reader.tags[:, c].numpy())
            if len(here) == 0:
                continue
            own = found.of_class(c, [names[i] for i in here])
            numbers[here, c] = cluster(own, count, **how, seed=seed)
            again = [cluster(own, count, **how, seed=(seed + k) % 2**32) for k in others]
            known = None if looks is None else looks[here, c]
            told[reader.classes[c]] = quality(own, numbers[here, c], count, again, known, seed)
        save_clusters(folder / CLUSTERS, names, numbers, count)
        there = zip(*np.nonzero(numbers != ABSENT), strict=True)
        rows = [(names[i], reader.classes[c], numbers[i, c]) for i, c in there]
        write_table(folder / "clusters.csv", [("name", "class", "cluster"), *rows])
        write_json(folder / "classes.json", told)
        means = {}
        for key in ("silhouette", "stability", "recovery"):
            values = [one[key] for one in told.values() if one.get(key) is not None]
            if values:
                means[key] = float(np.mean(values))
        write_json(folder / "metrics.json", means)

    def score(
        self, folder: Path, *, trained: Path, data: DictConfig, split: str, reading: DictConfig
    ) -> None:
        """Score maps of every image of a split, `<name>.npz` with the classes that are present."""
        module: Any = load(trained)
        if not isinstance(module, TagMethod):
            raise TypeError(f"{type(module).__name__} learns from masks; it has no score maps")
        done = finished_images(folder, ".npz")
        settings = settings_of(reading)
        bits, batch_size = settings.pop("storage_bits"), settings.pop("batch_size")
        stride = module.net.backbone.output_stride
        module.reading = CamSettings(**settings, stride=stride)
        datamodule = self._data(data, eval_batch_size=batch_size, predict=split, skip=done)
        self.write(folder, module, datamodule, ScoreWriter(folder, bits))

    def background(
        self, folder: Path, *, scores: Path, data: DictConfig, split: str, background_score: float
    ) -> None:
        """Seeds with a constant background, as marginals (k H W); no refinement."""
        reader = datasets_of(data)(split, with_masks=False)
        for i in track(range(len(reader)), len(reader), name_of(folder)):
            score, keys = _labelled(scores, reader, i)
            full = with_constant_background(torch.from_numpy(score), background_score)
            save_score(
                image_file(folder, reader.names[i], ".npz"),
                normalise_over_labels(full),
                keys,
                bits=16,
            )

    def crf(
        self,
        folder: Path,
        *,
        scores: Path,
        data: DictConfig,
        split: str,
        parameters: DictConfig,
        background_power: float | None,
        background_score: float | None,
        area_factor: float | None = None,
        gt_prob: float | None = None,
        bits: int = 8,
    ) -> None:
        """DenseCRF of every image's scores: marginals (k H W) of the labels that are present.

        With `gt_prob` the CRF sees only which label scores highest, and that it is right with this
        probability, as in IRN's `crf_inference_label`.

        Images are shared out over processes, or in batches over a GPU; an interrupted stage goes
        on with those left. An image that the gate (`functional.crf.gate`, where `area_factor` is
        given) or a crash of the engine takes out keeps its scores as they are; metrics.json tells
        how many did.

        Args:
            bits: of stored marginals; with 8, labels whose probabilities differ by less than 1/200
                may count as equal.
        """
        settings, engine = crf_settings(parameters)
        reader = datasets_of(data)(split, with_masks=False)
        done = finished_images(folder, ".npz")
        left = [i for i, name in enumerate(reader.names) if name not in done]
        devices = self._gpus() if engine in ("auto", "torch") else []
        work = partial(
            _crf_images,
            folder=folder,
            scores=scores,
            reader=reader,
            parameters=settings,
            engine=engine,
            background_power=background_power,
            background_score=background_score,
            area_factor=area_factor,
            gt_prob=gt_prob,
            bits=bits,
        )
        size = GPU_BATCH if devices else 1
        batches = [left[i : i + size] for i in range(0, len(left), size)]
        # in turn: batches of one size take about as long
        placed = list(zip(batches, cycle(devices or ["cpu"]), strict=False))
        workers = max(self.workers, len(devices))
        parallel_map(work, placed, workers, name_of(folder), threads=bool(devices))
        reasons = folder / "kept"
        kept = {
            name: image_file(reasons, name, ".txt").read_text()
            for name in finished_images(reasons, ".txt")
        }
        if area_factor is not None or kept:
            share = {
                f"kept_{why}": sum(w == why for w in kept.values()) / len(reader)
                for why in ("lost", "area", "crash")
            }
            write_json(folder / "metrics.json", {"kept": len(kept) / len(reader), **share})
        if kept:
            console.print(
                f"{len(kept)} of {len(reader)} images keep their scores without CRF "
                f"(reasons: {folder.with_suffix('')}/kept)",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )

    def masks(
        self, folder: Path, *, scores: Path, data: DictConfig, split: str, confidence: float
    ) -> None:
        """Pseudo masks `<name>.png` from marginals: the most probable label, 255 where unsure."""
        reader = datasets_of(data)(split, with_masks=False)
        watch = PseudoMaskAlarms(reader.classes)
        for i in track(range(len(reader)), len(reader), name_of(folder)):
            name = reader.names[i]
            marginal, keys = load_score(image_file(scores, name, ".npz"))
            full = torch.from_numpy(dense(marginal, keys, reader.num_classes + 1))
            mask = pseudo_mask(full, confidence).numpy()
            watch.update(name, mask, reader.tags[i])
            save_mask(image_file(folder, name, ".png"), mask)
        write_json(folder / ALARMS, watch.alarms())

    def predict(
        self, folder: Path, *, trained: Path, data: DictConfig, split: str, test: DictConfig
    ) -> None:
        """Label maps of a segmentation network, `<name>.png`; marginals too where a CRF follows."""
        module: Any = load(trained)
        module.scales, module.flip = tuple(test.scales), test.flip
        module.long_side = test.long_side
        done = finished_images(folder, ".png")
        datamodule = self._data(data, eval_batch_size=test.batch_size, predict=split, skip=done)
        writer = ScoreWriter(folder, bits=16, keep_marginals=test.crf)
        self.write(folder, module, datamodule, writer)
        reader = datasets_of(data)(split, with_masks=False)
        watch = PseudoMaskAlarms(reader.classes, predicted=True)
        for i, name in enumerate(reader.names):
            watch.update(name, load_mask(image_file(folder, name, ".png")), reader.tags[i])
        write_json(folder / ALARMS, watch.alarms())

    def evaluate_seeds(
        self, folder: Path, *, scores: Path, data: DictConfig, split: str, seeds: DictConfig
    ) -> None:
        """mIoU of seeds under a fixed, a held-out and the oracle threshold, and the whole curve.

        images.npz holds what the fixed threshold gives of each image (`load_pixel_counts`).

        fixed: `background_score`, over the split. oracle: the best threshold for this split's own
        masks, over the split. held_out: the best for a part of the split that is set aside, scored
        on all other images.
        """
        reader = datasets_of(data)(split)
        if not reader.has_masks():
            return write_json(folder / "metrics.json", {})
        labels = reader.num_classes + 1
        fixed = PixelCountWriter(labels)
        part, rest = (ThresholdCurve(labels, seeds.thresholds) for _ in range(2))
        for i in track(range(len(reader)), len(reader), name_of(folder)):
            score, keys = load_score(image_file(scores, reader.names[i], ".npz"))
            full = torch.from_numpy(dense(score, keys, labels))[1:]
            truth = torch.from_numpy(reader.mask(i).astype(np.int64))
            (part if is_held_out(i, seeds.held_out) else rest).update(full, truth)
            seeded = with_constant_background(full, seeds.background_score).argmax(0)
            fixed.add(reader.names[i], seeded, truth)
        fixed.save(folder)
        matrix = fixed.matrix()
        if not matrix.any():  # 255 everywhere
            return write_json(folder / "metrics.json", {})
        metrics: Metrics = {"miou": miou(matrix), **_per_class(matrix, reader.classes)}
        metrics["threshold"] = seeds.background_score
        if seeds.held_out:
            chosen, _ = part.best()
            if chosen == chosen:  # NaN: the part has no labelled pixel
                index = int(torch.argmin((rest.thresholds - chosen).abs()))
                metrics["miou_held_out"] = miou(rest.compute()[index])
                metrics["threshold_held_out"] = chosen
        rest.counts += part.counts
        metrics["threshold_oracle"], metrics["miou_oracle"] = rest.best()
        matrices = rest.compute()
        precision, recall = precision_recall(matrices)
        write_json(
            folder / "curve.json",
            {
                "threshold": _rounded(rest.thresholds),
                "miou": _rounded(iou(matrices).nanmean(-1)),
                "precision": _rounded(precision.nan_to_num(1.0)),  # nothing called an object
                "recall": _rounded(recall.nan_to_num(0.0)),
            },
        )
        write_json(folder / "metrics.json", _numbers(metrics))

    def evaluate_masks(self, folder: Path, *, masks: Path, data: DictConfig, split: str) -> None:
        """mIoU and per-class IoU of label maps over a split, and how many pixels they label.

        Ignored pixels are misses; where there are any, `miou_labelled` leaves them out. images.npz
        holds what is found of each image (`load_pixel_counts`).
        """
        reader = datasets_of(data)(split)
        if not reader.has_masks():
            return write_json(folder / "metrics.json", {})
        counted = PixelCountWriter(reader.num_classes + 1)
        for i in track(range(len(reader)), len(reader), name_of(folder)):
            path = image_file(masks, reader.names[i], ".png")
            prediction = torch.from_numpy(load_mask(path).astype(int))
            counted.add(reader.names[i], prediction, torch.from_numpy(reader.mask(i).astype(int)))
        counted.save(folder)
        matrix = counted.matrix()
        if not matrix.any():  # 255 everywhere
            return write_json(folder / "metrics.json", {})
        coverage = 1 - float(matrix[:, -1].sum() / matrix.sum())
        metrics: Metrics = {"miou": miou(matrix), "coverage": coverage}
        if coverage < 1:
            labelled = matrix.clone()
            labelled[:, -1] = 0
            metrics["miou_labelled"] = miou(labelled)
        metrics |= _per_class(matrix, reader.classes)
        write_json(folder / "metrics.json", _numbers(metrics))
        write_json(folder / "confusion.json", matrix.tolist())

    def gallery(
        self,
        folder: Path,
        *,
        data: DictConfig,
        split: str,
        count: int,
        seeds: Path | None,
        steps: Mapping[str, Path],
    ) -> None:
        """One picture: evenly chosen images, and side by side what each step made of them."""
        reader = datasets_of(data)(split)
        rows, captions, used = [], [], []
        for i in evenly_spaced(len(reader), count):
            row, masks = preview_row(reader, i, seeds, steps)
            rows.append(row)
            used += masks
            captions.append(f"{reader.names[i]}   tags: {tag_names(reader, i)}")
        page = image_grid(rows, captions, class_legend(used, reader.classes), tile=200)
        save_image(folder / f"{split}.png", page)

    def contact_sheets(
        self, folder: Path, *, features: Path, clusters: Path, data: DictConfig, split: str
    ) -> None:
        """A picture of each class, a row a cluster: images nearest its mean, and the farthest."""
        reader = datasets_of(data)(split, with_masks=False)
        names, numbers, count = load_clusters(clusters / CLUSTERS)
        found = load_features(features / FEATURES)
        files = class_file_names(reader.classes)
        for c, name in track(list(enumerate(reader.classes)), reader.num_classes, name_of(folder)):
            rows, captions = [], []
            for k in range(count):
                here = np.flatnonzero(numbers[:, c] == k)
                if len(here) == 0:
                    continue
                own = found.of_class(c, [names[i] for i in here])
                far = np.linalg.norm(own - own.mean(0), axis=1)
                near = here[np.argsort(far, kind="stable")]
                shown = [*near[: CONTACTS - 1], *near[CONTACTS - 1 :][-1:]]
                pictures = [np.asarray(reader.image(int(i))) for i in shown]
                pictures += [BLANK] * (CONTACTS - len(pictures))
                rows.append(dict(zip(CONTACT_HEADINGS, pictures, strict=True)))
                captions.append(f"{name}, sub-category {k}: {len(here)} images")
            if rows:
                save_image(folder / f"{files[c]}.png", image_grid(rows, captions, {}, tile=120))

    def write(
        self, folder: Path, module: pl.LightningModule, data: DataModule, writer: pl.Callback
    ) -> None:
        """Predict a split, each image once over all processes; `writer` keeps what comes out."""
        trainer = self._trainer(name_of(folder), callbacks=[writer])
        with translate_worker_errors(trainer):
            trainer.predict(module, data, return_predictions=False)

    def _data(self, data: DictConfig, **how: Any) -> DataModule:
        usual: dict[str, Any] = {
            "transform": None,
            "batch_size": 1,
            "eval_batch_size": 8,
            "num_workers": self.workers,
            "seed": torch.initial_seed() % 2**32,
        }
        return DataModule(
            datasets_of(data),
            train=data.train,
            val=data.val,
            **{**usual, **how},
        )

    def _loggers(self, folder: Path, config: dict[str, Any]) -> list[Any]:
        """Of a training; one that goes on behind an interruption goes on in its W&B run.

        Args:
            config: what is trained and how, for W&B.
        """
        made = []
        for name, node in self.logger.items():
            known: dict[str, Any] = {"save_dir": folder}
            if name == "wandb":
                stored = folder / WANDB_RUN
                if not stored.is_file():
                    write_atomically(stored, lambda file: file.write(secrets.token_hex(4).encode()))
                stage = doing.get(name_of(folder))
                known |= {"version": stored.read_text(), "job_type": stage}
                known["config"] = {**settings_of(node.config), **config}
                known["name"] = f"{node.get('group') or node.project}/{stage}"
                # Lightning sets an environment variable, which a session that lives ignores
                known["mode"] = "offline" if node.get("offline") else None
            made.append(instantiate(node)(**known))
        return made

    def _max_steps(self, of_schedule: int | None) -> int:
        """The lower bound of a schedule and of the trainer; -1: there is none."""
        bounds = [of_schedule, self.trainer.get("max_steps")]
        return min((steps for steps in bounds if steps is not None and steps >= 0), default=-1)

    def _gpus(self) -> list[str]:
        """CUDA devices that the chosen trainer uses."""
        trainer = build_trainer(self.trainer)
        if trainer.strategy.root_device.type != "cuda":
            return []
        return [f"cuda:{i}" for i in trainer.device_ids]

    def _trainer(self, name: str, callbacks: Sequence[pl.Callback] = (), **how: Any) -> pl.Trainer:
        block_sigchld_during_fork()
        multiprocessing.set_forkserver_preload(["wsss_lightning.methods.segmentation.module"])
        own = [*callbacks, CoverageCheck()]
        if console.is_terminal and self.trainer.get("enable_progress_bar") is not False:
            own.append(StageProgress(name))
            how["enable_progress_bar"] = True
        return build_trainer(self.trainer, own, **how)


def load(trained: Path) -> pl.LightningModule:
    """The module that `fit` left in a folder, with its weights, in evaluation mode."""
    module: Any = OmegaConf.load(trained / "module.yaml")
    _without_weights(module)
    built = instantiate(module)
    stored = torch.load(trained / "last.ckpt", map_location="cpu", weights_only=True)
    built.load_state_dict(stored["state_dict"])
    return built.eval()


def replay(path: Path) -> torch.Tensor:
    """The loss of the step that `NonFiniteLossGuard` stopped at, as it was, on this machine's CPU.

    For a debugger: `backward` on what comes back, with `torch.autograd.set_detect_anomaly(True)`.
    """
    kept = torch.load(path, map_location="cpu", weights_only=True)
    module = OmegaConf.create(kept["module"])
    _without_weights(module)
    built: Any = instantiate(module)
    built.load_state_dict(kept["state_dict"])
    normalise_single_values(built)
    torch.set_rng_state(kept["random"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*trainer. reference is not registered.*")
        return built.train().training_step(kept["batch"], 0)


def sub_tags_of(clusters: Path) -> dict[str, torch.Tensor]:
    """Multi-hot sub-categories (ck) of each image that `cluster` saw, by name."""
    names, numbers, count = load_clusters(clusters / CLUSTERS)
    return dict(zip(names, sub_tags(numbers, count), strict=True))


def crf_settings(node: DictConfig) -> tuple[CRFParameters, str]:
    """Kernels and engine, checked: the engine is to be had here.

    Raises:
        InputError: a value has no meaning, or the engine is unknown or absent.
    """
    settings = settings_of(node)
    engine = settings.pop("engine")
    parameters = CRFParameters(**settings)
    choose(engine, [])
    if engine in ("native", "pydensecrf"):
        mean_field(
            torch.zeros(1, 1, 3, dtype=torch.uint8), torch.zeros(2, 1, 1), parameters, engine
        )
    return parameters, engine


def metrics_of(folder: Path) -> Metrics:
    """What an evaluation stage found; what could not be scored is left out."""
    stored = json.loads((folder / "metrics.json").read_text())
    return {key: value for key, value in stored.items() if value is not None}


def evenly_spaced(length: int, count: int) -> list[int]:
    """Positions of `count` items, or of all, from the first to the last."""
    return np.unique(np.linspace(0, length - 1, count).round().astype(int)).tolist()


def preview_row(
    reader: VOCDataset, i: int, seeds: Path | None, steps: Mapping[str, Path]
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Pictures of what each step made of an image, by heading, and the label maps in them."""
    name, image, used = reader.names[i], np.asarray(reader.image(i)), []
    row = {"image": image}
    if reader.has_masks():
        used.append(reader.mask(i))
        row["truth"] = mask_overlay(image, used[-1])
    if seeds is not None:
        score, _ = load_score(image_file(seeds, name, ".npz"))
        row["CAM"] = heat_overlay(image, score.max(0, initial=0))
    for heading, masks in steps.items():
        used.append(load_mask(image_file(masks, name, ".png")))
        row[heading] = mask_overlay(image, used[-1])
    return row, used


def tag_names(reader: VOCDataset, i: int) -> str:
    """Of an image, for people."""
    present = [c for c, t in zip(reader.classes, reader.tags[i], strict=True) if t]
    return ", ".join(present) or "none"


def backbone_nodes(node: Any) -> Iterator[DictConfig]:
    """The nodes of backbones in a node; one that several places refer to comes several times."""
    if isinstance(node, DictConfig):
        if str(node.get("_target_", "")).endswith(".Backbone"):
            yield node
        for name in node:
            if not OmegaConf.is_missing(node, name):
                yield from backbone_nodes(node[name])
    elif isinstance(node, ListConfig):
        for item in node:
            yield from backbone_nodes(item)


def set_statistics(node: DictConfig) -> None:
    """Write mean and std that images are normalised by into the backbones' nodes in a node."""
    for backbone in backbone_nodes(node):
        if backbone.get("mean") is None or backbone.get("std") is None:
            known = instantiate(backbone).statistics
            with open_dict(backbone):
                backbone.mean, backbone.std = list(known.mean), list(known.std)


def _without_weights(module: DictConfig) -> None:
    """What was trained replaces the ImageNet weights; do not read or fetch them once more."""
    for node in backbone_nodes(module):
        if node.freeze_norm is None:
            node.freeze_norm = bool(node.pretrained or node.weights)
        node.pretrained, node.weights = False, None
    if module.net.get("weights"):  # a network that was given whole
        module.net.weights = None


def _labelled(scores: Path, reader: VOCDataset, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Stored maps of an image at its size, with the label of each behind that of background."""
    score, keys = load_score(image_file(scores, reader.names[i], ".npz"))
    if len(score) == 0:
        score = np.zeros((0, *reader.image_size(i)), np.float32)
    return score, np.concatenate([[0], keys]).astype(np.int64)


def _crf_images(
    placed: tuple[list[int], str],
    *,
    folder: Path,
    scores: Path,
    reader: VOCDataset,
    parameters: CRFParameters,
    engine: str,
    background_power: float | None,
    background_score: float | None,
    area_factor: float | None,
    gt_prob: float | None,
    bits: int,
) -> None:
    batch, device = placed
    full, keys = [], []
    for i in batch:
        if background_power is None and background_score is None:
            # a network's marginals have their background already
            score, labels = load_score(image_file(scores, reader.names[i], ".npz"))
            full.append(torch.from_numpy(score))
        else:
            score, labels = _labelled(scores, reader, i)
            maps = torch.from_numpy(score)
            if background_power is not None:
                full.append(with_power_background(maps, background_power))
            elif background_score is not None:
                full.append(with_constant_background(maps, background_score))
        keys.append(labels)
    images = [torch.from_numpy(np.array(reader.image(i))) for i in batch]
    unaries = [_unary(score.to(device), gt_prob) for score in full]
    crashed = False
    try:
        refined = mean_field_batch(images, unaries, parameters, engine)
    except EngineError:
        refined, crashed = full, True
    for i, before, after, labels in zip(batch, full, refined, keys, strict=True):
        name, why = reader.names[i], "crash" if crashed else None
        if area_factor is not None and not crashed:
            why = refinement_damage(before.argmax(0), after.cpu().argmax(0), area_factor)
        if why is not None:
            after = normalise_over_labels(before)
            write_text(image_file(folder / "kept", name, ".txt"), why)
        save_score(image_file(folder, name, ".npz"), after.clamp(0, 1), labels, bits)


def _unary(score: torch.Tensor, gt_prob: float | None) -> torch.Tensor:
    if gt_prob is None or len(score) == 1:  # one label is nothing to be unsure of
        return unary_from_scores(score)
    return unary_from_labels(score.argmax(0), len(score), gt_prob)


def parallel_map(
    work: Callable[[Any], None], items: list[Any], workers: int, name: str, threads: bool
) -> None:
    """Do `work` on every item, in processes (or threads) where there are several."""
    if workers < 2 or len(items) < 2:
        for item in track(items, len(items), name):
            work(item)
        return
    pool: Executor
    if threads:
        pool = ThreadPoolExecutor(workers)
    else:
        pool = ProcessPoolExecutor(workers, mp_context=fork_context(), initializer=_begin_worker)
    with pool:
        pending = [pool.submit(work, item) for item in items]
        try:
            for done in track(as_completed(pending), len(pending), name):
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _begin_worker() -> None:
    torch.set_num_threads(1)
    # one that waits for work would outlive a killed run for ever, and hold its lock
    exit_with_parent()


def _per_class(matrix: torch.Tensor, classes: list[str]) -> Metrics:
    names = [f"iou_{name}" for name in ["background", *classes]]
    return _numbers(dict(zip(names, iou(matrix).tolist(), strict=True)))


def _numbers(metrics: Mapping[str, float]) -> Metrics:
    """Without NaN, the mean over nothing: the split shows no pixel, or no image, of it."""
    return {key: value for key, value in metrics.items() if value == value}


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(v, 6) for v in values.tolist()]


def settings_of(node: DictConfig) -> dict[str, Any]:
    """A node of the configuration as keyword arguments."""
    return {str(key): value for key, value in OmegaConf.to_container(node, resolve=True).items()}  # type: ignore[union-attr]


def name_of(folder: Path) -> str:
    """Of the stage that writes a folder."""
    return folder.name.split("-")[0]


def check_data(
    data: DictConfig, learns_from: Supervision = TAGS, sights: Sequence[TrainTestScale] = ()
) -> str:
    """Read lists, tags and headers of all splits, and some masks, before anything starts.

    Args:
        learns_from: what the pipeline learns from.
        sights: of networks, held against the size of the validation split's images.

    Returns:
        Digest of what was read.

    Raises:
        InputError: what cannot be used, with the file's name.
    """
    forget_splits()
    digests, reads = [], []
    for split in splits_of(data):
        with_boxes = learns_from is BOXES and split == data.train
        read = datasets_of(data)(split, with_boxes=with_boxes)
        if learns_from is MASKS and split == data.train and len(read):
            read.check_mask_exists(0)
        read.check()
        reads.append(read)
        digests += [read.fingerprint(), read.mask_fingerprint()]
        if data.subcategories:
            looks = read_subcategories(read.root / data.subcategories, read.names, read.classes)
            digests.append(hashlib.sha256(looks.tobytes()).hexdigest()[:12])
        _describe_split(data.name, read)
    train = reads[0]
    absent, _ = rare_classes(train.tags.numpy(), train.classes)
    if absent:
        _warn(f"no image of {data.train} is tagged {', '.join(absent)}")
    always = always_tagged(train.tags.numpy(), train.classes)
    if always and learns_from is TAGS:
        _warn(
            f"every image of {data.train} is tagged {', '.join(always)}: without images that lack "
            "it, a classifier cannot learn what it looks like (data.dataset.on_missing_labels=background "
            "keeps images of no class)"
        )
    if data.val is None:
        _print_plain(f"{data.name} has no validation split: nothing is scored on one", "dim")
    elif data.val == data.train:
        _warn(f"data.val is {data.val}, the split that is learnt from: scores will flatter")
    shared = shared_files(train, reads[-1])
    if shared:
        _warn(
            f"{len(shared)} images of {data.val} are in {data.train} too "
            f"({', '.join(shared[:3])}): scores will flatter; "
            "python -m wsss_lightning.cli.check_data tells which"
        )
    if sights and len(reads[-1]):
        side = median_long_side(reads[-1])
        for told in filter(None, (sight.complaint(side) for sight in sights)):
            _warn(f"{reads[-1].split}: {told}")
    return "-".join(digests)


def _describe_split(data_name: str, read: VOCDataset) -> None:
    """Print what was read of a split, and how."""
    where = f"{data_name} {read.split}"
    tagged = int(read.tags.any(1).sum())
    truth = "true masks for scoring" if read.has_masks() else "no true masks: not scored"
    _print_plain(f"{where}: {len(read)} images, {tagged} tagged, {truth}", "dim")
    if read.with_boxes:
        counts = read.count_boxes()
        left_out = f", {counts.left_out} without a side left out" if counts.left_out else ""
        _print_plain(
            f"{where}: {counts.boxes} boxes from {read.boxes_from}, {counts.cut} cut to the image, "
            f"{counts.unboxed} tags without a box{left_out}",
            "dim",
        )
    for note in read.notes:
        _warn(f"{where}: {note}")


def _warn(message: str) -> None:
    _print_plain(message, "yellow")


def _print_plain(message: str, style: str) -> None:
    # names of users' may look like markup
    console.print(message, style=style, markup=False, highlight=False, soft_wrap=True)
