"""Parts of all pipelines: scoring, refinement and the segmentation network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from wsss_lightning.cache.stage_cache import StageCache
from wsss_lightning.config.splits import splits_of
from wsss_lightning.data.supervision import Supervision
from wsss_lightning.errors import InputError
from wsss_lightning.pipelines.masks_to_learn import PSEUDO_HEADINGS, learned_from, masks_to_learn
from wsss_lightning.pipelines.pictures import show
from wsss_lightning.steps.cams import cams, validate_tags
from wsss_lightning.steps.crf import crf
from wsss_lightning.steps.evaluate import evaluate_masks, evaluate_seeds
from wsss_lightning.steps.labels import StepInfo, declare_steps, step_label
from wsss_lightning.steps.metrics_file import load_metrics
from wsss_lightning.steps.predict import predict
from wsss_lightning.steps.pseudo_masks import pseudo_masks
from wsss_lightning.steps.runtime import Runtime
from wsss_lightning.steps.scored_splits import ScoredSplit, scored_splits
from wsss_lightning.steps.train import train

Scores = dict[str, float]
SEGMENTER_KEYS = ("fit.segmenter.batch_size", "fit.segmenter.crop_size")
Pipeline = TypeVar("Pipeline", bound=Callable[..., Scores])
Splits = dict[str, Path]


def learns_from(supervision: Supervision) -> Callable[[Pipeline], Pipeline]:
    """Declare the supervision of a pipeline."""

    def declare(pipeline: Pipeline) -> Pipeline:
        pipeline.supervision = supervision  # type: ignore[attr-defined]
        return pipeline

    return declare


def supervision_of(node: DictConfig) -> Supervision:
    """The supervision that a pipeline declares, given its configuration node.

    Raises:
        InputError: the pipeline declares nothing.
    """
    supervision = getattr(get_method(node._target_), "supervision", None)
    if not isinstance(supervision, Supervision):
        raise InputError(
            f"pipeline._target_ is {node._target_}, which declares no supervision; decorate the "
            "function with wsss_lightning.pipelines.learns_from."
        )
    return supervision


def refiner_of(cfg: DictConfig) -> Any:
    """The refiner that the configuration names."""
    return instantiate(cfg.refine, _convert_="none")


def refiner_steps(cfg: DictConfig) -> dict[str, StepInfo]:
    """Label and order of the refiner's steps; empty for pipelines without seeds."""
    return refiner_of(cfg).steps() if supervision_of(cfg.pipeline).uses_seeds else {}


def runtime_of(cfg: DictConfig) -> Runtime:
    """Trainer, loggers and processes of a run."""
    return Runtime(
        trainer=cfg.trainer,
        loggers=cfg.logger,
        workers=cfg.workers,
        checkpoint_minutes=cfg.checkpoint_minutes,
        validation_long_sides={"tags": cfg.cam.long_side, "masks": cfg.test.long_side},
    )


def validation_crf(cfg: DictConfig) -> DictConfig | None:
    """Node of the callback that logs the mIoU with a CRF during training; None: it is not used."""
    if not cfg.fit.segmenter.validate_crf:
        return None
    target = "wsss_lightning.steps.train.crf_callback"
    return OmegaConf.create({"_target_": target, "parameters": cfg.test_crf})


@dataclass
class Experiment:
    """A run of a pipeline: its configuration, the cache of its steps, and the scores so far.

    Keys of scores are `<step>/<split>/<metric>`, with `round_<r>/` in front within rounds.
    `evaluations` holds the folder of the evaluation of each step's masks, by `<step>/<split>`, and
    `quality` that of the estimated quality of the pseudo masks.
    """

    cfg: DictConfig
    cache: StageCache
    scores: Scores = field(default_factory=dict)
    evaluations: dict[str, Path] = field(default_factory=dict)
    quality: Path | None = None

    def add(self, prefix: str, folder: Path) -> None:
        """Add the metrics of a step."""
        self.scores |= {f"{prefix}/{key}": value for key, value in load_metrics(folder).items()}

    def train_classifier(self, name: str, prefix: str = "", **inputs: Any) -> Path:
        """Train a classifier on tags, and score its tags on the validation split, if any."""
        cfg, data = self.cfg, self.cfg.data
        trained = self.cache.run(
            name,
            train,
            memory_keys=("fit.method.batch_size", "fit.method.crop_size"),
            data=data,
            target="tags",
            **inputs,
        )
        if data.val is not None:
            tested = self.cache.run(
                f"{prefix}classifier_val",
                validate_tags,
                trained=trained,
                data=data,
                long_side=cfg.cam.long_side,
            )
            self.add(f"{prefix}classifier/{data.val}", tested)
        return trained

    def make_seeds(self, trained: Path, prefix: str = "", sub_maps: bool | None = None) -> Splits:
        """CAM scores of all splits, and their mIoU.

        Args:
            trained: folder of a trained classifier.
            prefix: prefix of the names of the steps, such as `round_1/`.
            sub_maps: replaces `cam.sub_maps`.
        """
        cfg, data, seeds = self.cfg, self.cfg.data, {}
        settings = cfg.cam.copy()
        if sub_maps is not None:
            settings.sub_maps = sub_maps
        for split in splits_of(data):
            seeds[split] = self.cache.run(
                f"{prefix}seeds/{split}",
                cams,
                trained=trained,
                data=data,
                split=split,
                settings=settings,
            )
            for scored in scored_splits(cfg, split):
                tested = self._cache_for(scored).run(
                    f"{prefix}seeds_miou/{scored.name}",
                    evaluate_seeds,
                    scores=seeds[split],
                    data=scored.data,
                    split=scored.name,
                    seeds=cfg.seeds,
                )
                self.add(f"{prefix}seeds/{scored.name}", tested)
        return seeds

    def score_masks(self, step: str, split: str, masks: Path) -> None:
        """mIoU of masks of a split, on all splits that they are scored on.

        Args:
            step: first part of the keys of scores.
            split: split of the masks.
            masks: folder of masks.
        """
        for scored in scored_splits(self.cfg, split):
            tested = self._cache_for(scored).run(
                f"{step}_miou/{scored.name}",
                evaluate_masks,
                masks=masks,
                data=scored.data,
                split=scored.name,
            )
            self.add(f"{step}/{scored.name}", tested)
            self.evaluations[f"{step}/{scored.name}"] = tested

    def refine_and_segment(self, seeds: Splits, trained: Path, segment: bool) -> None:
        """Seeds -> refined scores -> pseudo masks -> segmentation network, and previews.

        Args:
            seeds: folders of CAM scores, by split.
            trained: folder of the classifier.
            segment: train and test the segmentation network.
        """
        cfg, data = self.cfg, self.cfg.data
        shown: dict[str, dict[str, Path]] = {split: {} for split in seeds}
        marginals: Mapping[str, Path] = {}
        refiner = refiner_of(cfg)
        declare_steps(refiner.steps())
        for name, marginals in refiner(self.cache, data, seeds, trained).items():
            for split, folder in marginals.items():
                masks = self._pseudo_masks(f"{name}_masks/{split}", folder, split, 0.0)
                shown[split][step_label(name)] = masks
                self.score_masks(name, split, masks)
                if (folder / "metrics.json").is_file():
                    self.add(f"{name}/{split}", folder)
        pseudo = self._pseudo_masks(
            "pseudo", marginals[data.train], data.train, cfg.pseudo.confidence
        )
        chain = masks_to_learn(self, pseudo, trained=trained)
        shown[data.train] |= {PSEUDO_HEADINGS[step]: folder for step, folder in chain.items()}
        if segment:
            encoder_from = trained if cfg.fit.segmenter.init_from == "classifier" else None
            predictions = self.segment(masks=learned_from(chain), encoder_from=encoder_from)
            for split, folder in predictions.items():
                shown[split]["prediction"] = folder
        last = ("segmentation", "prediction") if segment else (name, step_label(name))
        for split in splits_of(data):
            show(
                self,
                split,
                split,
                shown[split],
                ranked_by=("pseudo", "pseudo mask") if split == data.train else last,
                seeds=seeds[split],
                marginals=marginals[split],
                classifier=trained,
            )

    def segment(self, masks: Path | None = None, **inputs: Any) -> Splits:
        """Train the segmentation network and predict all splits.

        Args:
            masks: folder of pseudo masks; None: the true masks.
            inputs: further inputs of `train`.

        Returns:
            Folders of predicted masks, by split.
        """
        cfg, data = self.cfg, self.cfg.data
        trained = self.cache.run(
            "segmentation",
            train,
            memory_keys=SEGMENTER_KEYS,
            module=cfg.segmenter,
            data=data,
            schedule=cfg.fit.segmenter,
            target="masks",
            masks=masks,
            crf=validation_crf(cfg),
            **inputs,
        )
        predictions = {}
        for split in reversed(splits_of(data)):
            predictions[split] = self.predict("segmentation", "predictions", trained, split)
            if cfg.test.crf:
                predictions[split] = self._refine_prediction(predictions[split], split)
        return predictions

    def predict(
        self, step: str, folder: str, trained: Path, split: str, settings: Any = None
    ) -> Path:
        """Predicted masks of a split, and their mIoU.

        Args:
            step: first part of the keys of scores.
            folder: folder of the predictions of all splits.
            trained: folder of a trained segmentation network.
            split: split whose images are read.
            settings: replaces the node `test`.
        """
        predictions = self.cache.run(
            f"{folder}/{split}",
            predict,
            trained=trained,
            data=self.cfg.data,
            split=split,
            settings=self.cfg.test if settings is None else settings,
        )
        self.score_masks(step, split, predictions)
        return predictions

    def _refine_prediction(self, predictions: Path, split: str) -> Path:
        marginals = self.cache.run(
            f"predictions_crf/{split}",
            crf,
            scores=predictions,
            data=self.cfg.data,
            split=split,
            parameters=self.cfg.test_crf,
            background_power=None,
            background_score=None,
        )
        masks = self._pseudo_masks(f"predictions_crf_masks/{split}", marginals, split, 0.0)
        self.score_masks("segmentation_crf", split, masks)
        return masks

    def _pseudo_masks(self, name: str, scores: Path, split: str, confidence: float) -> Path:
        return self.cache.run(
            name,
            pseudo_masks,
            scores=scores,
            data=self.cfg.data,
            split=split,
            confidence=confidence,
        )

    def _cache_for(self, scored: ScoredSplit) -> StageCache:
        """The cache, whose keys also depend on the true masks of the scored split.

        Only evaluations read these masks, so other steps do not depend on them.
        """
        if not scored.digest:
            return self.cache
        return replace(self.cache, data_digest=f"{self.cache.data_digest}-{scored.digest}")
