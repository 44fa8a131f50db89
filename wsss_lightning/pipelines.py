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
    do, data = Stages(cfg.trainer, cfg.logger, cfg.workers), cfg.data
    refine = instantiate(cfg.refine, _convert_="none")
    found: Scores = {}

    trained = run.stage(
        "classifier",
        do.fit,
        module=cfg.method,
        data=data,
        schedule=cfg.fit.method,
        supervision="tags",
    )
    tested = run.stage(
        "classifier_val",
        do.validate_tags,
        trained=trained,
        data=data,
        long_side=cfg.score.long_side,
    )
    found |= _named(f"classifier/{data.val}", tested)

    seeds, masks = {}, {}
    for split in (data.train, data.val):
        seeds[split] = run.stage(
            f"seeds/{split}", do.score, trained=trained, data=data, split=split, reading=cfg.score
        )
        tested = run.stage(
            f"seeds_miou/{split}",
            do.evaluate_seeds,
            scores=seeds[split],
            data=data,
            split=split,
            seeds=cfg.seeds,
        )
        found |= _named(f"seeds/{split}", tested)
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
