"""Whole experiments, one function each."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from wsss_lightning.cache.stage_cache import Run
from wsss_lightning.config.schema import splits_of
from wsss_lightning.data.supervision import BOXES, MASKS, TAGS, Supervision
from wsss_lightning.errors import InputError
from wsss_lightning.steps.boxes import BoxStages
from wsss_lightning.steps.labels import step_label
from wsss_lightning.steps.scored_splits import ScoredSplit, scored_splits
from wsss_lightning.steps.stages import Stages, metrics_of

Scores = dict[str, float]
Pipeline = TypeVar("Pipeline", bound=Callable[..., Scores])


def learns_from(supervision: Supervision) -> Callable[[Pipeline], Pipeline]:
    """Declare what a pipeline learns from."""

    def declare(pipeline: Pipeline) -> Pipeline:
        pipeline.supervision = supervision  # type: ignore[attr-defined]
        return pipeline

    return declare


def supervision_of(node: DictConfig) -> Supervision:
    """What a pipeline declares to learn from, given its node of the configuration.

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


@learns_from(TAGS)
def tags(cfg: DictConfig, run: Run, segment: bool) -> Scores:
    """Tags -> classifier -> seeds -> refined seeds -> pseudo masks -> segmentation network.

    Args:
        segment: train and test the segmentation network too.
    """
    do = _stages(cfg)
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


@learns_from(TAGS)
def sc_cam(
    cfg: DictConfig,
    run: Run,
    rounds: int,
    init_from: str,
    peak: float | None,
    clusters: DictConfig,
    first: DictConfig,
    first_schedule: DictConfig,
    stop_epochs: ListConfig | None,
    segment: bool,
) -> Scores:
    """Tags -> classifier -> rounds of clustering each class and learning its clusters -> as `tags`.

    With `fit.method.max_epochs` of 0 a whole network is given, and there are no rounds.

    Args:
        rounds: 1 or more.
        init_from: a round's network begins "initial", from the backbone's weights, or with the "last"
            round's encoder.
        peak: None: features are of whole images, as in the paper; else of each class, over the
            cells where its map reaches this share of the way to its maximum.
        clusters: how features are clustered.
        first: module of round 0, by whose features round 1 clusters.
        first_schedule: of its training.
        stop_epochs: number of epochs after which each round stops, within its schedule; None: at
            the end of the schedule.
        segment: train and test the segmentation network too.

    Source: Chang et al. 2020 (SC-CAM); `script.sh` of the official code begins each round anew.
    """
    if cfg.fit.method.max_epochs == 0:
        return tags(cfg, run, segment)
    if rounds < 1:
        raise InputError(f"pipeline.rounds is {rounds}; set 1 or more (the paper's is 3).")
    if init_from not in ("backbone", "last_round"):
        raise InputError(
            f"pipeline.init_from is {init_from}; set it to backbone, where each round begins anew, or to "
            "last_round, where it goes on with the last one's encoder."
        )
    if peak is not None and not 0 <= peak <= 1:
        raise InputError(
            f"pipeline.peak is {peak}, but it is a share of a map's range; set it within [0, 1] "
            "(0.7 is a start), or to null to compare whole images."
        )
    count = OmegaConf.select(cfg, "method.net.sub_categories")
    if count is None:
        raise InputError(
            f"pipeline=sc_cam makes sub-categories, but {cfg.method._target_} does not learn them; "
            "choose method=sc_cam, or pipeline=tags."
        )
    do, data, train = _stages(cfg), cfg.data, cfg.data.train
    how: dict[str, Any] = {"data": data, "supervision": "tags"}
    found: Scores = {}
    trained = run.stage("round_0/classifier", do.fit, module=first, schedule=first_schedule, **how)
    found |= _tag_scores(cfg, run, do, trained, "round_0/")
    plain = cfg.copy()
    plain.cam.sub_maps = False  # it has none yet
    _seeds(plain, run, do, found, trained, "round_0/")
    for r in range(1, rounds + 1):
        name = f"round_{r}"
        features = run.stage(
            f"{name}/features",
            do.features,
            trained=trained,
            data=data,
            split=train,
            reading=cfg.cam,
            peak=peak,
        )
        clustered = run.stage(
            f"{name}/clusters",
            do.cluster,
            features=features,
            data=data,
            split=train,
            count=count,
            clusters=clusters,
        )
        found |= _named(f"{name}/clusters/{train}", clustered)
        run.stage(
            f"pictures/{name}",
            do.contact_sheets,
            features=features,
            clusters=clustered,
            data=data,
            split=train,
        )
        initial = trained if init_from == "last_round" else None
        trained = run.stage(
            f"{name}/classifier",
            do.fit,
            module=cfg.method,
            clusters=clustered,
            initial=initial,
            schedule=cfg.fit.method,
            stop_epoch=None if stop_epochs is None else stop_epochs[r - 1],
            **how,
        )
        found |= _tag_scores(cfg, run, do, trained, f"{name}/")
        seeds = _seeds(cfg, run, do, found, trained, f"{name}/")
    # the last round's are the method's
    last = f"round_{rounds}/"
    found |= {k.removeprefix(last): v for k, v in found.items() if k.startswith(last)}
    return found | _masks(cfg, run, do, seeds, trained, segment)


@learns_from(MASKS)
def full_supervision(cfg: DictConfig, run: Run) -> Scores:
    """True masks -> segmentation network: what weak supervision is measured against."""
    do, data = _stages(cfg), cfg.data
    found: Scores = {}
    predicted = _segment(cfg, run, do, found)
    for split in splits_of(data):
        run.stage(
            f"pictures/{split}",
            do.gallery,
            data=data,
            split=split,
            count=cfg.num_previews,
            seeds=None,
            steps={"prediction": predicted[split]},
        )
    return found


@learns_from(BOXES)
def boxes(
    cfg: DictConfig,
    run: Run,
    rounds: int,
    min_change: float | None,
    training: str,
    epochs: int | None,
) -> Scores:
    """Boxes -> labels, rounds of training on them and relabelling -> segmentation network.

    Scores of a round lead with `round_<r>/`; its labels are those made behind its training, and
    round 0's are made from boxes alone.

    Args:
        rounds: of training and relabelling, at most.
        min_change: relabelling ends when a smaller share of the pixels changes; None: never.
        training: of each round, `scratch` or `finetune` from the round before.
        epochs: of each round's training; None: as many as the last training has.
    """
    do, own = _stages(cfg), BoxStages(cfg.workers)
    data, train, found = cfg.data, cfg.data.train, Scores()
    schedule, marginals = cfg.fit.segmenter, OmegaConf.merge(cfg.test, {"crf": True})
    if epochs is not None:
        schedule = OmegaConf.merge(schedule, {"max_epochs": epochs})
    # made without random numbers of the run, so all of its seeds share them
    initial = labels = replace(run, seed=0).stage(
        "round_0/labels", own.box_labels, data=data, split=train, rule=cfg.box_labels
    )
    found |= _scored(run, do, cfg, train, "round_0/labels", labels)
    kept, trained = {"boxes": labels}, None
    for r in range(1, rounds + 1):
        trained = run.stage(
            f"round_{r}/segmentation",
            do.fit,
            module=cfg.segmenter,
            data=data,
            schedule=schedule,
            supervision="masks",
            masks=labels,
            start=trained if training == "finetune" else None,
            epochs_before=(r - 1) * schedule.max_epochs if training == "finetune" else 0,
        )
        predicted = {}
        tests = dict.fromkeys(reversed(splits_of(data)), cfg.test) | {train: marginals}
        for split, test in tests.items():
            predicted[split] = run.stage(
                f"round_{r}/predictions/{split}",
                do.predict,
                trained=trained,
                data=data,
                split=split,
                test=test,
            )
            found |= _scored(run, do, cfg, split, f"round_{r}/segmentation", predicted[split])
        labels = run.stage(
            f"round_{r}/labels",
            own.relabel,
            data=data,
            split=train,
            predictions=predicted[train],
            initial=initial,
            previous=labels,
            rule=cfg.relabel,
            crf=cfg.crf,
        )
        found |= _named(f"round_{r}/labels/{train}", labels)
        found |= _scored(run, do, cfg, train, f"round_{r}/labels", labels)
        kept[f"round {r}"] = labels
        if min_change is not None and found[f"round_{r}/labels/{train}/changed"] < min_change:
            break

    found |= _scored(run, do, cfg, train, "pseudo", labels)
    done = len(kept) - 1
    start = trained if training == "finetune" else None
    shift = done * schedule.max_epochs if start is not None else 0
    last = _segment(cfg, run, do, found, labels, start=start, epochs_before=shift)
    tested = splits_of(data)[-1]
    lines = {
        f"labels, {train}": [(r, f"round_{r}/labels/{train}/miou") for r in range(done + 1)],
        f"network, {tested}": [
            *((r, f"round_{r}/segmentation/{tested}/miou") for r in range(1, done + 1)),
            (done + 1, f"segmentation/{tested}/miou"),
        ],
    }
    points = {
        name: [(r, found[key]) for r, key in line if key in found] for name, line in lines.items()
    }
    if any(points.values()):
        title = f"{cfg.name} on {data.name}, seed {cfg.seed}: mIoU over rounds"
        run.stage("pictures/rounds", own.curve, points=points, title=title)
    sheets: dict[str, dict[str, Path]] = {"labels": kept}
    sheets |= {split: {"labels": labels} if split == train else {} for split in splits_of(data)}
    for name, steps in sheets.items():
        split = train if name == "labels" else name
        run.stage(
            f"pictures/{name}",
            do.gallery,
            data=data,
            split=split,
            count=cfg.num_previews,
            seeds=None,
            steps=steps if name == "labels" else {**steps, "prediction": last[split]},
        )
    return found


def _stages(cfg: DictConfig) -> Stages:
    long_sides = {"tags": cfg.cam.long_side, "masks": cfg.test.long_side}
    return Stages(cfg.trainer, cfg.logger, cfg.workers, cfg.checkpoint_minutes, long_sides)


def _tag_scores(cfg: DictConfig, run: Run, do: Stages, trained: Path, prefix: str = "") -> Scores:
    """How well a trained method tells the tags of the validation split, where there is one."""
    if cfg.data.val is None:
        return {}
    tested = run.stage(
        f"{prefix}classifier_val",
        do.validate_tags,
        trained=trained,
        data=cfg.data,
        long_side=cfg.cam.long_side,
    )
    return _named(f"{prefix}classifier/{cfg.data.val}", tested)


def _seeds(
    cfg: DictConfig, run: Run, do: Stages, found: Scores, trained: Path, prefix: str = ""
) -> dict[str, Path]:
    """Score maps of a trained method over all splits, and their mIoU into `found`."""
    data, seeds = cfg.data, {}
    for split in splits_of(data):
        seeds[split] = run.stage(
            f"{prefix}seeds/{split}",
            do.score,
            trained=trained,
            data=data,
            split=split,
            reading=cfg.cam,
        )
        for scored in scored_splits(cfg, split):
            tested = _with_masks(run, scored).stage(
                f"{prefix}seeds_miou/{scored.name}",
                do.evaluate_seeds,
                scores=seeds[split],
                data=scored.data,
                split=scored.name,
                seeds=cfg.seeds,
            )
            found |= _named(f"{prefix}seeds/{scored.name}", tested)
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
    data = cfg.data
    found: Scores = {}
    steps: dict[str, dict[str, Path]] = {split: {} for split in seeds}
    refined: Mapping[str, Path] = {}
    refine = instantiate(cfg.refine, _convert_="none")
    for name, refined in refine(run, do, data, seeds, trained).items():
        for split, marginals in refined.items():
            steps[split][step_label(name)] = masks = run.stage(
                f"{name}_masks/{split}",
                do.masks,
                scores=marginals,
                data=data,
                split=split,
                confidence=0.0,
            )
            found |= _scored(run, do, cfg, split, name, masks)
            if (marginals / "metrics.json").is_file():
                found |= _named(f"{name}/{split}", marginals)
    steps[data.train]["pseudo mask"] = pseudo = run.stage(
        "pseudo",
        do.masks,
        scores=refined[data.train],
        data=data,
        split=data.train,
        confidence=cfg.pseudo.confidence,
    )
    found |= _scored(run, do, cfg, data.train, "pseudo", pseudo)

    if segment:
        initial = trained if cfg.fit.segmenter.init_from == "classifier" else None
        for split, predicted in _segment(cfg, run, do, found, pseudo, initial).items():
            steps[split]["prediction"] = predicted
    for split in splits_of(data):
        run.stage(
            f"pictures/{split}",
            do.gallery,
            data=data,
            split=split,
            count=cfg.num_previews,
            seeds=seeds[split],
            steps=steps[split],
        )
    return found


def _segment(
    cfg: DictConfig,
    run: Run,
    do: Stages,
    found: Scores,
    masks: Path | None = None,
    initial: Path | None = None,
    start: Path | None = None,
    epochs_before: int = 0,
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
        crf=cfg.test_crf if cfg.fit.segmenter.validate_crf else None,
        start=start,
        epochs_before=epochs_before,
    )
    predicted = {}
    for split in reversed(splits_of(data)):
        predicted[split] = run.stage(
            f"predictions/{split}",
            do.predict,
            trained=trained,
            data=data,
            split=split,
            test=cfg.test,
        )
        found |= _scored(run, do, cfg, split, "segmentation", predicted[split])
        if cfg.test.crf:
            smoothed = run.stage(
                f"predictions_crf/{split}",
                do.crf,
                scores=predicted[split],
                data=data,
                split=split,
                parameters=cfg.test_crf,
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
            found |= _scored(run, do, cfg, split, "segmentation_crf", predicted[split])
    return predicted


def _scored(run: Run, do: Stages, cfg: DictConfig, split: str, step: str, masks: Path) -> Scores:
    """Scores of label maps of a split on all splits that they are scored on."""
    found: Scores = {}
    for scored in scored_splits(cfg, split):
        tested = _with_masks(run, scored).stage(
            f"{step}_miou/{scored.name}",
            do.evaluate_masks,
            masks=masks,
            data=scored.data,
            split=scored.name,
        )
        found |= _named(f"{step}/{scored.name}", tested)
    return found


def _with_masks(run: Run, scored: ScoredSplit) -> Run:
    """The run, its stages named by the true masks of the scored split too.

    Only evaluations read these masks, so other stages do not depend on them.
    """
    return replace(run, salt=f"{run.salt}-{scored.digest}") if scored.digest else run


def _named(prefix: str, tested: Path) -> Scores:
    return {f"{prefix}/{key}": value for key, value in metrics_of(tested).items()}
