"""Whole experiments, one function each."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from wsss_lightning.run import Run
from wsss_lightning.stages import Stages, metrics_of

Scores = dict[str, float]


def tags(cfg: DictConfig, run: Run, segment: bool) -> Scores:
    """Tags -> classifier -> seeds -> refined seeds -> pseudo masks -> segmentation network.

    Args:
        segment: train and test the segmentation network too.
    """
    do = Stages(cfg.trainer, cfg.logger, cfg.workers)
    found: Scores = {}
    trained = run.stage(
        "classifier",
        do.fit,
        module=cfg.method,
        data=cfg.data,
        schedule=cfg.fit.method,
        supervision="tags",
    )
    found |= _tag_scores(cfg, run, do, trained)
    seeds = _seeds(cfg, run, do, found, trained)
    return found | _masks(cfg, run, do, seeds, trained, segment)


def full_supervision(cfg: DictConfig, run: Run) -> Scores:
    """True masks -> segmentation network: what weak supervision is measured against."""
    do, data = Stages(cfg.trainer, cfg.logger, cfg.workers), cfg.data
    found: Scores = {}
    predicted = _segment(cfg, run, do, found)
    for split in (data.train, data.val):
        run.stage(
            f"pictures/{split}",
            do.gallery,
            data=data,
            split=split,
            count=cfg.pictures,
            seeds=None,
            steps={"prediction": predicted[split]},
        )
    return found


def _tag_scores(cfg: DictConfig, run: Run, do: Stages, trained: Path, prefix: str = "") -> Scores:
    """How well a trained method tells the tags of the validation split."""
    tested = run.stage(
        f"{prefix}classifier_val",
        do.validate_tags,
        trained=trained,
        data=cfg.data,
        long_side=cfg.score.long_side,
    )
    return _named(f"{prefix}classifier/{cfg.data.val}", tested)


def _seeds(
    cfg: DictConfig, run: Run, do: Stages, found: Scores, trained: Path, prefix: str = ""
) -> dict[str, Path]:
    """Score maps of a trained method over both splits, and their mIoU into `found`."""
    data, seeds = cfg.data, {}
    for split in (data.train, data.val):
        seeds[split] = run.stage(
            f"{prefix}seeds/{split}",
            do.score,
            trained=trained,
            data=data,
            split=split,
            reading=cfg.score,
        )
        tested = run.stage(
            f"{prefix}seeds_miou/{split}",
            do.evaluate_seeds,
            scores=seeds[split],
            data=data,
            split=split,
            seeds=cfg.seeds,
        )
        found |= _named(f"{prefix}seeds/{split}", tested)
    return seeds


def _masks(
    cfg: DictConfig,
    run: Run,
    do: Stages,
    seeds: dict[str, Path],
    trained: Path,
    segment: bool,
) -> Scores:
    """Seeds -> refined seeds -> pseudo masks -> segmentation network, and pictures of them all."""
    data, masks = cfg.data, {}
    found: Scores = {}
    refine = instantiate(cfg.refine, _convert_="none")
    for split in (data.train, data.val):
        refined = refine(run, do, data, split, seeds[split])
        masks[split] = run.stage(
            f"{cfg.refine.name}_masks/{split}",
            do.masks,
            scores=refined,
            data=data,
            split=split,
            confidence=0.0,
        )
        found |= _scored(run, do, data, split, cfg.refine.name, masks[split])
        if (refined / "metrics.json").is_file():
            found |= _named(f"{cfg.refine.name}/{split}", refined)
        if split == data.train:
            pseudo = run.stage(
                "pseudo",
                do.masks,
                scores=refined,
                data=data,
                split=split,
                confidence=cfg.pseudo.confidence,
            )
            found |= _scored(run, do, data, split, "pseudo", pseudo)

    predicted = {}
    if segment:
        initial = trained if cfg.fit.segmenter.encoder == "classifier" else None
        predicted = _segment(cfg, run, do, found, pseudo, initial)
    for split in (data.train, data.val):
        steps = {cfg.refine.name.upper(): masks[split]}
        if split == data.train:
            steps["pseudo mask"] = pseudo
        if segment:
            steps["prediction"] = predicted[split]
        run.stage(
            f"pictures/{split}",
            do.gallery,
            data=data,
            split=split,
            count=cfg.pictures,
            seeds=seeds[split],
            steps=steps,
        )
    return found


def _segment(
    cfg: DictConfig,
    run: Run,
    do: Stages,
    found: Scores,
    masks: Path | None = None,
    initial: Path | None = None,
) -> dict[str, Path]:
    """Train the segmentation network on masks, true ones where none are given, and test it."""
    data = cfg.data
    trained = run.stage(
        "segmentation",
        do.fit,
        module=cfg.segmenter,
        data=data,
        schedule=cfg.fit.segmenter,
        supervision="masks",
        masks=masks,
        initial=initial,
        crf=cfg.crf if cfg.fit.segmenter.validate_crf else None,
    )
    predicted = {}
    for split in (data.val, data.train):
        predicted[split] = run.stage(
            f"predictions/{split}",
            do.predict,
            trained=trained,
            data=data,
            split=split,
            test=cfg.test,
        )
        found |= _scored(run, do, data, split, "segmentation", predicted[split])
        if cfg.test.crf:
            smoothed = run.stage(
                f"predictions_crf/{split}",
                do.crf,
                scores=predicted[split],
                data=data,
                split=split,
                parameters=cfg.crf,
                background_power=None,
                background_score=None,
            )
            predicted[split] = run.stage(
                f"predictions_crf_masks/{split}",
                do.masks,
                scores=smoothed,
                data=data,
                split=split,
                confidence=0.0,
            )
            found |= _scored(run, do, data, split, "segmentation_crf", predicted[split])
    return predicted


def _scored(run: Run, do: Stages, data: DictConfig, split: str, step: str, masks: Path) -> Scores:
    tested = run.stage(
        f"{step}_miou/{split}", do.evaluate_masks, masks=masks, data=data, split=split
    )
    return _named(f"{step}/{split}", tested)


def _named(prefix: str, tested: Path) -> Scores:
    return {f"{prefix}/{key}": value for key, value in metrics_of(tested).items()}
